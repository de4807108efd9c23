"""Records as tables: one row per cell, and one row per arm. Everything a report says is computed from these."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optbench.errors import UserError
from optbench.metrics.columns import COLUMNS, column, worst
from optbench.panels.base import panel_key
from optbench.reports.inference import inference_of
from optbench.reports.stats import Array

if TYPE_CHECKING:
    from optbench.store import Record, Store
    from optbench.suite import Cell, Suite

AXES = ("model", "task", "strategy", "optimizer", "budget")
OUTCOMES = ("completed", "diverged", "out_of_memory")
MISSING = "missing"
MEAN, WIDTH, COUNT = "", "_half_width", "_n"
"""What the three columns that an arm has for each metric add to its name."""

_TOGETHER = (("accuracy", "format_error"), ("test_nll",), ("bits_per_byte",), ("test_loss",))
"""Columns that a task has together or not at all."""
_MADE_WITH = ("device_type", "device", "precision")


def cells_table(suite: Suite, store: Store) -> pd.DataFrame:
    """One row per cell of the suite, in its order, recorded or not.

    Columns: arm (its place in `suite.arms`), name, model, task, strategy, optimizer, budget (as text), seed, key,
    outcome ("missing" where there is no record), probe (key of the strategy's, or empty), device_type, device,
    precision, contended, and one float column per metric, NaN where a record does not have it. The numbers are as
    recorded (a diverged cell has no accuracy here), except that total_seconds includes what the panels of the suite
    took, which a record leaves out, since it is the same whatever looks at it.
    """
    places = {arm.name: place for place, arm in enumerate(suite.arms)}
    arms, seeds, contended = [], [], []
    texts: dict[str, list[str]] = {name: [] for name in ("key", "outcome", "probe", *_MADE_WITH)}
    numbers: dict[str, dict[int, float]] = {name: {} for name in COLUMNS}
    for row, cell in enumerate(suite.cells()):
        arms.append(places[cell.arm.name])
        seeds.append(cell.seed)
        key = cell.key
        record = store.record(key)
        made = {} if record is None else record.measured.get("provenance", {})
        texts["key"].append(key)
        texts["outcome"].append(MISSING if record is None else record.outcome)
        texts["probe"].append("" if record is None else str(record.plan.get("probe", "")))
        for name in _MADE_WITH:
            texts[name].append(str(made.get(name, "unknown")))
        contended.append(record is not None and bool(record.measured.get("contended", False)))
        for name, value in () if record is None else _numbers(record, cell, store):
            numbers.setdefault(name, {})[row] = value
    axes = [{"name": arm.name, **arm.axes()} for arm in suite.arms]
    table = pd.DataFrame(axes, columns=["name", *AXES]).iloc[arms].reset_index(drop=True)
    table.insert(0, "arm", np.array(arms, dtype=int))
    metrics = {name: _dense(values, len(arms)) for name, values in numbers.items()}
    table = table.assign(seed=np.array(seeds, dtype=int), **texts, contended=np.array(contended, dtype=bool))
    return table.join(pd.DataFrame(metrics, index=table.index))


def metrics_of(cells: pd.DataFrame) -> list[str]:
    """The names of the metric columns of a cells table."""
    names = list(cells.columns)
    return names[names.index("contended") + 1 :]


def records_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as mappings."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def scored(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells as they enter means and contrasts.

    A diverged cell counts as the worst value of the column (accuracy 0, format errors 1, likelihood infinite): leaving
    it out would reward the optimizer that fails where the others find it hard. A column that the task does not have (a
    regression has no accuracy) stays empty. What it cost stays as recorded. A cell that ran out of memory says nothing
    about quality and is left out, like one without a record. Times and memory of cells that ran beside others are left
    out of an arm that also has some taken alone.
    """
    table = cells.copy()
    diverged = cells["outcome"] == "diverged"
    alone = ~cells["contended"] & (cells["outcome"] != MISSING)
    beaten = cells["contended"] & alone.groupby(cells["arm"]).transform("any")
    for name in metrics_of(cells):
        if diverged.any() and not math.isnan(worst(name)):
            table.loc[diverged & _applies(cells, name), name] = worst(name)
        if column(name).measured and beaten.any():
            table.loc[beaten, name] = math.nan
    return table


def _applies(cells: pd.DataFrame, name: str) -> pd.Series:
    """Which cells are of a task that has the column; where none of its cells was completed, it may have any."""
    base = name.partition("/")[0]
    group = next((group for group in _TOGETHER if base in group), (name,))
    completed = cells[cells["outcome"] == "completed"]
    has = completed.reindex(columns=group).notna().any(axis=1).groupby(completed["task"]).any()
    known = has.to_dict()
    return pd.Series([bool(known.get(task, True)) for task in cells["task"]], index=cells.index)


def arms_table(suite: Suite, store: Store) -> pd.DataFrame:
    """One row per arm of the suite: see `arms_of`. Raises UserError where the records must not be pooled."""
    return arms_of(suite, cells_table(suite, store))


def arms_of(suite: Suite, cells: pd.DataFrame) -> pd.DataFrame:
    """One row per arm: its axes, what became of its cells, and each metric over its seeds.

    Columns: name, model, task, strategy, optimizer, budget (the mapping), seeds (with a record), seeds_declared,
    completed, diverged, out_of_memory (numbers of cells), contended (times and memory were all taken beside other
    running cells: shown, never ranked), and for each metric its mean under its own name, `<metric>_half_width` (of
    the 95% interval, see `inference_of`; infinite for too few seeds, and where all came out the same) and `<metric>_n`
    (seeds in the mean). See `scored` for diverged cells. Raises UserError where the records must not be pooled.
    """
    refuse_mixed(cells)
    places = pd.RangeIndex(len(suite.arms))
    names = metrics_of(cells)
    by_arm = cells.groupby("arm")
    counts = pd.crosstab(cells["arm"], cells["outcome"]).reindex(index=places, columns=OUTCOMES, fill_value=0)
    table = pd.DataFrame([{"name": arm.name, **arm.axes()} for arm in suite.arms], columns=["name", *AXES])
    table["budget"] = pd.Series([dict(arm.budget) for arm in suite.arms], dtype=object)
    table["seeds"] = counts.sum(axis=1)
    table["seeds_declared"] = by_arm.size().reindex(places, fill_value=0)
    table = table.join(counts)
    recorded = table["seeds"] > 0
    table["contended"] = recorded & by_arm["contended"].sum().reindex(places, fill_value=0).eq(table["seeds"])
    pooled = scored(cells).groupby("arm")[names]
    means, counts = pooled.mean().reindex(places), pooled.count().reindex(places, fill_value=0)
    spread = pooled.std().reindex(places)
    certain = [column(name).certain for name in names]
    widths = inference_of(suite).half_width(means.to_numpy(), spread.to_numpy(), counts.to_numpy(), certain=certain)
    metrics: dict[str, Any] = {}
    for place, name in enumerate(names):
        metrics[name + MEAN] = means[name]
        metrics[name + WIDTH] = widths[:, place]
        metrics[name + COUNT] = counts[name]
    return table.join(pd.DataFrame(metrics, index=places))


def refuse_mixed(cells: pd.DataFrame) -> None:
    """Raises UserError, naming the two, where the records differ in device type or precision.

    All arms of a suite are compared with each other, so this holds for the whole suite; and it refuses rather than
    marks, since every figure of the report would carry the mark. The source of a plug-in needs no check here: it is
    part of the key, so records made with another source are not found under the keys of the suite.
    """
    recorded = cells[cells["outcome"] != MISSING]
    for name, words in (("device_type", "types of device"), ("precision", "precisions")):
        found = recorded[name].value_counts()
        if len(found) < 2:
            continue
        (first, many), (second, few) = list(found.items())[:2]
        example = recorded["key"][recorded[name] == second].iloc[0]
        raise UserError(
            f"the records of this suite come from different {words}: {many} from {first}, {few} from {second} (for "
            f"instance {example}). Numbers from both are never averaged or compared: keep each in a results folder of "
            f"its own, or delete the records of one and run those cells again"
        )


def budgets_of(cells: pd.DataFrame) -> pd.Series:
    """The budget of each arm as tables call it, such as `300 steps`."""
    return cells.groupby("arm")["budget"].first()


def by_arm_and_seed(cells: pd.DataFrame, values: pd.Series, *, arms: int, empty: Any) -> Array:
    """`values`, one per cell, as a matrix [arms, seeds], seeds ascending; `empty` where the suite has no such cell."""
    seeds, codes = np.unique(cells["seed"].to_numpy(), return_inverse=True)
    matrix = np.full((arms, len(seeds)), empty, dtype=object if isinstance(empty, str) else None)
    matrix[cells["arm"].to_numpy(), codes] = values.to_numpy()
    return matrix


def _numbers(record: Record, cell: Cell, store: Store) -> Iterator[tuple[str, float]]:
    panels = [store.panel(cell.key, panel_key(panel)) for panel in cell.panels]
    looked = [found for found in panels if found is not None]
    measured = dict(record.measured)
    if "total_seconds" in measured:
        measured["total_seconds"] += math.fsum(found.get("measured", {}).get("seconds", 0.0) for found in looked)
    for block in (record.result, measured, *(found["result"] for found in looked)):
        for name, value in block.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield name, value


def _dense(values: Mapping[int, float], length: int) -> Array:
    dense = np.full(length, math.nan)
    dense[list(values.keys())] = list(values.values())
    return dense
