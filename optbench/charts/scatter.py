"""A grid of scatter charts: score against something, for each model; colour and marker by optimizer, filling by
strategy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optbench.charts.palette import color_of, fills_of, marker_of, size_of
from optbench.charts.style import (
    INK,
    Frame,
    fitted,
    grid_of_axes,
    optimizer_entries,
    plain_ticks,
    spoken,
    strategy_entries,
)
from optbench.metrics.columns import column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

DASHED = (0, (4, 2))
FRONT = "pareto_front"
"""The id of the line of a front inside a figure."""


@dataclass(frozen=True)
class Panel:
    """One scatter chart. `points`: columns optimizer, strategy, x, x_half, y, y_half. `front`: columns x and y of the
    Pareto front, by x; empty where none is drawn."""

    points: pd.DataFrame
    front: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"x": [], "y": []}))

    @property
    def shown(self) -> pd.DataFrame:
        """The points that have a place: both numbers finite."""
        placed: pd.DataFrame = self.points[np.isfinite(self.points[["x", "y"]].to_numpy(float)).all(axis=1)]
        return placed

    def rows(self) -> Iterator[tuple[str, str, float, float, float, float]]:
        """Optimizer, strategy, x, x_half, y, y_half of each point that has a place."""
        columns = [self.shown[name].tolist() for name in ("optimizer", "strategy", "x", "x_half", "y", "y_half")]
        return zip(*columns, strict=True)


@dataclass(frozen=True)
class Scatter:
    """A row of panels per measure {label of the x axis: {group: panel}}; measures in `logarithmic` have a log axis."""

    title: str
    score: str
    rows: Mapping[str, Mapping[str, Panel]]
    optimizers: Sequence[str]
    strategies: Sequence[str]
    notes: Sequence[str]
    logarithmic: Sequence[str] = ()


def draw(data: Scatter) -> Figure:
    """The figure. Scores that are fractions are in percent, as in tables."""
    groups = list(dict.fromkeys(group for panels in data.rows.values() for group in panels))
    front = any(len(panel.front) for panels in data.rows.values() for panel in panels.values())
    entries = [optimizer_entries(data.optimizers, lines=False), strategy_entries(data.strategies) + _front_entry(front)]
    size = (min(max(8.3 / len(groups), 1.6), 4.2), 2.0)
    frame = Frame(data.title, data.notes, entries, left=0.85, between=0.44, below=0.5)
    figure, axes = grid_of_axes(len(data.rows), len(groups), size=size, frame=frame, sharex="row", sharey="col")
    fills = fills_of(data.strategies)
    for row, (measure, panels) in zip(axes, data.rows.items(), strict=True):
        for ax, group in zip(row, groups, strict=True):
            ax.grid(True)
            ax.tick_params(labelbottom=True)
            ax.set_title(fitted(group, size[0]))
            if group in panels:
                _panel(ax, panels[group], data.score, fills)
            if measure in data.logarithmic:
                ax.set_xscale("log")
        plain_ticks(row[0].xaxis)
        left, right = (row[place].get_position() for place in (0, -1))
        below = left.y0 - 0.36 / figure.get_figheight()
        figure.text((left.x0 + right.x1) / 2, below, measure, ha="center", va="center", fontsize=9.0)
        row[0].set_ylabel(score_label(data.score).replace(", ", "\n"))
    return figure


def _front_entry(shown: bool) -> list[Line2D]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=INK, linewidth=1.0, linestyle=DASHED, label="Pareto front")] if shown else []


def score_label(score: str) -> str:
    """The name of a score with its unit and its direction."""
    known = column(score)
    unit = "%" if known.unit == "fraction" else known.unit
    return f"{spoken(score)}{f' ({unit})' if unit else ''}, {known.direction} is better"


def scale_of(score: str) -> float:
    """What values of a score are multiplied with to be shown."""
    return 100.0 if column(score).unit == "fraction" else 1.0


def _panel(ax: Axes, panel: Panel, score: str, fills: Mapping[str, Any]) -> None:
    scale = scale_of(score)
    for optimizer, strategy, x, x_half, y, y_half in panel.rows():
        color = color_of(optimizer)
        ax.errorbar(
            [x],
            [scale * y],
            xerr=_bar(x_half, 1.0),
            yerr=_bar(y_half, scale),
            color=color,
            marker=marker_of(optimizer),
            markersize=size_of(optimizer, 6.5),
            fillstyle=fills[strategy],
            markerfacecoloralt="white",
            markeredgecolor=color,
            markeredgewidth=1.0,
            elinewidth=0.8,
            alpha=0.95,
            linestyle="none",
        )
    if not len(panel.front):
        return
    # A step: what is reached at a cost is reached at every higher one.
    ax.plot(
        panel.front["x"],
        scale * panel.front["y"],
        drawstyle="steps-post",
        color=INK,
        linewidth=1.0,
        linestyle=DASHED,
        zorder=1.5,
        gid=FRONT,
    )


def _bar(half: float, scale: float) -> list[float] | None:
    return [scale * half] if math.isfinite(half) and half > 0 else None
