"""The answer of a suite: which optimizer, with which strategy, at what cost, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optbench.metrics.columns import column
from optbench.reports.answer_text import Hints, lines_of
from optbench.reports.frame import MISSING
from optbench.reports.inference import ROUNDING
from optbench.reports.plans import minutes_needed, minutes_per_seed
from optbench.reports.resolution import resolved_pairs
from optbench.reports.scale import models_text
from optbench.reports.sentences import planned_difference
from optbench.reports.standings import Row, Standings, rows_of
from optbench.reports.stats import ALPHA, Array

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Suite


@dataclass(frozen=True)
class Plan:
    """What would tell the best row of a ranking from `second`: `seeds` in all, `missing` of them yet, in `minutes`.

    For a true difference of `difference`, in the unit of the score, with a chance of 80%. NaN and infinite as in
    `seeds_needed` and `minutes_needed`.
    """

    second: Row
    difference: float
    seeds: float
    missing: float
    minutes: float


@dataclass(frozen=True)
class Ranking:
    """What one column of the standings says; rows in the order of their means.

    `best` has the best mean, `tied` are the others that are not resolved from it, `worse` those that are resolved
    as worse, at the level of ties, and `unsure` those of them that are not at the level of pairs
    (`resolved_pairs`), which allows for the choice of the best. Where `worse` is empty nothing is resolved, and
    `best` is no claim. `unknown` have no figure: no record, out of memory, or a model missing. `failed` have
    diverged cells alone, or an infinite mean for one. `supported` are the candidates that may be set in bold
    (`supported_as_best`). `half_width_chosen` is for a row that was chosen by its own mean. `means` has mean and
    half-width of each row with a figure, `seeds` how many it rests on; those of `alike` all scored the same. `plan` is
    None where nothing is tied or no spread is known.
    """

    column: str
    best: Row | None
    tied: tuple[Row, ...]
    worse: tuple[Row, ...]
    unknown: tuple[Row, ...]
    failed: tuple[Row, ...]
    unsure: tuple[Row, ...]
    supported: tuple[Row, ...]
    n: int
    half_width_chosen: float
    means: Mapping[Row, tuple[float, float]] = field(repr=False)
    seeds: Mapping[Row, int] = field(repr=False)
    alike: tuple[Row, ...] = ()
    plan: Plan | None = None

    @property
    def is_resolved(self) -> bool:
        """Whether any row is resolved as worse than the best."""
        return bool(self.worse)

    @property
    def is_supported(self) -> bool:
        """Whether the best may be called so: it is bold in the table, so that the choice of the best is allowed for."""
        return self.best in self.supported

    @property
    def all_alike(self) -> bool:
        """Whether several rows have figures, all of them the same, up to rounding: that of none is a lead."""
        means = [mean for mean, _ in self.means.values()]
        return len(means) > 1 and max(means) - min(means) <= ROUNDING * max(map(abs, means))

    @property
    def candidates(self) -> tuple[Row, ...]:
        """The best row and those that are not resolved from it."""
        return () if self.best is None else (self.best, *self.tied)


@dataclass(frozen=True)
class Bill:
    """What a row costs as multiples of `against`, over the models of the first ranking; NaN where not known.

    `compute`: FLOPs, the strategy's probe in full; exact. `time` and `peak` were measured: NaN where other cells ran
    beside, or on another device. `state`: bytes of the optimizer.
    """

    row: Row
    against: Row
    compute: float
    time: float
    peak: float
    state: float


@dataclass(frozen=True)
class TableAnswer:
    """The answer for one task and budget.

    `rankings` has one entry per model, after one over all of them where there are several. `bill` is of the best row of
    the first, `cheapest` of the supported row there with the least compute; None where there is none, or where cells of
    it diverged, so that its figures are too low. `partly_diverged` has rows with some diverged cells: how many of how
    many. `out_of_memory` has rows with cells that did not fit.
    """

    task: str
    budget: str
    given: Mapping[str, float]
    score: str
    questions: int
    scale: str
    rankings: tuple[Ranking, ...]
    bill: Bill | None
    cheapest: Bill | None
    minutes_per_seed: float
    partly_diverged: Mapping[Row, tuple[int, int]]
    out_of_memory: tuple[Row, ...]
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The answer of a suite, one part per task and budget. `lines` are its sentences, not escaped for any format."""

    tables: tuple[TableAnswer, ...]
    lines: tuple[str, ...]


def answer_of(suite: Suite, store: Store, cells: pd.DataFrame, standings: Sequence[Standings]) -> Answer:
    """The answer that the standings support, and no more. Rows count as tied or resolved as they do there."""
    hints = Hints(str(suite.path), suite.asked.run(suite.path, store.root))
    tables = []
    for table in standings:
        own = [
            place
            for place, arm in enumerate(suite.arms)
            if arm.task == table.task and dict(arm.budget) == dict(table.given)
        ]
        recorded = cells.loc[cells["arm"].isin(own) & (cells["outcome"] != MISSING), "arm"].unique().tolist()
        minutes = minutes_per_seed(cells, np.array(own), workers=suite.execution.workers)
        made = _table_answer(table, models_text([suite.arms[place] for place in recorded or own]), minutes)
        tables.append(replace(made, lines=tuple(lines_of(made, hints))))
    return Answer(tuple(tables), tuple(line for table in tables for line in table.lines))


