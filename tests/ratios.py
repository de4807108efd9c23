"""Ratios of times, taken the one way that survives a noisy machine: in turn, in one process, on one thread."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ratio:
    """Of two times: the median over paired rounds, its quartiles, and the medians (seconds) of both sides.

    `quick` compares the quickest quarter of each side, its median: what disturbs a shared machine only adds time.
    """

    median: float
    low: float
    high: float
    ours: float
    theirs: float
    quick: float

    @property
    def words(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g}), quickest quarter {self.quick:.3g}"


def ratio(ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int, warm_up: int = 1) -> Ratio:
    """ours / theirs by process time. Each round times both, who goes first alternates, and the ratio of each round is
    one sample: what slows the machine for a while slows both sides of a round."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(warm_up):
            ours(), theirs()
        times: dict[Callable[[], object], list[float]] = {ours: [], theirs: []}
        for turn in range(rounds):
            for side in (ours, theirs) if turn % 2 else (theirs, ours):
                start = time.process_time()
                side()
                times[side].append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    pairs = [a / b for a, b in zip(times[ours], times[theirs], strict=True)]
    low, _, high = statistics.quantiles(pairs, n=4)
    mine, other = (statistics.median(times[side]) for side in (ours, theirs))
    quickest = [statistics.median(sorted(times[side])[: max(1, rounds // 4)]) for side in (ours, theirs)]
    return Ratio(statistics.median(pairs), low, high, mine, other, quickest[0] / quickest[1])
