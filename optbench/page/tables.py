"""Tables as the template shows them: each cell a text, with the number that it is sorted by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from optbench.reports.figures import NOTHING
from optbench.reports.front_grid import BEATEN, OFF, ON, RESOLVED
from optbench.reports.grid import Entry, Grid

Kind = Literal["name", "number"]

_NUMBER = re.compile(r"~?([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)\s*(GB|MB|kB|B)?", flags=re.IGNORECASE)
_SIZES = {"gb": 1e9, "mb": 1e6, "kb": 1e3}
_PLACES = {RESOLVED: 3.0, ON: 2.0, OFF: 1.0, BEATEN: 0.0}
"""How the places on a Pareto front sort."""
_MARKS = re.compile(r"^(?P<value>[^±*]*)(?P<width>±[^*]*)?(?P<star>\**)$")


@dataclass(frozen=True)
class Column:
    """A heading. `axis` names the axis of the matrix that the column holds, or is empty; `model`: the column is of this
    model alone, so that a filter by model can show it or not."""

    title: str
    kind: Kind
    axis: str = ""
    model: str = ""


@dataclass(frozen=True)
class Item:
    """One cell of a table: the value, its half-width and star apart, as they are set apart.

    `number` is what it sorts by; None for a text. `rank` comes first, whichever way a column is sorted: 0 numbers,
    1 what diverged, 2 what is missing. `color` is a class of the style sheet, `link` the key of a cell.
    """

    value: str
    width: str = ""
    star: str = ""
    number: float | None = None
    rank: int = 0
    strong: bool = False
    color: str = ""
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its title and notes; `name` is its id in the page."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Item]]
    notes: Sequence[str]

    @property
    def starred(self) -> list[bool]:
        """For each column whether any of its figures has a star, so that the others leave its place free."""
        return [any(row[place].star for row in self.rows) for place in range(len(self.columns))]


def table_of(name: str, grid: Grid, notes: Sequence[str], *, models: Sequence[str], colors: Mapping[str, str]) -> Table:
    """A grid of a report. `models` are the models of the suite, `colors` the style classes of its optimizers."""
    columns = [_column(title, place, grid.names, models) for place, title in enumerate(grid.header)]
    rows = [
        [item_of(entry, column.kind, colors if column.axis == "optimizer" else {}) for entry, column in pairs]
        for pairs in (zip(row, columns, strict=True) for row in grid.rows)
    ]
    return Table(name, grid.title, columns, rows, notes)


def item_of(entry: Entry, kind: Kind, colors: Mapping[str, str]) -> Item:
    """An entry with the number that it shows."""
    text = " ".join(entry.text.split())
    if kind == "name":
        # The marks of a row stand behind the name of its optimizer.
        color = max((name for name in colors if text == name or text.startswith(f"{name} ")), key=len, default="")
        return Item(text, strong=entry.strong, color=colors.get(color, ""))
    number = number_of(text)
    rank = 0 if number is not None else 2 if text == NOTHING else 1
    parts = _MARKS.match(text)
    if parts is None or number is None:
        return Item(text, number=number, rank=rank, strong=entry.strong)
    value, width, star = (part or "" for part in parts.group("value", "width", "star"))
    return Item(value.rstrip(), width.rstrip(), star, number, rank, entry.strong)


def number_of(text: str) -> float | None:
    """The number that a text of a table begins with, sizes in bytes; None where it begins with none.

    `27.7 ±3.0*` is 27.7, `~1.23` is 1.23, `430 kB` is 430,000, `diverged` is none; a place on a Pareto front is the
    larger the better.
    """
    if text in _PLACES:
        return _PLACES[text]
    found = _NUMBER.match(text)
    if found is None:
        return None
    return float(found.group(1).replace(",", "")) * _SIZES.get((found.group(2) or "").lower(), 1.0)


def _column(title: str, place: int, names: int, models: Sequence[str]) -> Column:
    if place < names:
        return Column(title, "name", axis=title if title in ("optimizer", "strategy") else "")
    return Column(title, "number", model=title if title in models else "")
