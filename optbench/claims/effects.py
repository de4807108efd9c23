"""The effect that a test of a claim is about: one number per seed, and Student's t over these numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import stdtr

from optbench.claims.claim import Comparison
from optbench.metrics.columns import column
from optbench.reports.frame import MISSING, cells_table, metrics_of, refuse_mixed, scored
from optbench.reports.pairs import Block, Pairs, complete_block, largest_of, pairs_of, per_seed, singles_of, spread_of
from optbench.reports.plans import minutes_per_seed
from optbench.reports.stats import Array, half_width

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Suite


@dataclass(frozen=True)
class Effect:
    """What the records say about the number of a test. Estimate and interval are oriented (`Comparison.oriented`).

    `low` and `high`: the 95% t interval over `n` seeds; NaN where there is none. `p`: one-sided, of the hypothesis that
    the true number does not pass the claimed bound. `pairs` counts the pairs of arms (arms, of a level) that the
    numbers are pooled over, `models` names their models. `minutes_per_seed` is what one more seed takes, measured.
    `recorded` counts the records of the declared arms, `missing` the declared runs that have no number for want of a
    record, `undetermined` those that lack it for good (`_undetermined`). `obstacle` says why there is no evidence,
    empty where there is; `p` is NaN then.
    """

    estimate: float
    low: float
    high: float
    sd: float
    p: float
    n: int
    seeds_declared: int
    pairs: int
    pairs_declared: int
    arms: Sequence[int]
    diverged: int
    minutes_per_seed: float
    recorded: int
    missing: int
    undetermined: int
    obstacle: str


class Evidence:
    """The records of the suites that claims point to, each suite read once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._cells: dict[int, tuple[Suite, pd.DataFrame]] = {}

    def cells(self, suite: Suite) -> pd.DataFrame:
        """The cells table of the suite, as recorded. Raises UserError where its records must not be pooled."""
        if id(suite) not in self._cells:
            table = cells_table(suite, self.store)
            refuse_mixed(table)
            self._cells[id(suite)] = suite, table
        return self._cells[id(suite)][1]


def effect_of(test: Comparison, evidence: Evidence) -> Effect:
    """The effect of one test, from pairs and seeds between which nothing is missing.

    difference: at each seed the mean over pairs of `of` - `against`. ratio: at each seed the mean over pairs of
    log(of / against), so that the estimate is a geometric mean and no scale of a model outweighs another's. level: at
    each seed the mean over arms. A diverged cell counts as the worst value of the metric, as everywhere in reports.
    """
    recorded = evidence.cells(test.suite)
    pairs = arms_of(test)
    pooled = scored(recorded)
    block = complete_block(pooled, pairs, test.metric, arms=len(test.suite.arms))
    numbers = test.sign * per_seed(_values(test, block))
    counted = column(test.metric).counted
    estimate, sd = spread_of(numbers, counted=counted, largest=_largest(test, block))
    n = len(numbers)
    width = float(half_width(sd, n))
    known = math.isfinite(width)
    mine = recorded[recorded["arm"].isin(np.union1d(pairs.of, pairs.minus))].drop_duplicates("key")
    without = mine[_lacks(mine, test.metric) & _lacks(pooled.loc[mine.index], test.metric)]
    undetermined = _undetermined(test, without)
    obstacle = (
        _obstacle(test, mine, undetermined)
        or (_obstacle_of_sides(test, recorded, pairs) if n == 0 else "")
        or _obstacle_of(test, recorded, block, numbers, sd)
    )
    return Effect(
        estimate=estimate,
        low=estimate - width if known else math.nan,
        high=estimate + width if known else math.nan,
        sd=sd,
        p=math.nan if obstacle else _p_value(estimate - test.oriented(test.claimed), sd, n),
        n=n,
        seeds_declared=block.seeds_declared,
        pairs=len(block.pairs),
        pairs_declared=len(pairs.of),
        arms=np.union1d(pairs.of[block.pairs], pairs.minus[block.pairs]).tolist(),
        diverged=int((block.used & (recorded["outcome"] == "diverged")).sum()),
        minutes_per_seed=minutes_per_seed(
            recorded, np.union1d(pairs.of, pairs.minus), workers=test.suite.execution.workers
        ),
        recorded=int((mine["outcome"] != MISSING).sum()),
        missing=len(without) - len(undetermined),
        undetermined=len(undetermined),
        obstacle=obstacle,
    )


