"""Every cell: a row of a table, and all that its record says as JSON that a script of the page reads when asked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from optbench.errors import UserError
from optbench.metrics.columns import COLUMNS, column
from optbench.page.circumstances import provenance_of
from optbench.page.safety import shown_data
from optbench.page.tables import Column, Item, Table
from optbench.reports.figures import NOTHING, compact, figure
from optbench.reports.frame import records_of
from optbench.store import Record, Store

DIGITS = 6
"""Significant digits of the numbers in the details of a cell."""
POINTS = 60
"""Points of a curve in the details of a cell."""

_AXES = ("optimizer", "strategy", "model", "task", "budget")
_COLUMNS = ("accuracy", "test_nll", "test_loss", "final_loss", "passes", "step_seconds", "total_seconds", "peak_bytes")
_HEADS = {
    "step_seconds": "step, ms",
    "total_seconds": "whole cell, s",
    "peak_bytes": "peak, MB",
}
_SCALES = {"step_seconds": 1e3, "peak_bytes": 1e-6}


def cells_table_of(cells: pd.DataFrame, ranked_by: str, colors: Mapping[str, str]) -> Table:
    """One row per cell of the suite in its order: axes, seed, outcome, and the columns that any cell has."""
    axes = [axis for axis in _AXES if axis in ("optimizer", "strategy", "model") or cells[axis].nunique() > 1]
    names = [name for name in dict.fromkeys((ranked_by, *_COLUMNS)) if name in cells and cells[name].notna().any()]
    columns = [Column(axis, "name", axis=axis) for axis in axes]
    columns += [Column("seed", "number"), Column("outcome", "name", axis="outcome")]
    columns += [Column(_head(name), "number") for name in names]
    columns.append(Column("cell", "name", axis="cell"))
    rows = []
    for row in records_of(cells):
        items = [Item(row[axis], color=colors.get(row[axis], "") if axis == "optimizer" else "") for axis in axes]
        items += [Item(str(row["seed"]), number=float(row["seed"])), Item(row["outcome"].replace("_", " "))]
        items += [_number(row[name], name, contended=row["contended"]) for name in names]
        items.append(Item(row["key"], link=row["key"]))
        rows.append(items)
    return Table("cell-table", "Every cell of the suite: one run each", columns, rows, [])


@dataclass
class Pool:
    """Values that many cells share, such as specs, kept once each."""

    values: list[Any] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def place(self, value: Any) -> int:
        """Where the value is kept."""
        text = repr(value)
        if text not in self._places:
            self._places[text] = len(self.values)
            self.values.append(value)
        return self._places[text]


def details_of(cells: pd.DataFrame, store: Store, panels: Sequence[str]) -> dict[str, Any]:
    """All cells as JSON data, thinned: {pool, axes, meaning, cells: {key: cell}}. `panels` are keys of panels.

    A cell is {axes: [place, ...], seed, outcome, parts, curve}. A part is [title, place of its content] or, where it is
    numbers by name, [title, place of the names, values]. Numbers have `DIGITS` significant digits, snapshots of single
    steps are left out, and a curve is at most `POINTS` means of equally many steps: [steps, means], or why it is none.
    """
    pool = Pool()
    found: dict[str, Any] = {}
    for row in records_of(cells):
        if row["key"] in found:
            continue
        record = store.record(row["key"])
        found[row["key"]] = {
            "axes": [pool.place(shown_data(row[axis])) for axis in _AXES],
            "seed": int(row["seed"]),
            "outcome": row["outcome"],
            "parts": [] if record is None else [_packed(*part, pool) for part in _contents(record, store, panels)],
            "curve": "" if record is None else _curve(record.key, store),
        }
    return {"pool": pool.values, "axes": list(_AXES), "meaning": _meaning(pool), "cells": found}


def _contents(record: Record, store: Store, panels: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The parts of a record by title: what it is made of first, then what came out."""
    yield "Result", dict(record.result)
    yield "Measured", {name: value for name, value in record.measured.items() if _is_number(value)}
    for name, spec in record.cell.items():
        yield ("Seed" if name == "seed" else f"Spec: {name}"), spec
    if record.plan:
        yield "Plan of the strategy", dict(record.plan)
    for panel in panels:
        looked = store.panel(record.key, panel)
        if looked is None:
            continue
        spec = looked.get("panel", {})
        kind = str(spec.get("kind", panel)).replace("_", " ")
        yield f"Panel {kind}: result", looked["result"]
        yield f"Panel {kind}: notes", looked.get("notes", {})
        yield f"Panel {kind}: spec", spec
    told = {name: value for name, value in record.optimizer.items() if name != "observed"}
    if told:
        yield "Optimizer: which rule has which parameters", told
    beside = bool(record.measured.get("contended", False))
    yield "Made with", {**provenance_of(record), "times_taken": "beside other running cells" if beside else "alone"}


def _curve(key: str, store: Store) -> list[Any] | str:
    """The training loss, thinned: [steps, means]; or why there is none, as of an archive, which keeps no curves."""
    try:
        table = store.curves(key)
    except FileNotFoundError:
        return "The record has no curve."
    except UserError as error:
        return str(shown_data(str(error)))
    losses = table["loss"].to_numpy(float)
    parts = np.array_split(losses, min(POINTS, len(losses)))
    means = [float(part.mean()) for part in parts]
    return [len(losses), [_rounded(mean) if math.isfinite(mean) else None for mean in means]]


def _is_flat(content: Any) -> bool:
    """Whether content is a mapping of names to numbers alone, of which each cell has its own."""
    return isinstance(content, Mapping) and all(map(_is_number, content.values()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _packed(title: str, content: Any, pool: Pool) -> list[Any]:
    content = _rounded(shown_data(content))
    if _is_flat(content):
        return [title, pool.place(list(content)), list(content.values())]
    return [title, pool.place(content)]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        # JSON has no infinity; a record has none either, but its texts may.
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def _meaning(pool: Pool) -> dict[str, list[str]]:
    """Unit and description of every column that occurs, by its name before a slash."""
    names = {str(name).partition("/")[0] for value in pool.values if isinstance(value, list) for name in value}
    return {name: [COLUMNS[name].unit, COLUMNS[name].doc] for name in sorted(names & set(COLUMNS))}


def _head(name: str) -> str:
    if name in _HEADS:
        return _HEADS[name]
    unit = "%" if column(name).unit == "fraction" else column(name).unit
    words = name.replace("_", " ")
    return f"{words}, {unit}" if unit and unit != words else words


def _number(value: float, name: str, *, contended: bool) -> Item:
    if math.isnan(value):
        return Item(NOTHING, rank=2)
    scaled = value * _SCALES.get(name, 1.0)
    whole = column(name).counted and float(scaled).is_integer()
    text = f"{scaled:,.0f}" if whole else figure(scaled, name) if name not in _SCALES else compact(scaled)
    beside = "~" if contended and column(name).measured else ""
    return Item(beside + text, number=float(value))
