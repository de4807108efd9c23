"""Pairs of arms that agree on everything that is not compared, and the seeds at which nothing of them is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optbench.reports.frame import AXES, by_arm_and_seed
from optbench.reports.inference import ROUNDING
from optbench.reports.stats import Array, balanced_block

if TYPE_CHECKING:
    from optbench.suite import Suite


@dataclass(frozen=True)
class Pairs:
    """The pairs of a comparison: places of arms, [pairs] each, and how many names each shared axis takes."""

    of: Array
    minus: Array
    over: Mapping[str, int]


@dataclass(frozen=True)
class Block:
    """The values of a metric at the pairs and seeds between which nothing is missing.

    `of` and `minus` are values [pairs, seeds]; `pairs` are the places of these pairs among the declared ones, `seeds`
    those of the seeds; `seeds_declared` counts the seeds of the suite. `used` marks the rows of the cells table that
    the values come from.
    """

    of: Array
    minus: Array
    pairs: Array
    seeds: Array
    seeds_declared: int
    used: Array


def pairs_of(suite: Suite, of: Mapping[str, str], minus: Mapping[str, str]) -> Pairs:
    """The pairs of arms where one has the names of `of`, the other those of `minus`, and both agree on all else."""
    axes = [arm.axes() for arm in suite.arms]
    places = {tuple(names.values()): place for place, names in enumerate(axes)}
    found = []
    for place, names in enumerate(axes):
        partner = places.get(tuple({**names, **minus}.values()))
        if partner is not None and partner != place and of.items() <= names.items():
            found.append((place, partner))
    return _pairs(suite, found, named={*of, *minus})


def singles_of(suite: Suite, of: Mapping[str, str]) -> Pairs:
    """The arms that have the names of `of`, each beside itself: for a level, which is compared with no other arm."""
    found = [(place, place) for place, arm in enumerate(suite.arms) if of.items() <= arm.axes().items()]
    return _pairs(suite, found, named=set(of))


def _pairs(suite: Suite, found: list[tuple[int, int]], named: set[str]) -> Pairs:
    shared = [suite.arms[place].axes() for place, _ in found]
    over = {axis: len({names[axis] for names in shared}) for axis in AXES if axis not in named}
    places = np.array(found, dtype=int).reshape(-1, 2)
    return Pairs(places[:, 0], places[:, 1], over)


def complete_block(cells: pd.DataFrame, pairs: Pairs, metric: str, *, arms: int) -> Block:
    """The block of a metric (see `balanced_block`) in the cells as they enter means (see `scored`)."""
    recorded = cells[metric] if metric in cells else pd.Series(math.nan, index=cells.index)
    values = by_arm_and_seed(cells, recorded, arms=arms, empty=math.nan)
    declared = by_arm_and_seed(cells, pd.Series(True, index=cells.index), arms=arms, empty=False)
    of, minus = values[pairs.of], values[pairs.minus]
    # Seeds that were added for the sake of one pair are no reason to leave the other pairs out.
    in_suite = (declared[pairs.of] & declared[pairs.minus]).all(axis=0) & (len(pairs.of) > 0)
    kept, seeds = balanced_block((~np.isnan(of) & ~np.isnan(minus))[:, in_suite])
    seeds = np.flatnonzero(in_suite)[seeds]
    used = np.zeros(values.shape, dtype=bool)
    used[np.ix_(np.concatenate([pairs.of[kept], pairs.minus[kept]]), seeds)] = True
    marked = used[cells["arm"], np.unique(cells["seed"], return_inverse=True)[1]]
    block = np.ix_(kept, seeds)
    return Block(of[block], minus[block], kept, seeds, int(in_suite.sum()), marked)


def per_seed(values: Array) -> Array:
    """The mean over pairs of `values` [pairs, seeds], one number per seed; none where there is no pair."""
    return values.mean(axis=0) if len(values) else np.array([])


def largest_of(*sides: Array) -> float:
    """The size of numbers that are subtracted from each other, arrays of one shape: what rounding is relative to."""
    return float(np.abs(sides).max(initial=0.0))


def spread_of(numbers: Array, *, counted: bool, largest: float = 0.0) -> tuple[float, float]:
    """Mean and standard deviation over seeds; NaN where a number is not finite, the latter also below two seeds.

    Numbers that are equal by coincidence leave no spread to judge by: their deviation is NaN too, unless they are
    `counted`, that is follow from the spec. Equal up to rounding is equal; it is relative to the numbers, or to the
    `largest` of those that were subtracted to get them.
    """
    n = len(numbers)
    if n == 0 or not np.isfinite(numbers).all():
        return math.nan, math.nan
    sd = float(numbers.std(ddof=1)) if n > 1 else math.nan
    equal = sd <= ROUNDING * max(float(np.abs(numbers).max()), largest)
    return float(numbers.mean()), math.nan if equal and not counted else sd