def _table_answer(table: Standings, scale: str, minutes: float) -> TableAnswer:
    rankings = tuple(ranking_of(table, str(name), minutes) for name in table.mean)
    first = rankings[0]
    diverged, declared = table.cells["diverged"], table.cells["declared"]
    partly = {
        row: (int(diverged[row]), int(declared[row]))
        for row in rows_of(table.cells)
        if diverged[row] and row not in first.failed
    }
    bills = [_bill(table, row) for row in first.candidates if row not in partly]
    priced = [bill for bill in bills if bill.row in first.supported and not math.isnan(bill.compute)]
    return TableAnswer(
        table.task,
        table.budget,
        table.given,
        table.score,
        table.questions,
        scale,
        rankings,
        bill=next((bill for bill in bills if bill.row == first.best), None),
        cheapest=min(priced, key=lambda bill: bill.compute) if len(priced) == len(first.supported) > 0 else None,
        minutes_per_seed=minutes,
        partly_diverged=partly,
        out_of_memory=tuple(row for row in rows_of(table.cells) if table.cells["out_of_memory"][row]),
    )


def ranking_of(table: Standings, name: str, minutes: float) -> Ranking:
    """The ranking of the column `name`. `minutes` is what one more seed of the table takes, NaN where not known."""
    direction = column(table.score).direction
    values = table.by_seed[name].to_numpy(float)
    rows = rows_of(table.mean)
    mean, width = table.mean[name].to_numpy(float), table.half_width[name].to_numpy(float)
    failed = table.diverged[name].to_numpy(bool) | np.isinf(values).any(axis=1)
    known = ~np.isnan(mean) & ~failed
    order = np.argsort(-mean if direction == "higher" else mean, kind="stable")
    ranked = [int(place) for place in order if known[place]]
    best = rows.index(table.best[name]) if name in table.best and direction != "neither" else -1
    tied, alike = table.tied[name].to_numpy(bool), table.alike[name].to_numpy(bool)
    if best < 0 or not known[best]:
        best, others = -1, []
    else:
        others = [place for place in ranked if place != best]
    # Where no row is marked as tied, none is resolved from the best: all are ties with it.
    marked = bool(tied.any())
    ties = [place for place in others if tied[place] or not marked]
    strict = np.zeros(len(rows), bool)
    if best >= 0:
        strict = resolved_pairs(values, higher=direction == "higher", inference=table.inference)[best]
    comparable = int((~np.isnan(mean) & ~np.isinf(values).any(axis=1)).sum())
    count = int((~np.isnan(values[best])).sum()) if best >= 0 else 0
    spread = float(np.nanstd(values[best], ddof=1)) if count > 1 else math.nan
    return Ranking(
        name,
        best=rows[best] if best >= 0 else None,
        tied=tuple(rows[place] for place in ties),
        worse=tuple(rows[place] for place in others if marked and not tied[place]),
        unsure=tuple(rows[place] for place in others if marked and not tied[place] and not strict[place]),
        unknown=tuple(row for row, is_nan, fails in zip(rows, np.isnan(mean), failed, strict=True) if is_nan > fails),
        failed=tuple(row for row, fails in zip(rows, failed, strict=True) if fails),
        supported=tuple(rows[place] for place in ranked if table.supported[name].iloc[place]),
        n=count,
        half_width_chosen=float(table.inference.half_width_chosen(mean[best], spread, count, comparable)),
        means={rows[place]: (float(mean[place]), float(width[place])) for place in ranked},
        seeds={rows[place]: int(table.n[name].iloc[place]) for place in ranked},
        alike=tuple(rows[place] for place in ranked if alike[place]),
        plan=_plan(table, values[best], values[ties[0]], rows[ties[0]], comparable, minutes) if ties else None,
    )


def _plan(table: Standings, first: Array, other: Array, second: Row, comparable: int, minutes: float) -> Plan | None:
    """What would tell the row with the values `first` [seeds] from `second`, which has `other`."""
    differences = first - other
    seen = differences[~np.isnan(differences)]
    largest = np.nanmax(np.abs([first, other]))
    spread = float(table.inference.spread(seen.std(ddof=1), largest)) if len(seen) > 1 else 0.0
    if spread == 0:
        return None
    planned = planned_difference(table.score, float(seen.mean()))
    needed = table.inference.seeds_needed(spread, planned, level=ALPHA / (comparable - 1))
    return Plan(second, planned, needed, max(needed - len(seen), 0), minutes_needed(needed, len(seen), minutes))


def _bill(table: Standings, row: Row) -> Bill:
    prices = {name: frame.iloc[:, 0] for name, frame in table.prices.items()}
    ratios = {}
    for name, price in prices.items():
        unit = float(price[table.anchor]) if table.anchor in price.index else math.nan
        ratios[name] = float(price[row]) / unit if unit > 0 else math.nan
    return Bill(row, table.anchor, ratios["compute"], ratios["time"], ratios["peak_bytes"], ratios["state_bytes"])
