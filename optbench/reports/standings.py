"""The standings: for each task and budget one row per optimizer and strategy, with what supports its place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optbench.metrics.columns import column, worst
from optbench.reports.compute import ANCHOR, SPENT, anchor_of
from optbench.reports.frame import MISSING, budgets_of, by_arm_and_seed, scored
from optbench.reports.inference import Inference, inference_of
from optbench.reports.pareto import Axis, Front, fronts_of
from optbench.reports.prices import GEOMETRIC, MEASURED, PRICES, prices_of
from optbench.reports.resolution import best_row, not_resolved_from_best, supported_as_best
from optbench.reports.stats import Array

if TYPE_CHECKING:
    from optbench.suite import Suite

ALL_MODELS = "all models"

Row = tuple[str, str]
"""Optimizer and strategy."""

_FALLBACKS = ("accuracy", "test_nll")
_RELATIVE = ("step_seconds", "flops")
_BILL = ("compute", "compute_shared")
_COSTS = (
    *(*_RELATIVE, "passes", "state_bytes", "peak_bytes", "probe_share", "rewrite_seconds", "format_error"),
    *("shift_cosine", "over_budget"),
)


@dataclass(frozen=True)
class Standings:
    """One table. All frames have one row per (optimizer, strategy), the best first.

    `mean`, `half_width`, `n` (seeds), `tied`, `supported` and `diverged` have one column per model, after a column
    over all of them where there are several models; it is NaN in a row that lacks a model, since averages over
    different models do not compare. `tied`: not resolved from the best of its column, where something is.
    `supported`: see `supported_as_best`. `diverged`: every cell behind the figure diverged. `best` is the row that ties
    are ties with, by column; `by_seed` has what it all is computed from, one number per row and seed, by column.
    `prices` (by `prices.PRICES`) and `fronts` (see `pareto`) have the same rows and columns.
    `cells` counts declared, missing, diverged, out_of_memory. `costs` has step_seconds and flops relative to adamw of
    the same model and strategy where `relative` says so (geometric mean over models); compute and compute_shared
    relative to `anchor` (see `compute_of`; geometric mean too); the others as means; and contended. `given` is the
    budget as {unit: amount}, `score` names the metric, `devices` what the times were taken on, `questions` how many
    test questions a cell answered (0 where no record says so). `inference`: what half-widths and marks go by.
    """

    task: str
    budget: str
    given: Mapping[str, float]
    score: str
    mean: pd.DataFrame
    half_width: pd.DataFrame
    n: pd.DataFrame
    tied: pd.DataFrame
    supported: pd.DataFrame
    diverged: pd.DataFrame
    best: Mapping[str, Row]
    by_seed: Mapping[str, pd.DataFrame]
    prices: Mapping[str, pd.DataFrame]
    fronts: Mapping[Axis, Front]
    cells: pd.DataFrame
    costs: pd.DataFrame
    relative: bool
    anchor: Row
    devices: list[str]
    questions: int
    inference: Inference

    @property
    def seeds(self) -> int:
        """The most seeds that any figure of the table rests on."""
        return int(self.n.to_numpy().max())

    @cached_property
    def alike(self) -> pd.DataFrame:
        """Which figures have no half-width although their seeds are enough for one: all seeds scored the same. Those
        of rows that only diverged are left out."""
        found = self.inference.without_spread(self.mean, self.half_width, self.n)
        return pd.DataFrame(found, index=self.mean.index, columns=self.mean.columns) & ~self.diverged.astype(bool)

    @property
    def unit(self) -> str:
        """The unit of the budget."""
        return next(iter(self.given))

    @property
    def of_compute(self) -> bool:
        """Whether the budget is of compute, so that a probe is beyond it."""
        return self.unit in SPENT


def standings_of(suite: Suite, cells: pd.DataFrame, arms: pd.DataFrame) -> list[Standings]:
    """One table per task and budget, in the order of the suite. `arms`: `arms_of` beside `compute_of`.

    The score is what the suite is ranked by, where any record of the table has it, else accuracy, else likelihood.
    """
    pooled = scored(cells)
    budgets = budgets_of(cells)
    diverged = by_arm_and_seed(pooled, pooled["outcome"] == "diverged", arms=len(suite.arms), empty=False)
    prices = prices_of(arms)
    tables = []
    for (task, budget), part in arms.groupby([arms["task"], budgets], sort=False):
        mine = pooled[pooled["arm"].isin(part.index)]
        # A diverged cell has the worst value of columns that its task may not have.
        finished = mine[mine["outcome"] == "completed"]
        known = [name for name in (suite.ranked_by, *_FALLBACKS) if name in mine and finished[name].notna().any()]
        score = known[0] if known else suite.ranked_by
        values = by_arm_and_seed(pooled, _with_worst(pooled, score), arms=len(suite.arms), empty=math.nan)
        tables.append(
            _standings(str(task), str(budget), score, part, mine, values, diverged, prices, inference_of(suite))
        )
    return tables


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows of a frame of the standings, as optimizer and strategy."""
    return list(zip(frame.index.get_level_values(0), frame.index.get_level_values(1), strict=True))


