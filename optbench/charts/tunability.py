"""Tunability: how good the best of k trials is on average, per optimizer; what tuning buys, and how soon."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optbench.charts.left_out import LeftOut
from optbench.charts.palette import color_of, marker_of, size_of
from optbench.charts.points import arms_at
from optbench.charts.scatter import scale_of, score_label
from optbench.charts.style import (
    INK,
    Frame,
    capital,
    fitted,
    grid_of_axes,
    label,
    plain_ticks,
    seeds_in_words,
    spoken,
    width_of,
)
from optbench.metrics.columns import worst
from optbench.reports.grid import place_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from optbench.reports.leaderboard import Report
    from optbench.reports.standings import Standings
    from optbench.reports.tuning import Search

ACROSS = 3
"""Charts in a row at most."""
_HEIGHT, _NAME = 2.6, 8.0
_APART = 0.13
"""Inches between two names at the ends of lines."""
_MARK = 0.22
"""Inches that the marker before a name takes."""
WIDE = 1.5
"""Losses that differ by more than this factor are shown on a logarithmic axis."""


@dataclass(frozen=True)
class Tunability:
    """The studies of a table by what they are about: those of one chart were scored on the same arms. `left_out` are
    optimizers of the table that have no line in any chart."""

    title: str
    score: str
    groups: Mapping[str, Sequence[Search]]
    seeds: int
    left_out: Sequence[str] = ()


def data_of(report: Report, table: Standings) -> Tunability:
    """The studies of the arms of a table. Raises LeftOut where there are none, or none with a curve."""
    if report.tuning is None:
        raise LeftOut("no trials are recorded; `optbench tune` runs them")
    arms = arms_at(report, table)
    groups: dict[str, list[Search]] = {}
    for search in report.tuning.searches:
        if set(arms["name"]) & set(search.arms) and search.after is not None and any(map(_is_known, search.expected)):
            groups.setdefault(search.place, []).append(search)
    if not groups:
        raise LeftOut("no study of these arms has a quasi-random trial with a score")
    drawn = {search.optimizer for searches in groups.values() for search in searches}
    absent = [name for name in dict.fromkeys(arms["optimizer"]) if name not in drawn]
    title = f"Tunability: {label(place_of(table), 60)}"
    return Tunability(title, report.tuning.score, groups, len(report.tuning.seeds), absent)


def draw(data: Tunability) -> Figure:
    """One chart for each group of arms that was tuned together; a line per optimizer, named at its end."""
    rows = -(-len(data.groups) // ACROSS)
    columns = -(-len(data.groups) // rows)
    width = min(max(10.0 / columns, 2.6), 5.2)
    frame = Frame(data.title, notes_of(data), [_kinds()], left=0.8, between=0.62, below=0.5)
    figure, axes = grid_of_axes(rows, columns, size=(width, _HEIGHT), frame=frame)
    places = [ax for row in axes for ax in row]
    for ax, (name, searches) in zip(places, data.groups.items(), strict=False):
        ax.set_title(fitted(name or "all arms", 0.9 * width))
        ax.grid(True)
        _chart(ax, searches, data.score, width)
    for ax in places[len(data.groups) :]:
        ax.set_axis_off()
    for row in axes:
        row[0].set_ylabel(score_label(data.score).replace(", ", "\n"))
    for ax in places[: len(data.groups)]:
        ax.set_xlabel("trials")
    return figure


def notes_of(data: Tunability) -> list[str]:
    """What the figure must say of itself."""
    seeds = seeds_in_words(data.seeds, data.seeds)
    absent = f"Without a line, for no trial of theirs can be shown: {', '.join(map(label, data.left_out))}."
    return [
        f"{capital(spoken(data.score))} on the validation split, {seeds}. Lines: mean best of k quasi-random trials, "
        "over all choices of k; a line begins where k trials cannot all have failed. At 0: the suite's own values. "
        "Steps: the best so far in the order in which trials were run, those chosen by earlier ones included. The best "
        "of many looks better than it is: compare optimizers in the standings, not here.",
        *([absent] if data.left_out else []),
    ]


def _chart(ax: Axes, searches: Sequence[Search], score: str, width: float) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator

    most = max(search.trials for search in searches)
    lines = [_lines(ax, search, scale_of(score)) for search in searches]
    values = [value for line in lines for value in line]
    if math.isinf(worst(score)) and min(values) > 0 and max(values) > WIDE * min(values):
        ax.set_yscale("log")
    # The names stand beyond the last trial, so that they cover no line.
    room = max(width_of(_name(search.optimizer, width), _NAME) for search in searches) + _MARK + 0.1
    per_inch = most * 1.04 / (width - room)
    ax.set_xlim(-0.04 * most, most + room * per_inch)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.set_xticks([tick for tick in ax.get_xticks() if 0 <= tick <= most])
    plain_ticks(ax.yaxis)
    if ax.get_yscale() == "log" and max(values) < 20 * min(values):
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)))
    ends = [(search.optimizer, line[-1]) for search, line in zip(searches, lines, strict=True)]
    _names(ax, ends, most, per_inch, width)


def _lines(ax: Axes, search: Search, scale: float) -> list[float]:
    """Draws one study; the heights of what was drawn, the best of all trials last."""
    color, marker = color_of(search.optimizer), marker_of(search.optimizer)
    steps = [(k, scale * value) for k, value in enumerate(search.so_far, 1) if value is not None]
    line = [(k, scale * value) for k, value in enumerate(search.expected, 1) if value is not None]
    own = [] if search.before is None else [(0, scale * search.before)]
    thin: dict[str, Any] = {"drawstyle": "steps-post", "linewidth": 0.9, "alpha": 0.55, "zorder": 1.8}
    ax.plot(*zip(*steps, strict=True), color=color, **thin)
    look: dict[str, Any] = {"marker": marker, "markeredgecolor": "white", "markeredgewidth": 0.4, "linewidth": 1.5}
    ax.plot(*zip(*line, strict=True), color=color, markersize=size_of(search.optimizer, 4.5), zorder=2.2, **look)
    if own:
        look = {"marker": marker, "markeredgecolor": color, "markerfacecolor": "white", "linestyle": "none"}
        ax.plot(*zip(*own, strict=True), markersize=size_of(search.optimizer, 6.0), zorder=2.5, **look)
    return [value for _, value in (*own, *line, *steps)]


def _names(ax: Axes, ends: Sequence[tuple[str, float]], most: int, per_inch: float, width: float) -> None:
    """The marker and name of every optimizer beside the end of its line, moved up or down where two would overlap."""
    from matplotlib.transforms import Affine2D

    to_inches = ax.transAxes.inverted() + Affine2D().scale(width, _HEIGHT)
    ordered = sorted(ends, key=lambda end: end[1])
    wanted = [float(to_inches.transform(ax.transData.transform((most, value)))[1]) for _, value in ordered]
    places = _apart(wanted, _APART, 0.7 * _APART, _HEIGHT - 0.7 * _APART)
    for (name, _), place in zip(ordered, places, strict=True):
        height = place / _HEIGHT
        x = most + 0.5 * _MARK * per_inch
        look: dict[str, Any] = {"marker": marker_of(name), "color": color_of(name), "markeredgewidth": 0}
        ax.plot([x], [height], transform=ax.get_xaxis_transform(), markersize=size_of(name, 5.0), **look)
        text: dict[str, Any] = {"fontsize": _NAME, "va": "center_baseline"}
        ax.text(x + 0.5 * _MARK * per_inch, height, _name(name, width), transform=ax.get_xaxis_transform(), **text)


def _apart(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Ascending places moved as little as keeps them `least` apart, and where there is room inside `low` to `high`."""
    found: list[list[float]] = []
    for place in places:
        found.append([place])
        # Groups that touch become one, centred on the mean of what its members wanted.
        while len(found) > 1 and _top(found[-2], least) + least > _bottom(found[-1], least):
            last = found.pop()
            found[-1] += last
    spread = [_bottom(group, least) + least * i for group in found for i in range(len(group))]
    up = max(0.0, low - spread[0]) if spread[-1] - spread[0] <= high - low else 0.0
    down = max(0.0, spread[-1] - high) if spread[-1] - spread[0] <= high - low else 0.0
    return [place + up - down for place in spread]


def _bottom(group: Sequence[float], least: float) -> float:
    return sum(group) / len(group) - least * (len(group) - 1) / 2


def _top(group: Sequence[float], least: float) -> float:
    return sum(group) / len(group) + least * (len(group) - 1) / 2


def _name(name: str, width: float) -> str:
    return fitted(name, 0.4 * width, _NAME)


def _is_known(value: float | None) -> bool:
    return value is not None


def _kinds() -> list[Line2D]:
    from matplotlib.lines import Line2D

    own: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 6, "markeredgecolor": INK}
    return [
        Line2D([], [], color=INK, linewidth=1.5, label="mean best of k trials"),
        Line2D([], [], color=INK, linewidth=0.9, alpha=0.55, drawstyle="steps-post", label="best so far"),
        Line2D([], [], markerfacecolor="white", label="the suite's own values", **own),
    ]
