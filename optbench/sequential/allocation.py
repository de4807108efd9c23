"""Where the next seeds go.

A seed of a contrast is a whole block: all runs of all its pairs at that seed, for per-seed differences average over the
pairs, and incomplete seeds do not enter. Runs have added seeds 1, 2, ... in one order (`level`: how many), so that a
contrast has as many as the run of it that has the fewest, and a run that others have taken further costs it nothing.

How many more seeds a contrast needs is taken from what was seen (`expected_seeds`): the least n at which an interval of
the same mean and deviation would decide. That is certain where half_width < margin / 2, and comes sooner the further
the mean is from half the margin.

The greedy rule. Among the contrasts that are open, each set of them has a cost: the seconds of the seeds that its runs
still lack, each run once. The next seeds go to the set with the least cost per contrast. It is found from each contrast
by adding, one after another, whatever contrast comes cheapest as long as that does not raise the cost per contrast: so
a further seed of the run that all contrasts share is paid once and counted for all of them. Sets whose cost is more
than the time that is left are not considered, and what cannot be resolved in time gets seeds only when nothing else is
open. Since needs are guesses from a few seeds, a round gives part of them: as many seeds as keep the workers busy for a
while, half as many as there are otherwise, and never more than needed; then everything is chosen anew. Adding a seed to
every arm instead spends on contrasts that are resolved, and on those that cannot be.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from optbench.reports.sequential import half_width_anytime
from optbench.reports.stats import MOST_SEEDS, Array

BUSY_SECONDS = 50.0
"""What a round is to take at least where more seeds are needed: workers take some seconds to start."""


@dataclass(frozen=True)
class Open:
    """A contrast without a verdict: the runs that one seed of it consists of, its seeds so far, and how many more it is
    expected to need (infinite where nobody knows, or no practical number would do)."""

    name: str
    runs: frozenset[str]
    n: int
    needed: float


def expected_seeds(estimate: float, sd: float, n: int, margin: float, *, level: float) -> float:
    """How many seeds more than n decide at the same mean and deviation: at half_width < max(|mean|, margin - |mean|).

    Infinite above 10,000 seeds, and where mean or deviation is not known.
    """
    target = max(abs(estimate), margin - abs(estimate))
    if not (math.isfinite(target) and math.isfinite(sd)):
        return math.inf
    narrow = sd * _widths(level) < target
    return max(int(narrow.argmax()) + 1 - n, 1) if narrow.any() else math.inf


@cache
def _widths(level: float) -> Array:
    """The half-width at 1, 2, ... seeds of a deviation of 1, to which it is proportional."""
    return half_width_anytime(1.0, np.arange(1, MOST_SEEDS + 1), level=level)


def next_levels(
    contrasts: Sequence[Open], levels: Mapping[str, int], seconds: Mapping[str, float], *, workers: int, left: float
) -> dict[str, int]:
    """How many added seeds each run is to have after the next round; empty where no whole seed can be begun in time.

    `levels` and `seconds` (of one cell) are by run; `left` seconds remain.
    """
    for group in _groups(contrasts, levels, seconds, room=left * workers):
        found = _round(group, levels, seconds, workers=workers, left=left)
        if found:
            return found
    return {}


def cost(contrast: Open, levels: Mapping[str, int], seconds: Mapping[str, float]) -> float:
    """The seconds of the cells that the contrast is expected to need, one after another."""
    return (
        _seconds_of(_raised([contrast], levels, math.inf), levels, seconds) if contrast.needed < math.inf else math.inf
    )


def wall_of(cells: Sequence[float], workers: int) -> tuple[float, float]:
    """When the last of these cells begins, and when all have ended, in seconds: long ones first, each to the worker
    that is free next."""
    free = [0.0] * max(workers, 1)
    last = 0.0
    for length in sorted(cells, reverse=True):
        last = heapq.heappop(free)
        heapq.heappush(free, last + length)
    return last, max(free)


def _groups(
    contrasts: Sequence[Open], levels: Mapping[str, int], seconds: Mapping[str, float], *, room: float
) -> list[list[Open]]:
    """Sets of contrasts by their cost for each, the least first; then, one by one, those that cannot be had in time."""
    near = [own for own in contrasts if cost(own, levels, seconds) <= room]
    found: dict[tuple[str, ...], tuple[float, list[Open]]] = {}
    for first in near:
        group, spent = [first], cost(first, levels, seconds)
        while True:
            others = [own for own in near if own not in group]
            if not others:
                break
            there = _raised(group, levels, math.inf)
            cheapest = min(others, key=lambda own: _more(own, levels, there, seconds))
            more = _more(cheapest, levels, there, seconds)
            if more > spent / len(group) or spent + more > room:
                break
            group.append(cheapest)
            spent += more
        found.setdefault(tuple(sorted(own.name for own in group)), (spent / len(group), group))
    ordered = [group for _, group in sorted(found.values(), key=lambda own: own[0])]
    far = [own for own in contrasts if own not in near]
    far.sort(key=lambda own: (cost(own, levels, seconds), sum(seconds[run] for run in own.runs)))
    return [*ordered, *([own] for own in far)]


def _more(own: Open, levels: Mapping[str, int], there: Mapping[str, int], seconds: Mapping[str, float]) -> float:
    """What the contrast costs where some runs have been taken further already."""
    wanted = _raised([own], levels, math.inf)
    return math.fsum(max(0, level - there.get(run, levels[run])) * seconds[run] for run, level in wanted.items())


def _raised(group: Collection[Open], levels: Mapping[str, int], most: float) -> dict[str, int]:
    """The levels of the runs that get seeds when each contrast gets what it needs, but at most `most` seeds."""
    raised: dict[str, int] = {}
    for own in group:
        target = min(levels[run] for run in own.runs) + int(min(own.needed, most))
        for run in own.runs:
            if target > raised.get(run, levels[run]):
                raised[run] = target
    return raised


def _seconds_of(raised: Mapping[str, int], levels: Mapping[str, int], seconds: Mapping[str, float]) -> float:
    return math.fsum((level - levels[run]) * seconds[run] for run, level in raised.items())


def _cells_of(raised: Mapping[str, int], levels: Mapping[str, int], seconds: Mapping[str, float]) -> list[float]:
    return [seconds[run] for run, level in raised.items() for _ in range(level - levels[run])]


def _round(
    group: Sequence[Open], levels: Mapping[str, int], seconds: Mapping[str, float], *, workers: int, left: float
) -> dict[str, int]:
    """The seeds of one round for these contrasts: see the rule above. Fewer where time is short, down to none."""
    needed = max(min(own.needed, MOST_SEEDS) for own in group)
    most = max(1, min(own.n for own in group) // 2)
    chosen: dict[str, int] = {}
    size = 0
    while size < needed:
        size += 1
        raised = _raised(group, levels, size)
        cells = _cells_of(raised, levels, seconds)
        last_begins, ends = wall_of(cells, workers)
        if last_begins >= left:
            break
        chosen = raised
        # Busy workers come first: with eight of them a round of two cells leaves six idle.
        if len(cells) >= workers and (size >= most or ends >= BUSY_SECONDS):
            break
    return chosen
