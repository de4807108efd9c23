"""What the rest of a budget can resolve, before it is spent: from the spread that was seen and the time per seed.

In closed form: n is the number of seeds at the end of the budget, were every open contrast given as many, and the
difference is the least one that the look at n seeds resolves with a chance of 80%, by the noncentral t distribution
(`optbench.reports.sequential.power_anytime`). The deviation is an estimate from a few seeds, so this is a rough plan.
An earlier look may resolve it, too, so that the chance is a little higher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optbench.reports.sequential import power_anytime
from optbench.reports.stats import MOST_SEEDS
from optbench.sequential.allocation import Open

CHANCE = 0.8
_STEPS = 60
"""Of the bisection: far below the last bit that is shown."""


@dataclass(frozen=True)
class Foresight:
    """Of one contrast: how many more seeds fit, and the least difference that is then resolved with a chance of 80%, in
    the unit of its column; infinite where the seeds are too few for anything, or nothing is known of the spread."""

    name: str
    seeds: int
    difference: float


def foresee(
    contrasts: Sequence[Open],
    deviations: Mapping[str, float],
    seconds: Mapping[str, float],
    *,
    workers: int,
    left: float,
    level: float,
) -> list[Foresight]:
    """What fits into `left` seconds, where all open contrasts get seeds alike; runs that they share are run once.

    `deviations` of the per-seed differences by the name of the contrast, `seconds` of a cell by run; `level` is that of
    each contrast's interval.
    """
    runs = frozenset().union(*(own.runs for own in contrasts)) if contrasts else frozenset[str]()
    each = math.fsum(seconds[run] for run in runs)
    fit = int(min(max(left, 0.0) * workers / each, MOST_SEEDS)) if each > 0 else 0
    return [
        Foresight(own.name, fit, least_difference(deviations[own.name], own.n + fit, level=level)) for own in contrasts
    ]


def least_difference(sd: float, n: int, *, level: float, chance: float = CHANCE) -> float:
    """The least true difference that the look at n seeds resolves with this chance; infinite where none is."""
    if not math.isfinite(sd) or n < 2:
        return math.inf
    if sd == 0:
        return 0.0
    high = sd
    while power_anytime(sd, high, n, level=level) < chance:
        high *= 2
        if high > 1e6 * sd:
            return math.inf
    low = 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if power_anytime(sd, middle, n, level=level) >= chance else (middle, high)
    return high
