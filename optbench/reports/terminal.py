"""The report in a terminal, or in a pipe: the answer first, then the contrasts, the standings, and what they cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from optbench.reports.escape import plain
from optbench.reports.grid import Entry, Grid
from optbench.reports.sections import Section, sections_of

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report

_GAP = 2
_SUPPORTED = "^"
"""Stands in place of the star of what is bold, where nothing can be."""
_BOLD_NOTE = "Bold: such a row, above all rows without a star"
_PLAIN_NOTE = f"{_SUPPORTED} for *: such a row, above all rows without a sign"
_NARROW_HEADER, _NARROW_NAME = 10, 14
"""Texts are broken at a space, hyphen or underscore to this many columns before a table is cut in two."""


def table(report: Report, *, width: int, color: bool) -> str:
    """The report in at most `width` columns, with ANSI codes where `color` says so, else with signs in their place."""
    # Everything is stated, so that neither the environment nor the real terminal changes a text that is piped.
    console = Console(
        file=StringIO(),
        width=width,
        height=100,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    with console.capture() as captured:
        _print(console, report)
    lines = captured.get().splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


def _print(console: Console, report: Report) -> None:
    console.print(_text(f"{report.suite}: {report.question}" if report.question else report.suite, "bold"))
    if report.missing == len(report.cells):
        console.print(_text(report.advice()))
        return
    console.print(_text(report.state(), "yellow" if report.missing else ""))
    console.print()
    console.print(_text("Answer", "bold"))
    for line in report.answer.lines:
        console.print(_hanging(_text(line)))
    if len(report.contrasts):
        console.print()
        console.print(_text("Declared contrasts", "bold"))
    resolved = report.contrasts["resolved"]
    for place, sentence in enumerate(report.sentences()):
        strong = place < len(resolved) and bool(resolved.iloc[place])
        console.print(_hanging(_text(sentence, "bold" if strong else "")))
    for section in sections_of(report):
        console.print()
        shown = section if console.color_system else _without_bold(section)
        _print_grids(console, _fitting(shown, console.width))
        _print_notes(console, shown.notes)
    if report.untuned():
        console.print()
        console.print(_text(report.untuned(), "dim"))


def _without_bold(section: Section) -> Section:
    """The section for a text that can have nothing bold: the star of what is supported becomes another sign."""

    def marked(entry: Entry) -> Entry:
        return Entry(entry.text.removesuffix("*") + _SUPPORTED) if entry.strong else entry

    def signed(grid: Grid) -> Grid:
        return Grid(grid.title, grid.header, [[marked(entry) for entry in row] for row in grid.rows], grid.names)

    notes = [note.replace(_BOLD_NOTE, _PLAIN_NOTE) for note in section.notes]
    return Section(signed(section.grid), notes, signed(section.brief))


def _fitting(section: Section, width: int) -> list[Grid]:
    """The table as it fits: with every interval, else with fewer, else in several tables."""
    tables = _cut(section.grid, width)
    return tables if len(tables) == 1 else _cut(section.brief, width)


def _cut(grid: Grid, width: int) -> list[Grid]:
    """The grid as one or more tables of at most `width` columns, the names repeated in each.

    Long headers are broken first, then long names too, and only then is the table cut.
    """
    grid = _printable(grid)
    for broken in (grid, _with_breaks(grid, names=False), _with_breaks(grid, names=True)):
        if sum(_widths(broken)) - _GAP <= width:
            return [broken]
    widths, names = _widths(broken), list(range(grid.names))
    tables, chosen = [], list(names)
    for place in range(grid.names, len(widths)):
        if len(chosen) > len(names) and sum(widths[column] for column in [*chosen, place]) - _GAP > width:
            tables.append(broken.columns(chosen))
            chosen = list(names)
        chosen.append(place)
    return [*tables, broken.columns(chosen)]


def _printable(grid: Grid) -> Grid:
    rows = [[Entry(plain(entry.text), entry.strong) for entry in row] for row in grid.rows]
    return Grid(plain(grid.title), [plain(name) for name in grid.header], rows, grid.names)


def _with_breaks(grid: Grid, *, names: bool) -> Grid:
    def cell(entry: Entry, place: int) -> Entry:
        breaks = names and place < grid.names
        return Entry(_broken(entry.text, _NARROW_NAME), entry.strong) if breaks else entry

    rows = [[cell(entry, place) for place, entry in enumerate(row)] for row in grid.rows]
    return Grid(grid.title, [_broken(name, _NARROW_HEADER) for name in grid.header], rows, grid.names)


def _widths(grid: Grid) -> list[int]:
    """The columns that each column of the table takes, the gap to the next one included."""
    texts = ([name, *(row[place].text for row in grid.rows)] for place, name in enumerate(grid.header))
    return [max(cell_len(line) for text in column for line in text.split("\n")) + _GAP for column in texts]


def _print_grids(console: Console, grids: Sequence[Grid]) -> None:
    for place, grid in enumerate(grids):
        if place:
            console.print()
        count = f" ({place + 1} of {len(grids)})" if len(grids) > 1 else ""
        _print_grid(console, Grid(grid.title + count, grid.header, grid.rows, grid.names))


def _print_grid(console: Console, grid: Grid) -> None:
    # The gap is one column of padding and one of the box.
    shown = Table(box=SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False, header_style="")
    for place, (name, width) in enumerate(zip(grid.header, _widths(grid), strict=True)):
        side: JustifyMethod = "left" if place < grid.names else "right"
        shown.add_column(Text(name), justify=side, overflow="fold", width=width - _GAP)
    for row in grid.rows:
        shown.add_row(*(Text(entry.text, "bold" if entry.strong else "") for entry in row))
    console.print(Text(grid.title, "bold"))
    console.print(shown)


def _broken(text: str, narrow: int) -> str:
    """The text in lines of at most `narrow` columns where it has spaces, hyphens or underscores to break at."""
    lines = [""]
    for piece in re.findall(r"[^-_ ]*[-_ ]?", text):
        if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > narrow:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _print_notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(_hanging(_text(note, "dim")))


def _hanging(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, 2))


def _text(text: str, style: str = "") -> Text:
    return Text(plain(text), style)
