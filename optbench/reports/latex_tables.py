r"""A table as LaTeX for a paper: as wide as its text at most, in one column or two, with booktabs and graphicx alone.

What does not fit is broken: long titles of columns first, then long names, then the table itself into several. The rest
is left to \resizebox, which makes a table smaller where it is wider than the line and leaves it alone elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from optbench.reports.escape import latex
from optbench.reports.grid import Entry, Grid
from optbench.reports.latex_cells import Cell, cells_of, is_number
from optbench.reports.latex_header import Heading, broken, header_lines, headings_of

COLUMN, LINE, SMALLER = 52, 96, 102
r"""How many digits of \footnotesize go into a column of a paper with two; how many may go into a line before names are
broken; and before the table is. `article` has the shortest line, 345 points or about 81 digits: what is wider is made
smaller, by a sixth or a fifth at most."""
GAP = 1.9
"""What separates two columns, in digits."""
LINES = 44
"""Lines of a table on one page, below its header."""
TITLE, NARROW_TITLE, NAME = 10, 7, 16
"""Titles of columns are broken to so many letters, names to so many."""
_SYMBOLS = frozenset(("●", "○", "·", "-", ""))


@dataclass(frozen=True)
class _Column:
    """A column: its title, its side (l, r or c), whether it holds names, and for each row the lines of its cell."""

    title: str
    side: str
    is_name: bool
    cells: Sequence[Sequence[Cell]]

    @property
    def width(self) -> int:
        return max((cell.width for lines in self.cells for cell in lines), default=0)


def table_lines(grid: Grid, notes: Sequence[str], label: str) -> list[str]:
    r"""The table, or several where one does not fit, each a float of its own with the notes below.

    `label` is what \ref takes; of several tables the second and later ones get -2, -3 and so on. Names that all rows
    share stand in the caption instead.
    """
    grid, said = _without_repeats(grid)
    parts, room = _parts(grid)
    pieces = [(part, rows) for part in parts for rows in _pages(part)]
    lines: list[str] = []
    for place, (part, rows) in enumerate(pieces):
        count = f" ({place + 1} of {len(pieces)})" if len(pieces) > 1 else ""
        caption = prose(f"{grid.title}{count}.{said}")
        own = f"{label}-{place + 1}" if place else label
        lines += ["", *_float(part, rows, room, rf"\caption{{{caption}}}\label{{{own}}}", notes)]
    return lines[1:]


def prose(text: str) -> str:
    """Text for a paragraph, in which long names may be broken: after an underscore or a slash, else where they must."""
    text = re.sub(r"(?<=[A-Za-z0-9])(\\_|/)(?=[A-Za-z0-9])", r"\1\\allowbreak{}", latex(text))
    text = re.sub(r"(?<=\S)(?=\\textless)", r"\\allowbreak{}", text)
    text = re.sub(r"[A-Za-z0-9]{26,}", lambda run: r"\allowbreak{}".join(re.findall(".{1,10}", run.group())), text)
    # What is one figure stays in one line.
    text = re.sub(r"(?<=\d) \$\\pm\$(?=\d)", r"\\,$\\pm$\\,", text)
    return re.sub(r"\b([np]) (=|\\textless\{\}) (?=\d)", r"\1~\2~", text)


def tabular_lines(sides: str, header: Sequence[str], rows: Sequence[str]) -> list[str]:
    """A tabular with its rules, made smaller where it is wider than the line."""
    return [
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{@{{}}{sides}@{{}}}}",
        r"  \toprule",
        *(f"  {line}" for line in header),
        r"  \midrule",
        *(f"  {line}" for line in rows),
        r"  \bottomrule",
        r"\end{tabular}}",
    ]


def float_lines(kind: str, caption: str, tabular: Sequence[str], notes: Sequence[str]) -> list[str]:
    r"""A float around a tabular; `caption` holds \caption and \label. The notes are one paragraph below."""
    lines = [
        rf"\begin{{{kind}}}[htbp]",
        r"  \centering\emergencystretch=6em",
        f"  {caption}",
        r"  \par\smallskip\footnotesize\setlength{\tabcolsep}{4pt}",
        *(f"  {line}" for line in tabular),
    ]
    if notes:
        lines += [r"  \par\smallskip", r"  \parbox{\linewidth}{\emergencystretch=6em"]
        lines += [*(f"    {prose(note)}" for note in notes[:-1]), f"    {prose(notes[-1])}}}"]
    return [*lines, rf"\end{{{kind}}}"]


def _float(part: Sequence[_Column], rows: range, room: int, caption: str, notes: Sequence[str]) -> list[str]:
    header = header_lines(_headings(part, room), [column.width for column in part])
    body = [line for row in rows for line in _row(part, row)]
    kind = "table" if _width(part, room) <= COLUMN else "table*"
    return float_lines(kind, caption, tabular_lines("".join(each.side for each in part), header, body), notes)


def _row(part: Sequence[_Column], row: int) -> Iterator[str]:
    """The lines of a row: a name that was broken goes on below, a little to the right."""
    height = max(len(column.cells[row]) for column in part)
    for line in range(height):
        texts = []
        for column in part:
            lines = column.cells[row]
            texts.append(r"\quad " * bool(line) + lines[line].text if line < len(lines) else "")
        yield rf"{' & '.join(texts).rstrip()} \\"


def _without_repeats(grid: Grid) -> tuple[Grid, str]:
    """The grid without names that all rows share, and sentences that say them."""
    chosen, said = [], ""
    for place, title in enumerate(grid.header):
        names = {" ".join(row[place].text.split()) for row in grid.rows} - {""}
        if 0 < place < grid.names and len(names) == 1 and len(grid.rows) > 1:
            said += f" {title[:1].upper()}{title[1:]}: {names.pop()}."
        else:
            chosen.append(place)
    return replace(grid.columns(chosen), names=sum(place < grid.names for place in chosen)), said


def _parts(grid: Grid) -> tuple[list[list[_Column]], int]:
    """The columns of one table or of several, and the room (letters) that titles are broken to."""
    whole = max(map(len, grid.header))
    for room, name, line in ((whole, 0, COLUMN), (TITLE, 0, LINE), (TITLE, NAME, LINE), (NARROW_TITLE, NAME, SMALLER)):
        columns = _columns(grid, name)
        if _width(columns, room) <= line:
            return [columns], room
    # Of as many tables, those with whole names.
    choices = [_split(_columns(grid, name), grid.names, line) for name, line in ((0, LINE), (NAME, LINE))]
    return min(choices, key=len), TITLE


def _split(columns: Sequence[_Column], names: int, line: float) -> list[list[_Column]]:
    """The columns in as few tables as fit the line, of nearly as many columns each; the names stand in all of them."""
    first, parts = list(columns[:names]), [list(columns[:names])]
    for number in columns[names:]:
        if len(parts[-1]) > names and _width([*parts[-1], number], TITLE) > line:
            parts.append(list(first))
        parts[-1].append(number)
    ends = _dealt(range(names, len(columns)), len(parts))
    even = [[*first, *columns[start:end]] for start, end in ends]
    return even if all(_width(part, TITLE) <= line for part in even) else parts


def _columns(grid: Grid, narrow: int) -> list[_Column]:
    """The columns as LaTeX; names in lines of at most `narrow` letters, as they are where it is 0."""
    columns = []
    for place, title in enumerate(grid.header):
        entries = [row[place] for row in grid.rows]
        if place < grid.names:
            columns.append(_Column(title, "l", True, [_name(entry, narrow) for entry in entries]))
            continue
        texts = [" ".join(entry.text.split()) for entry in entries]
        wordy = any(" " in text and not is_number(text) for text in texts)
        side = "c" if _SYMBOLS.issuperset(texts) else "l" if wordy else "r"
        columns.append(_Column(title, side, False, [[cell] for cell in cells_of(entries)]))
    return columns


def _name(entry: Entry, narrow: int) -> list[Cell]:
    text = " ".join(entry.text.split())
    lines = broken(text, narrow) if narrow else [text]
    return [Cell(rf"\textbf{{{latex(line)}}}" if entry.strong else latex(line), len(line)) for line in lines]


def _headings(part: Sequence[_Column], room: int) -> list[Heading]:
    names = sum(column.is_name for column in part)
    return headings_of([column.title for column in part], [column.width for column in part], room, names=names)


def _width(part: Sequence[_Column], room: int) -> float:
    headings = _headings(part, room)
    widths = [max(column.width, heading.width) for column, heading in zip(part, headings, strict=True)]
    return sum(widths) + GAP * (len(widths) - 1)


def _dealt(places: range, count: int) -> list[tuple[int, int]]:
    """The places in `count` runs of nearly the same length: the first place of each and the one behind its last."""
    ends = [places.start + len(places) * each // count for each in range(count + 1)]
    return list(pairwise(ends))


def _pages(part: Sequence[_Column]) -> list[range]:
    """The rows of one table or of several, for what is longer than a page is cut off by LaTeX."""
    heights = [max(len(column.cells[row]) for column in part) for row in range(len(part[0].cells))]
    count = max(1, -(-sum(heights) // LINES))
    return [range(first, last) for first, last in _dealt(range(len(heights)), count)]