def worst_of(score: str) -> float:
    """What a diverged cell counts as where tables are ranked by `score`: the column's worst, else the infinite one."""
    known = worst(score)
    return known if not math.isnan(known) else -math.inf if column(score).direction == "higher" else math.inf


def _with_worst(cells: pd.DataFrame, score: str) -> pd.Series:
    values = cells[score] if score in cells else pd.Series(math.nan, index=cells.index)
    return values.where(values.notna() | (cells["outcome"] != "diverged"), worst_of(score))


def _standings(
    task: str,
    budget: str,
    score: str,
    arms: pd.DataFrame,
    cells: pd.DataFrame,
    values: Array,
    diverged: Array,
    prices: pd.DataFrame,
    inference: Inference,
) -> Standings:
    higher = column(score).direction == "higher"
    rows = pd.MultiIndex.from_frame(arms[["optimizer", "strategy"]].drop_duplicates())
    figures = {name: pd.DataFrame(index=rows) for name in ("mean", "half_width", "n", "tied", "supported", "diverged")}
    scores, failed = by_model(arms, rows, values, math.nan), by_model(arms, rows, diverged, False)
    for name, by_seed in scores.items():
        frame = pd.DataFrame(by_seed)
        count = frame.notna().sum(axis=1).to_numpy()
        figures["n"][name] = count
        figures["mean"][name] = frame.mean(axis=1).to_numpy()
        with np.errstate(invalid="ignore"):
            spread = frame.std(axis=1).to_numpy()
        mean = figures["mean"][name].to_numpy()
        figures["half_width"][name] = inference.half_width(mean, spread, count, certain=column(score).certain)
        tied = not_resolved_from_best(by_seed, higher=higher, inference=inference)
        figures["tied"][name] = tied & bool((~tied & (count > 0)).any())
        figures["supported"][name] = supported_as_best(by_seed, higher=higher, inference=inference)
        only_failures = np.all(failed[name] | np.isnan(by_seed), axis=1)
        figures["diverged"][name] = only_failures & np.any(failed[name], axis=1)
    counts = _counts(cells, rows)
    costs, relative = _costs(arms, rows)
    devices = sorted(cells.loc[cells["outcome"] != MISSING, "device"].unique())
    if len(devices) > 1:
        costs["contended"] = True
    order = _order(figures["mean"], counts, higher=higher)
    ordered = {name: frame.loc[order] for name, frame in figures.items()}
    unknown = list(MEASURED) if len(devices) > 1 else []
    if set(cells.loc[cells["outcome"] != MISSING, "device_type"]) == {"cpu"}:
        unknown.append("peak_bytes")  # There it is of the whole process, whose libraries outweigh a small model.
    charged = _prices(arms, rows, prices.assign(**dict.fromkeys(unknown, math.nan)))
    places = rows.get_indexer(order)
    first = {name: best_row(by_seed, higher=higher) for name, by_seed in scores.items()}
    names = list(zip(rows.get_level_values(0), rows.get_level_values(1), strict=True))
    fronts = fronts_of(
        {name: by_seed[places] for name, by_seed in scores.items()},
        {price: {name: frame[name].to_numpy()[places] for name in scores} for price, frame in charged.items()},
        {name: broken[places] for name, broken in _broken(arms, rows).items()},
        order,
        higher=higher,
        inference=inference,
    )
    return Standings(
        task,
        budget,
        arms["budget"].iloc[0],
        score,
        **ordered,
        best={name: names[place] for name, place in first.items() if place >= 0},
        by_seed={name: pd.DataFrame(by_seed, index=rows).loc[order] for name, by_seed in scores.items()},
        prices={price: frame.loc[order] for price, frame in charged.items()},
        fronts=fronts,
        cells=counts.loc[order],
        costs=costs.loc[order],
        relative=relative,
        anchor=anchor_of(arms),
        devices=devices,
        questions=int(cells["questions"].max()) if "questions" in cells and cells["questions"].notna().any() else 0,
        inference=inference,
    )


