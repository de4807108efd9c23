"""Pareto fronts: which rows of the standings nothing beats in score without costing more, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from optbench.reports.inference import Inference
from optbench.reports.prices import MEASURED
from optbench.reports.resolution import resolved_pairs
from optbench.reports.stats import Array

Axis = Literal["time", "memory"]
Mark = Literal["resolved", "open", "beaten", ""]

AXES: Mapping[Axis, tuple[str, str]] = {"time": ("time", "compute"), "memory": ("peak_bytes", "state_bytes")}
"""The price of each front, and the counted one that stands in where the first was not measured alone for all rows."""
ALLOWANCE = 0.05
"""Measured prices that differ by less than this share are the same price: a second measurement may turn them round."""
_ROUNDING = 1e-9
"""Counted prices that differ by less differ in the order of additions."""


@dataclass(frozen=True)
class Front:
    """The front of score against one price. Frames have the rows and columns of the standings.

    `price` names, for each column, what it was drawn with (see `AXES`); empty where no price is known for all rows.
    `by_means`: on the front as the means are (`pareto_front`). `mark`: how sure that is (`marks_of`).
    """

    price: Mapping[str, str]
    by_means: pd.DataFrame
    mark: pd.DataFrame

    @property
    def prices(self) -> list[str]:
        """The prices that any column was drawn with."""
        return list(dict.fromkeys(price for price in self.price.values() if price))


def pareto_front(score: Array, price: Array, *, allowance: float = 0.0) -> Array:
    """Which rows are on the front by their means: no other row beats them. `score` [rows] has higher as better.

    Row j beats row i where it costs no more, price_j <= (1 + allowance) price_i, and scores more; or scores the same
    and costs less by more than the allowance. A row whose score or price is not a finite number is never on the front,
    and beats nothing.
    """
    placed = np.isfinite(score) & np.isfinite(price)
    with np.errstate(invalid="ignore"):
        beats = _affordable(price, allowance) & (score[:, None] > score[None])
        beats |= (score[:, None] == score[None]) & ~_affordable(price, allowance).T
    front: Array = placed & ~(beats & placed[:, None]).any(axis=0)
    return front


def marks_of(better: Array, price: Array, placed: Array, *, allowance: float = 0.0) -> Array:
    """How sure each row's place is, [rows] of `Mark`; `better` [i, j] says that i is resolved as better than j.

    resolved: every row that costs no more is resolved as worse, so the row is on the front.
    beaten: a row that costs no more is resolved as better, so it is not.
    open: neither; more seeds would tell.
    Empty where `placed` is False: such rows have no place, and beat nothing.
    """
    affordable = _affordable(price, allowance) & placed[:, None]
    np.fill_diagonal(affordable, False)
    beaten = (affordable & better).any(axis=0)
    holds = (~affordable | better.T).all(axis=0)
    marks = np.where(beaten, "beaten", np.where(holds, "resolved", "open")).astype(object)
    marks[~placed] = ""
    return marks


def _affordable(price: Array, allowance: float) -> Array:
    """Whether row j costs no more than row i, as a matrix [j, i]; False where a price is not known."""
    with np.errstate(invalid="ignore"):
        cheap: Array = price[:, None] <= (1 + max(allowance, _ROUNDING)) * price[None]
    return cheap


def fronts_of(
    by_seed: Mapping[str, Array],
    prices: Mapping[str, Mapping[str, Array]],
    failed: Mapping[str, Array],
    rows: pd.MultiIndex,
    *,
    higher: bool,
    inference: Inference,
) -> dict[Axis, Front]:
    """The fronts of the standings. All mappings have their columns as keys.

    `by_seed`: scores [rows, seeds]; `prices`: for each price its values [rows]; `failed` [rows]: a cell diverged or ran
    out of memory, so that what it cost is not what a run costs: such a row is on no front, and beats none.
    """
    fronts: dict[Axis, Front] = {}
    means, better = {}, {}
    for name, values in by_seed.items():
        known = ~np.all(np.isnan(values), axis=1) & ~failed[name]
        means[name] = np.full(len(values), np.nan)
        means[name][known] = np.nanmean(values[known], axis=1) * (1 if higher else -1)
        better[name] = resolved_pairs(values, higher=higher, inference=inference)
    for axis, candidates in AXES.items():
        chosen: dict[str, str] = {}
        by_means, mark = pd.DataFrame(index=rows), pd.DataFrame(index=rows)
        for name, score in means.items():
            ranked = np.isfinite(score)
            complete = [price for price in candidates if np.isfinite(prices[price][name][ranked]).all()]
            chosen[name] = complete[0] if complete and ranked.any() else ""
            values = prices[chosen[name]][name] if chosen[name] else np.full(len(score), np.nan)
            allowance = ALLOWANCE if chosen[name] in MEASURED else 0.0
            placed = ranked & np.isfinite(values)
            by_means[name] = pareto_front(score, values, allowance=allowance)
            mark[name] = marks_of(better[name], values, placed, allowance=allowance)
        fronts[axis] = Front(chosen, by_means, mark)
    return fronts


def front_columns(arms: pd.DataFrame, fronts: Mapping[Axis, Front], rows: pd.Index) -> pd.DataFrame:
    """The fronts of the arms of one table, at their own model. One row per arm.

    Columns for each axis: `front_time` (by means), `front_time_mark`, `front_time_price`; `front_memory` likewise.
    """
    places = rows.get_indexer(pd.MultiIndex.from_frame(arms[["optimizer", "strategy"]]))
    found = pd.DataFrame(index=arms.index)
    for axis, front in fronts.items():
        columns = front.mark.columns.get_indexer(pd.Index(arms["model"]))
        found[f"front_{axis}"] = front.by_means.to_numpy(bool)[places, columns]
        found[f"front_{axis}_mark"] = front.mark.to_numpy(object)[places, columns]
        found[f"front_{axis}_price"] = [front.price[model] for model in arms["model"]]
    return found
