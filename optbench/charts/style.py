"""How every figure looks: type, sizes, the text that comes from data, and what stands around the axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from optbench.charts.palette import color_of, fills_of, marker_of, size_of
from optbench.reports.escape import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

FONT = "DejaVu Sans"
"""Shipped with matplotlib: the same letters on every machine."""
INK, PALE = "#333333", "#999999"
LONGEST = 44
"""Letters of a name that are shown; what is longer keeps its beginning and its end, where sweeps differ."""
_NOTE_SIZE, _TITLE_SIZE = 8.0, 11.0
# Inches: lines of notes, legend and title, the title of axes, the margin, and at the right room for half a number.
_NOTE_LINE, _LEGEND_LINE, _TITLE_LINE, _AXES_TITLE, _EDGE, _RIGHT = 0.15, 0.175, 0.2, 0.24, 0.08, 0.22

_RC: dict[str, Any] = {
    "font.family": FONT,
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "legend.title_fontsize": 8.0,
    "figure.titlesize": _TITLE_SIZE,
    "figure.titleweight": "bold",
    "figure.dpi": 100.0,
    "savefig.dpi": 150.0,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlelocation": "left",
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    # Ids inside an SVG are hashes of this and of what they name: drawn again, a figure is the same file.
    "svg.hashsalt": "optbench",
    "svg.fonttype": "path",
    "path.simplify": True,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Settings of matplotlib for what is drawn and saved inside: its own defaults and ours, whatever the user's are.

    They are as they were afterwards.
    """
    import seaborn
    from matplotlib import style

    theme = {**seaborn.axes_style("ticks"), **_RC}
    with style.context(["default", theme]):
        yield


def label(text: str, longest: int = LONGEST) -> str:
    """A name from a file as a figure shows it: one line, shortened in the middle, never read as mathematics, with a box
    for each letter that the font lacks."""
    return _shortened(_drawable(text), longest).replace("$", r"\$")


def fitted(text: str, inches: float, points: float = 9.0) -> str:
    """The same, shortened until it takes no more than so many inches in a line of type of so many points."""
    whole = _drawable(text)
    for longest in range(min(len(whole), LONGEST), 3, -1):
        if width_of(_shortened(whole, longest), points) <= inches:
            return label(text, longest)
    return label(text, 3)


def width_of(text: str, points: float, *, bold: bool = False) -> float:
    """How many inches a line of type of so many points takes."""
    from matplotlib import font_manager

    font = font_manager.get_font(
        font_manager.findfont(font_manager.FontProperties(family=FONT, weight="bold" if bold else "normal"))
    )
    font.set_size(points, 72)
    font.set_text(text.replace(r"\$", "$"), 0.0)
    return float(font.get_width_height()[0]) / 64 / 72


def _drawable(text: str) -> str:
    return "".join(letter if ord(letter) in _letters() else "\u25a1" for letter in plain(text)).strip()


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    head = (longest - 1) // 3
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (longest - 1 - head) :]}"


def _lines(text: str, inches: float, points: float, *, bold: bool = False) -> list[str]:
    """The text in lines of at most so many inches, cut between words."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(longer, points, bold=bold) <= inches:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


@cache
def _letters() -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont(FONT)).get_charmap())


@dataclass(frozen=True)
class Frame:
    """What stands around the axes: a title, below them a legend (groups of entries, each of which begins in a new row)
    and notes. What they say of data is escaped by who wrote it. Lengths are in inches: room at the left of each row,
    between columns, and below each row and the last one."""

    title: str
    notes: Sequence[str] = ()
    entries: Sequence[Sequence[Line2D]] = ()
    left: float = 0.72
    between: float = 0.12
    below: float = 0.1
    foot: float = 0.5


def grid_of_axes(
    rows: int, columns: int, *, size: tuple[float, float], frame: Frame, **share: Any
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of `rows` x `columns` axes of `size` inches each, with what the frame puts around them.

    `share` goes to matplotlib (sharex, sharey). Places are computed here, once: matplotlib's own layout takes longer
    than all the drawing, and again for every format.
    """
    from matplotlib.figure import Figure

    inner = columns * size[0] + (columns - 1) * frame.between
    width = max(frame.left + inner + _RIGHT, 6.4)
    title = _lines(frame.title, width - 2 * _EDGE, _TITLE_SIZE, bold=True)
    notes = [line for note in frame.notes for line in _lines(note, width - 2 * _EDGE, _NOTE_SIZE)]
    handles, across = _in_rows(frame.entries, width)
    notes_high = len(notes) * _NOTE_LINE + 2 * _EDGE * bool(notes)
    legend_high = (len(handles) // across) * _LEGEND_LINE + _EDGE * bool(handles)
    head = len(title) * _TITLE_LINE + 2 * _EDGE
    body = rows * (size[1] + _AXES_TITLE) + (rows - 1) * frame.below + frame.foot
    height = head + body + legend_high + notes_high
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": frame.left / width,
            # A single narrow chart takes the width that its title needs.
            "right": 1 - _RIGHT / width if columns * size[0] > 3 else (frame.left + inner) / width,
            "top": 1 - (head + _AXES_TITLE) / height,
            "bottom": (frame.foot + legend_high + notes_high) / height,
            "wspace": frame.between / size[0],
            "hspace": (frame.below + _AXES_TITLE) / size[1],
        },
        **share,
    )
    figure.suptitle("\n".join(title), x=_EDGE / width, y=1 - _EDGE / height, ha="left", va="top")
    figure.text(_EDGE / width, _EDGE / height, "\n".join(notes), fontsize=_NOTE_SIZE, va="bottom", linespacing=1.25)
    if handles:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (_EDGE / width, notes_high / height)}
        room: dict[str, Any] = {"borderaxespad": 0.0, "borderpad": 0.0, "handlelength": 1.8, "columnspacing": 1.4}
        figure.legend(handles=handles, ncols=across, frameon=False, **place, **room)
    return figure, [list(row) for row in axes]