def by_model(arms: pd.DataFrame, rows: pd.MultiIndex, values: Array, empty: Any) -> dict[str, Array]:
    """For each model, and for all together where there are several, `values` [arms, seeds] as [rows, seeds].

    Over all models: the mean of numbers, so NaN at a seed that lacks a model; and whether all hold, of booleans.
    """
    models = list(dict.fromkeys(arms["model"]))
    found = {}
    for model in models:
        own = arms[arms["model"] == model]
        matrix = np.full((len(rows), values.shape[1]), empty)
        matrix[rows.get_indexer(pd.MultiIndex.from_frame(own[["optimizer", "strategy"]]))] = values[own.index]
        found[model] = matrix
    if len(models) == 1:
        return found
    stacked = np.stack(list(found.values()))
    pooled: Array = np.all(stacked, axis=0) if values.dtype == bool else np.mean(stacked, axis=0)
    return {ALL_MODELS: pooled, **found}


def _prices(arms: pd.DataFrame, rows: pd.MultiIndex, prices: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each of `PRICES` as a frame with the rows and columns of the standings; NaN in a row that lacks a model."""
    found = {}
    for name in PRICES:
        values = prices[[name]].to_numpy()
        with np.errstate(divide="ignore"):
            pooled = by_model(arms, rows, np.log(values) if name in GEOMETRIC else values, math.nan)
        columns = {model: np.exp(own[:, 0]) if name in GEOMETRIC else own[:, 0] for model, own in pooled.items()}
        found[name] = pd.DataFrame(columns, index=rows)
    return found


def _broken(arms: pd.DataFrame, rows: pd.MultiIndex) -> dict[str, Array]:
    """For each column, which rows have a cell that diverged or ran out of memory."""
    whole = np.ones((int(arms.index.max()) + 1, 1), dtype=bool)
    whole[arms.index, 0] = (arms["diverged"] + arms["out_of_memory"]).to_numpy() == 0
    return {name: ~kept[:, 0] for name, kept in by_model(arms, rows, whole, True).items()}


def _counts(cells: pd.DataFrame, rows: pd.MultiIndex) -> pd.DataFrame:
    kinds = [MISSING, "diverged", "out_of_memory"]
    by_row = [cells["optimizer"], cells["strategy"]]
    counts = pd.crosstab(by_row, cells["outcome"]).reindex(index=rows, columns=kinds, fill_value=0)
    counts["declared"] = cells.groupby(by_row).size().reindex(rows, fill_value=0)
    return counts


def _order(mean: pd.DataFrame, counts: pd.DataFrame, *, higher: bool) -> pd.MultiIndex:
    """Rows with a figure over all models first, the best of them at the top; rows that only diverged come last."""
    keys = pd.DataFrame(index=mean.index)
    keys["only_diverged"] = (counts["diverged"] > 0) & (counts["diverged"] == counts["declared"])
    keys["incomplete"] = mean.iloc[:, 0].isna()
    keys["empty"] = mean.isna().all(axis=1)
    shown = mean.iloc[:, 0].fillna(mean.mean(axis=1))
    keys["score"] = -shown if higher else shown
    order = keys.sort_values(["empty", "only_diverged", "incomplete", "score"], kind="stable").index
    assert isinstance(order, pd.MultiIndex)
    return order


def _costs(arms: pd.DataFrame, rows: pd.MultiIndex) -> tuple[pd.DataFrame, bool]:
    table = arms.reindex(columns=["optimizer", "strategy", "model", "contended", *_COSTS, *_BILL])
    with np.errstate(divide="ignore"):
        table[list(_BILL)] = np.log(table[list(_BILL)])
    anchors = arms[arms["optimizer"] == ANCHOR].set_index(["model", "strategy"])
    relative = len(anchors) > 0
    if relative:
        own = pd.MultiIndex.from_frame(arms[["model", "strategy"]])
        for name in _RELATIVE:
            table[name] = np.log(table[name] / anchors[name].reindex(own).to_numpy())
        table["contended"] |= anchors["contended"].reindex(own, fill_value=False).to_numpy()
    grouped = table.groupby(["optimizer", "strategy"])
    costs = grouped[[*_COSTS, *_BILL]].mean().reindex(rows)
    costs[list(_BILL)] = np.exp(costs[list(_BILL)])
    costs["shift_cosine"] = grouped["shift_cosine"].min().reindex(rows)
    costs["contended"] = grouped["contended"].any().reindex(rows, fill_value=False)
    if relative:
        costs[list(_RELATIVE)] = np.exp(costs[list(_RELATIVE)])
    return costs, relative
