"""A table of texts, laid out once for the terminal, Markdown and LaTeX; and how numbers are written in it.

Texts here are plain: each format escapes them on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optbench.metrics.columns import column
from optbench.reports.answer_text import listed
from optbench.reports.compute import EQUAL
from optbench.reports.figures import NOTHING, figure
from optbench.reports.standings import ALL_MODELS, Standings, worst_of

BLURRED = 0.9
"""Below this cosine, rounding has made the perturbation another one."""


@dataclass(frozen=True)
class Entry:
    """One text of a table. `strong`: the claim is supported, so it may be set in bold."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Grid:
    """A table. The first `names` columns hold names and are set left, the others hold numbers and are set right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    names: int

    def columns(self, chosen: Sequence[int]) -> Grid:
        """The same table with the chosen columns alone."""
        rows = [[row[place] for place in chosen] for row in self.rows]
        return Grid(self.title, [self.header[place] for place in chosen], rows, self.names)


def place_of(table: Standings) -> str:
    """Task and budget of a table as titles call them."""
    return f"{table.task}, {EQUAL[table.unit]} ({table.budget})"


def score_grid(table: Standings, *, intervals: bool) -> Grid:
    """The standings. `intervals` writes the half-width beside every figure that has one, else only in the first."""
    seeds = table.seeds
    fewest = int(table.n.to_numpy()[table.n.to_numpy() > 0].min()) if seeds else 0
    count = f"{seeds} seed{'s' if seeds != 1 else ''}" if fewest == seeds else f"{fewest} to {seeds} seeds"
    known = column(table.score)
    asked = f"{table.questions} " if table.questions else ""
    unit = f"% of {asked}test questions" if table.score == "accuracy" else known.unit
    best = "" if known.direction == "neither" else f"{known.direction} is better"
    title = f"{place_of(table)}: {', '.join(word for word in (table.score, unit, best) if word)}; {count}"
    columns = [
        [Entry(optimizer + _marks(table, row)) for row, (optimizer, _) in enumerate(table.mean.index)],
        [Entry(strategy) for _, strategy in table.mean.index],
        *(_score_column(table, name, intervals or place == 0) for place, name in enumerate(table.mean.columns)),
    ]
    rows = list(zip(*columns, strict=True))
    return Grid(title, ["optimizer", "strategy", *table.mean.columns], rows, names=2)


def notes_of(table: Standings) -> list[str]:
    """The lines that say how to read the standings, and only what occurs in them."""
    notes = []
    if table.seeds == 1:
        notes.append(
            "One seed: no interval exists, no row is resolved from another, nothing is bold. The order is what one run "
            "of each happened to give; with several seeds in the suite, intervals appear here."
        )
    elif table.seeds > 1:
        alike = table.alike.to_numpy(bool)
        if np.isfinite(table.half_width.to_numpy()).any() or not alike.any():
            notes.append(f"±: half-width of the 95% interval over seeds{table.inference.aside}.")
        if alike.any():
            notes.append(_alike_note(table))
        if table.tied.to_numpy().any():
            notes.append("*: the best of its column, and every row not resolved from it, however far apart they look.")
            if table.supported.to_numpy().any():
                notes.append("Bold: such a row, above all rows without a star and itself resolved from one of them.")
        else:
            notes.append("Nothing is bold: no row is resolved from the best of its column.")
    if table.mean.isna().to_numpy().any():
        notes.append(
            f"{NOTHING}: no record yet, or out of memory. A row that lacks a model has no average and is not ranked."
        )
    if (table.cells["diverged"] > 0).any():
        worst = f"{table.score} {worst_of(table.score):g}"
        notes.append(f"†k: k cells of the row diverged (the loss became infinite or NaN); each counts as {worst}.")
    if (table.costs["shift_cosine"] < BLURRED).any():
        notes.append(f"‡ rounding blurred the perturbation (shift_cosine below {BLURRED}).")
    return notes


def _alike_note(table: Standings) -> str:
    """Which figures have no half-width although they have several seeds."""
    alike, several = table.alike, len(table.mean.columns) > 1
    found = []
    for row, (optimizer, strategy) in enumerate(table.mean.index):
        for name in table.mean.columns[alike.iloc[row].to_numpy(bool)]:
            where = "" if not several else f" over {name}" if name == ALL_MODELS else f" at {name}"
            found.append(f"{optimizer} {strategy}{where} ({table.n[name].iloc[row]} seeds)")
    return f"No ± where all seeds scored the same, for their spread says nothing: {listed(found)}."


def _score_column(table: Standings, name: str, interval: bool) -> list[Entry]:
    """Value, half-width and star, padded so that each stands below its like."""
    values = [
        "diverged" if diverged else figure(value, table.score)
        for value, diverged in zip(table.mean[name], table.diverged[name], strict=True)
    ]
    known = interval & np.isfinite(table.half_width[name]) & ~table.diverged[name]
    widths = [
        f" ±{figure(width, table.score)}" * shown for width, shown in zip(table.half_width[name], known, strict=True)
    ]
    stars = ["*" * star for star in (table.tied[name] & ~table.diverged[name]).tolist()]
    texts = zip(values, _padded(widths), _padded(stars), strict=True)
    return [Entry("".join(parts), strong) for parts, strong in zip(texts, table.supported[name].tolist(), strict=True)]


def _padded(texts: list[str]) -> list[str]:
    longest = max(map(len, texts), default=0)
    return [text.ljust(longest) for text in texts]


def _marks(table: Standings, row: int) -> str:
    diverged = int(table.cells["diverged"].iloc[row])
    blurred = table.costs["shift_cosine"].iloc[row] < BLURRED
    return (f" †{diverged}" if diverged else "") + (" ‡" if blurred else "")