def facets(models: Sequence[str], strategies: Sequence[str], frame: Frame) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a row of axes per strategy and a column per model, on common scales."""
    width = min(max(10.0 / len(models), 1.8), 4.5)
    size = (width, min(0.75 * width, 2.4))
    figure, axes = grid_of_axes(len(strategies), len(models), size=size, frame=frame, sharex=True, sharey=True)
    for row, strategy in zip(axes, strategies, strict=True):
        for ax, model in zip(row, models, strict=True):
            second = fitted(strategy, 0.55 * width)
            ax.set_title(f"{fitted(model, 0.9 * width - width_of(second, 9.0))}, {second}")
            ax.grid(True)
    return figure, axes


def _in_rows(entries: Sequence[Sequence[Line2D]], width: float) -> tuple[list[Line2D], int]:
    """The handles of a legend in matplotlib's order, which is down the columns, and how many columns there are."""
    from matplotlib.lines import Line2D

    groups = [list(group) for group in entries if group]
    if not groups:
        return [], 1
    widest = max(width_of(str(handle.get_label()), 8.0) for group in groups for handle in group)
    columns = max(1, min(max(map(len, groups)), int(width / (0.5 + widest))))
    cells: list[Line2D] = []
    for group in groups:
        blanks = [Line2D([], [], linestyle="none", label=" ") for _ in range(-len(group) % columns)]
        cells += [*group, *blanks]
    return [cells[place] for column in range(columns) for place in range(column, len(cells), columns)], columns


def optimizer_entries(optimizers: Sequence[str], *, lines: bool) -> list[Line2D]:
    """Entries of a legend: colour and marker of each optimizer, on a line or alone."""
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [],
            [],
            color=color_of(name),
            marker=marker_of(name),
            markersize=size_of(name, 6.0),
            linestyle="-" if lines else "none",
            label=label(name),
        )
        for name in optimizers
    ]


def strategy_entries(strategies: Sequence[str]) -> list[Line2D]:
    """Entries of a legend: the filling of the markers of each strategy."""
    from matplotlib.lines import Line2D

    fills = fills_of(strategies)
    look: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 6, "color": INK}
    look["markerfacecoloralt"] = "white"
    return [Line2D([], [], fillstyle=fills[name], label=label(name), **look) for name in strategies]


def plain_ticks(axis: Any) -> None:
    """Numbers rather than powers of ten, on a linear or logarithmic axis; on the latter two or three to a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if axis.get_scale() == "log":
        low, high = sorted(axis.get_view_interval())
        wide = low <= 0 or high / low > 30
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if wide else (1.0, 2.0, 3.0, 5.0)))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def tick(value: float) -> str:
    """A number at an axis: no digits that say nothing, and thousands apart."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.6g}".replace("e-0", "e-").replace("e+0", "e")


def plural(count: int, word: str) -> str:
    """`1 seed`, `12 seeds`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def seeds_in_words(fewest: int, most: int) -> str:
    """`one seed`, `12 seeds` or `3 to 12 seeds`."""
    if most == 1:
        return "one seed"
    return f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"


def capital(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def spoken(score: str) -> str:
    """The name of a column as titles and axes have it: `test loss` for `test_loss`."""
    return label(score.replace("_", " "))
