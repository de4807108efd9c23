"""A table of texts, laid out once for the terminal, Markdown and LaTeX; and how numbers are written in it.

Texts here are plain: each format escapes them on its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optbench.metrics.columns import WORST, column
from optbench.reports.frame import records_of
from optbench.reports.standings import ANCHOR, Standings

NOTHING = "-"
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


def score_grid(table: Standings, *, intervals: bool) -> Grid:
    """The standings. `intervals` writes the half-width beside every figure that has one, else only in the first."""
    seeds = table.seeds
    fewest = int(table.n.to_numpy()[table.n.to_numpy() > 0].min()) if seeds else 0
    count = f"{seeds} seed{'s' if seeds != 1 else ''}" if fewest == seeds else f"{fewest} to {seeds} seeds"
    known = column(table.score)
    asked = f"{table.questions} " if table.questions else ""
    unit = f"% of {asked}test questions" if table.score == "accuracy" else known.unit
    best = {"higher": "higher is better", "lower": "lower is better"}[known.direction]
    title = f"{table.task}, {table.budget}: {table.score}, {unit}, {best}; {count}"
    columns = [
        [Entry(optimizer + _marks(table, row)) for row, (optimizer, _) in enumerate(table.mean.index)],
        [Entry(strategy) for _, strategy in table.mean.index],
        *(_score_column(table, name, intervals or place == 0) for place, name in enumerate(table.mean.columns)),
    ]
    rows = list(zip(*columns, strict=True))
    return Grid(title, ["optimizer", "strategy", *table.mean.columns], rows, names=2)


def cost_grid(table: Standings) -> Grid:
    """What each row of the standings cost, in the same order."""
    rows = []
    for (optimizer, strategy), cost in zip(table.costs.index, records_of(table.costs), strict=True):
        rows.append([Entry(optimizer), Entry(strategy), *(Entry(text) for text in _cost_texts(cost, table.relative))])
    unit = f" /{ANCHOR}" if table.relative else ""
    header = [f"step time{unit}", f"FLOPs{unit}", "passes", "state", "peak memory", "probe", "format error"]
    grid = Grid(
        f"{table.task}, {table.budget}: costs, and answers without a readable result",
        ["optimizer", "strategy", *header],
        rows,
        names=2,
    )
    told = [place for place in range(len(grid.header)) if any(row[place].text != NOTHING for row in rows)]
    return grid.columns(told)


def figure(value: float, metric: str) -> str:
    """A value of a column without its unit; fractions in percent."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "inf"
    return f"{100 * value:.1f}" if column(metric).unit == "fraction" else f"{value:.3f}"


def notes_of(table: Standings) -> list[str]:
    """The lines that say how to read the standings, and only what occurs in them."""
    notes = []
    if table.seeds == 1:
        notes.append(
            "One seed: no interval exists, no row is resolved from another, nothing is bold. The order is what one run "
            "of each happened to give; with several seeds in the suite, intervals appear here."
        )
    elif table.seeds > 1:
        notes.append("±: half-width of the 95% interval over seeds (Student t).")
        if table.tied.to_numpy().any():
            notes.append("*: not resolved from the best of its column: a tie, however far apart the figures look.")
            notes.append("Bold: a tie, better than every row that is resolved from the best, and resolved from one.")
        else:
            notes.append("Nothing is bold: no row is resolved from the best of its column.")
    if table.mean.isna().to_numpy().any():
        notes.append(
            f"{NOTHING}: no record yet, or out of memory. A row that lacks a model has no average and is not ranked."
        )
    if (table.cells["diverged"] > 0).any():
        worst = f"{table.score} {WORST[table.score]:g}"
        notes.append(f"†k: k cells of the row diverged (the loss became infinite or NaN); each counts as {worst}.")
    if (table.costs["shift_cosine"] < BLURRED).any():
        notes.append(f"‡ rounding blurred the perturbation (shift_cosine below {BLURRED}).")
    return notes


def cost_notes_of(table: Standings) -> list[str]:
    """The lines that say how to read the costs."""
    notes = ["passes: forward + backward of a batch. state: kept by the optimizer. Means over models."]
    if table.relative:
        notes.append(f"/{ANCHOR}: divided by {ANCHOR} of the same model and strategy (geometric mean over models).")
    if len(table.devices) > 1:
        notes.append(f"~ taken on different devices ({', '.join(table.devices)}): shown, never ranked.")
    elif table.costs["contended"].any():
        notes.append("~ taken beside other running cells: shown, never ranked; --workers 1 measures alone.")
    return notes


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


def _cost_texts(cost: Mapping[str, Any], relative: bool) -> list[str]:
    beside = "~" if cost["contended"] else ""
    time = f"{cost['step_seconds']:.2f}" if relative else f"{1000 * cost['step_seconds']:.3g} ms"
    flops = f"{cost['flops']:.2f}" if relative else f"{cost['flops']:.3g}"
    texts = {
        "step_seconds": beside + time,
        "flops": flops,
        "passes": f"{cost['passes']:,.0f}",
        "state_bytes": _bytes(cost["state_bytes"]),
        "peak_bytes": beside + _bytes(cost["peak_bytes"]),
        "probe_share": f"{100 * cost['probe_share']:.1f}%",
        "format_error": f"{100 * cost['format_error']:.1f}%",
    }
    return [NOTHING if math.isnan(cost[name]) else text for name, text in texts.items()]


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
