"""Ratios of times, taken the one way that survives a noisy machine: in turn, in one process, on one thread."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

NOISE = 1.05
"""By how much a median of a few dozen rounds may miss a target on a shared machine and still be taken for it."""


@dataclass(frozen=True)
class Ratio:
    """Of two times: the median over paired rounds, its quartiles, and the medians (seconds) of both sides."""

    median: float
    low: float
    high: float
    ours: float
    theirs: float

    @property
    def words(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def ratio(ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int, warm_up: int = 1) -> Ratio:
    """ours / theirs by process time: see `ratios`."""
    return ratios({"ours": ours}, theirs, rounds=rounds, warm_up=warm_up)["ours"]


def ratios(
    sides: Mapping[str, Callable[[], object]], baseline: Callable[[], object], *, rounds: int, warm_up: int = 1
) -> dict[str, Ratio]:
    """Each side over the baseline, by process time on one thread. A round times all of them, every other round runs
    backwards, and the ratio of each round is one sample: what slows the machine for a while slows all of a round."""
    everyone = {**sides, "": baseline}
    times: dict[str, list[float]] = {name: [] for name in everyone}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(warm_up):
            for step in everyone.values():
                step()
        for turn in range(rounds):
            for name in list(everyone)[:: 1 if turn % 2 else -1]:
                start = time.process_time()
                everyone[name]()
                times[name].append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return {name: _compared(times[name], times[""]) for name in sides}


def _compared(ours: list[float], theirs: list[float]) -> Ratio:
    pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, _, high = statistics.quantiles(pairs, n=4)
    mine, other = (statistics.median(side) for side in (ours, theirs))
    return Ratio(statistics.median(pairs), low, high, mine, other)
