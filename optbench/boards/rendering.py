"""A comparison as a table for a terminal, as Markdown, as JSON and as CSV. Texts of files are escaped where shown."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Literal

from optbench.boards.comparison import Comparison, Line
from optbench.boards.data import csv_text, json_text
from optbench.boards.sentences import notes_of, sentences_of
from optbench.boards.theirs import Theirs
from optbench.boards.words import (
    decimals_of,
    our_gain,
    our_percent,
    our_value,
    their_gain,
    their_percent,
    their_value,
    unit_of,
)
from optbench.commands.tables import table
from optbench.reports.escape import markdown, plain

Format = Literal["table", "markdown", "json", "csv"]

_THEIRS = 5
"""The column of the table where their side begins."""


def rendered(found: Comparison, format: Format, *, width: int) -> str:
    """The comparison as text, ending in a newline; `width` (columns) matters to the format `table` alone."""
    match format:
        case "table":
            return table_text(found, width=width)
        case "markdown":
            return markdown_text(found)
        case "json":
            return json_text(found)
        case "csv":
            return csv_text(found)


def table_text(found: Comparison, *, width: int) -> str:
    """Sentences, the table, notes; a table that is too wide comes in two, ours and theirs."""
    lines = [wrapped(text, width) for text in sentences_of(found)]
    header, rows = _grid(found)
    if rows:
        for part in fitting(header, rows, width, second=_THEIRS):
            lines += ["", part]
    notes = notes_of(found)
    if notes:
        lines.append("")
    lines += [wrapped(note, width, indent="  ") for note in [*notes, *_source(found.theirs)]]
    return "\n".join(lines) + "\n"


def markdown_text(found: Comparison) -> str:
    """A heading, the sentences as a list, a pipe table and notes."""
    lines = [f"## {markdown(found.suite)} beside {markdown(found.theirs.board.fields.title)}", ""]
    lines += [f"- {markdown(text)}" for text in sentences_of(found)]
    header, rows = _grid(found)
    if rows:
        lines += ["", *pipes(header, rows)]
    lines += ["", *(f"- {markdown(note)}" for note in [*notes_of(found), *_source(found.theirs)])]
    return "\n".join(lines) + "\n"


def pipes(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a pipe table in Markdown."""
    rule = ["---"] * len(header)
    texts = [[markdown(text) for text in row] for row in (header, *rows)]
    return [f"| {' | '.join(row)} |" for row in (texts[0], rule, *texts[1:])]


def wrapped(text: str, width: int, indent: str = "") -> str:
    """Plain text in at most `width` columns, its further lines set in by two."""
    return textwrap.fill(
        plain(text),
        width=max(width, 40),
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def fitting(header: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, second: int = 0) -> list[str]:
    """The table in one part or in several of at most `width` columns, each with the first column.

    Where one part is not enough, a new one begins at the column `second`, if one is given.
    """
    shown = [[plain(text) for text in row] for row in rows]
    if _width(whole := _cut(header, shown, range(len(header)))) <= width:
        return [whole]
    parts: list[list[int]] = [[0]]
    for place in range(1, len(header)):
        full = len(parts[-1]) > 1 and _width(_cut(header, shown, [*parts[-1], place])) > width
        if full or place == second:
            parts.append([0])
        parts[-1].append(place)
    return [_cut(header, shown, part) for part in parts]


def _width(text: str) -> int:
    return max(map(len, text.split("\n")))


def _cut(header: Sequence[str], rows: Sequence[Sequence[str]], places: Sequence[int]) -> str:
    return table([header[place] for place in places], [[row[place] for place in places] for row in rows])


def _grid(found: Comparison) -> tuple[list[str], list[list[str]]]:
    ours, theirs = found.ours, found.theirs
    unit = unit_of(ours.metric)
    here = f"{ours.metric}{' %' if unit == 'points' else f' ({unit})' if unit else ''}"
    there = f"{theirs.setting.name}{f' ({theirs.setting.unit})' if theirs.setting.unit else ''}"
    header = ["optimizer", f"here: {here}", f"gain{f' ({unit})' if unit else ''} [95%]", "gain %"]
    header += ["resolved", f"there: {there}", "gain", "gain %", "resolved", "sign"]
    decimals = decimals_of(line.theirs.figure.value for line in found.lines)
    return header, [_row(line, found, decimals) for line in found.lines]


def _row(line: Line, found: Comparison, decimals: int) -> list[str]:
    gain, other = line.ours.gain, line.theirs.gain
    return [
        line.name,
        our_value(line.ours, found.ours.metric),
        our_gain(gain, found.ours.metric),
        our_percent(gain),
        _yes(None if gain is None or math.isnan(gain.absolute) else gain.resolved),
        their_value(line.theirs.figure, decimals),
        their_gain(other, found.theirs),
        their_percent(other),
        "-" if other is None else _yes(other.resolved, unknown="unknown"),
        line.verdict,
    ]


def _yes(known: bool | None, *, unknown: str = "-") -> str:
    return unknown if known is None else "yes" if known else "no"


def _source(theirs: Theirs) -> list[str]:
    return [f"Source: {source_text(theirs)}"]


def source_text(theirs: Theirs) -> str:
    """Paper, repository, and what in it."""
    source = theirs.board.fields.source
    parts = [source.paper, source.repository, source.where, f"through {source.through}" if source.through else None]
    return "; ".join(part for part in parts if part) + "."