def arms_of(test: Comparison) -> Pairs:
    """The pairs of arms that a test compares; of a level, each arm beside itself."""
    if test.form == "level":
        return singles_of(test.suite, test.of)
    return pairs_of(test.suite, test.of, test.against)


def _values(test: Comparison, block: Block) -> Array:
    """The number of the test [pairs, seeds]; NaN where it does not exist."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if test.form == "difference":
            return block.of - block.minus
        if test.form == "level":
            return block.of
        positive = (block.of > 0) & (block.minus > 0)
        return np.where(positive, np.log(block.of) - np.log(block.minus), math.nan)


def _largest(test: Comparison, block: Block) -> float:
    """The size of the numbers that were subtracted to get those of the test, to which rounding is relative."""
    if test.form == "ratio":
        return 1.0  # Rounding moves a quotient by a part of itself, and its logarithm by as much.
    return largest_of(block.of, block.minus)


def _p_value(beyond: float, sd: float, n: int) -> float:
    """The one-sided p of Student's t for a mean that lies `beyond` its bound by so much; NaN where nothing is known."""
    if n < 2 or not (math.isfinite(beyond) and math.isfinite(sd)):
        return math.nan
    if sd == 0:
        return 0.0 if beyond > 0 else 1.0
    return float(stdtr(n - 1, -beyond * math.sqrt(n) / sd))


def _undetermined(test: Comparison, without: pd.DataFrame) -> pd.DataFrame:
    """Which of the runs `without` the metric lack it for good: their panel looked and could not determine it, or could
    not look, since the run diverged. Such runs are not missing at random, and what the others say is not their word.
    """
    family = column(test.metric).panel
    found = [name for name in metrics_of(without) if family and column(name).panel == family]
    looked = (without["outcome"] == "completed") & without[found].notna().any(axis=1)
    return without[looked | ((without["outcome"] == "diverged") & bool(family))]


def _obstacle(test: Comparison, mine: pd.DataFrame, undetermined: pd.DataFrame) -> str:
    """Why the runs of the declared arms are no evidence, in words; empty where they are."""
    if (mine["outcome"] == MISSING).all():
        return "no records"
    family = column(test.metric).panel
    if not len(undetermined):
        return ""
    recorded = int(mine["outcome"].isin(["completed", "diverged"]).sum())
    diverged = int((undetermined["outcome"] == "diverged").sum())
    where = f"it is left out where the panel {family} cannot determine it; see their notes"
    aside = [where] if diverged < len(undetermined) else []
    aside += [f"{diverged} diverged"] if diverged else []
    return f"{test.metric} does not exist at {len(undetermined)} of {recorded} runs ({'; '.join(aside)})"


def _obstacle_of_sides(test: Comparison, recorded: pd.DataFrame, pairs: Pairs) -> str:
    """Which side has no records at all, or which records lack the metric of a panel; empty where it is neither."""
    sides = [(" ".join(test.of.values()), recorded[recorded["arm"].isin(pairs.of)])]
    if test.form != "level":
        sides.append((" ".join(test.against.values()), recorded[recorded["arm"].isin(pairs.minus)]))
    empty = [name for name, cells in sides if (cells["outcome"] == MISSING).all()]
    if empty:
        return f"no records of {' or '.join(empty)}"
    family = column(test.metric).panel
    without = [name for name, cells in sides if _lacks(cells, test.metric).all()]
    if not family or not without:
        return ""
    whose = "" if len(without) == len(sides) else f" of {without[0]}"
    return f"no record{whose} has {test.metric}, which the panel {family} finds"


def _lacks(cells: pd.DataFrame, metric: str) -> pd.Series:
    return cells.reindex(columns=[metric])[metric].isna()


def _obstacle_of(test: Comparison, recorded: pd.DataFrame, block: Block, numbers: Array, sd: float) -> str:
    """Why the numbers are no evidence, in words; empty where they are."""
    known = column(test.metric)
    if len(numbers) == 0:
        return f"no seed at which any pair of arms has {test.metric}"
    if known.measured and bool((block.used & recorded["contended"]).any()):
        return f"{test.metric} was measured beside other running cells; only --workers 1 gives evidence"
    if not np.isfinite(numbers).all():
        if np.isfinite(block.of).all() and np.isfinite(block.minus).all():
            return f"a ratio of {test.metric} needs values above 0"
        return f"a diverged cell has no finite {test.metric}"
    if len(numbers) == 1:
        return "one seed has no interval"
    if math.isnan(sd):
        return "all seeds give the same number, which leaves no spread to judge by"
    return ""
