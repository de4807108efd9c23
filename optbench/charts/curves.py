"""Learning curves: training loss along training, against steps and against passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from optbench.charts.curve_data import Curve, Curves
from optbench.charts.interval_notes import bands_note
from optbench.charts.palette import color_of, marker_of, size_of
from optbench.charts.style import INK, Frame, facets, label, optimizer_entries, plain_ticks, plural, seeds_in_words
from optbench.reports.grid import place_of
from optbench.reports.stats import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from optbench.reports.standings import Standings

Against = Literal["step", "passes"]
_MARKERS = 8


def draw(data: Curves, table: Standings, against: Against) -> Figure:
    """One row of axes per strategy, one column per model; lines are optimizers, bands 95% intervals over seeds."""
    models, strategies, optimizers = (list(dict.fromkeys(place[axis] for place in data.by_arm)) for axis in range(3))
    frame = Frame(
        f"Training loss by {against}: {label(place_of(table), 60)}, {seeds_in_words(*data.seeds)}",
        notes_of(data),
        [optimizer_entries(optimizers, lines=True), _ends(data)],
    )
    figure, axes = facets(models, strategies, frame)
    fit_losses(axes[0][0], [curve.loss for curve in data.by_arm.values()])
    for row, strategy in zip(axes, strategies, strict=True):
        for ax, model in zip(row, models, strict=True):
            for place, optimizer in enumerate(optimizers):
                if (model, strategy, optimizer) in data.by_arm:
                    _line(ax, data.by_arm[model, strategy, optimizer], optimizer, against, place / len(optimizers))
        row[0].set_ylabel(f"training loss{' (nats)' if _of_text(table) else ''}")
    plain_ticks(axes[0][0].xaxis)
    for ax in axes[-1]:
        ax.set_xlabel("step" if against == "step" else "passes")
    return figure


def notes_of(data: Curves) -> list[str]:
    """What the figure must say of itself: smoothing, bands, and what is left out."""
    smooth = f"Each point is the mean of {data.window} steps. " if data.window > 1 else "Not smoothed. "
    lines = ((curve.loss, curve.half_width, curve.seeds) for curve in data.by_arm.values())
    bands = bands_note(data.inference, lines)
    notes = [f"{smooth}{bands} A line ends where the first of its runs ended."]
    if data.shifted:
        names = ", ".join(label(name) for name in data.shifted)
        notes.append(f"Left out, since their losses were taken at shifted weights: {names}.")
    if data.partly:
        names = ", ".join(label(name) for name in data.partly)
        notes.append(f"Losses taken at shifted weights are left out of the lines of: {names}.")
    if data.lost:
        notes.append(f"{plural(data.lost, 'record')} without a curve.")
    return notes


def _line(ax: Axes, curve: Curve, optimizer: str, against: Against, phase: float) -> None:
    at = curve.step if against == "step" else curve.passes
    color = color_of(optimizer)
    # Markers are spread so that those of lines that lie on each other do not.
    every = (round(phase * len(at) / _MARKERS), max(1, len(at) // _MARKERS))
    look: dict[str, Any] = {"color": color, "linewidth": 1.3, "marker": marker_of(optimizer)}
    look["markersize"] = size_of(optimizer, 4.0)
    ax.plot(at, curve.loss, markevery=every, markeredgewidth=0.4, markeredgecolor="white", **look)
    known = np.isfinite(curve.half_width)
    if known.any():
        # Where all seeds agree to the last bit there is no interval, and a gap.
        half = np.where(known, curve.half_width, np.nan)
        ax.fill_between(at, curve.loss - half, curve.loss + half, color=color, alpha=0.18, linewidth=0)
    if curve.diverged:
        # The end may be far above what is shown: then the mark is at the edge.
        end = min(float(curve.loss[-1]), ax.get_ylim()[1])
        ax.plot(at[-1:], [end], linestyle="none", marker="x", color=INK, markeredgewidth=1.6, clip_on=False, zorder=5)


def fit_losses(ax: Axes, losses: Sequence[Array]) -> None:
    """Limits of the loss axis, logarithmic where the losses span a factor of five; a run that explodes does not flatten
    the others. `losses` are the curves that are drawn."""
    start = max(float(loss[0]) for loss in losses)
    low, high = min(float(loss.min()) for loss in losses), min(max(float(loss.max()) for loss in losses), 2 * start)
    if low > 0 and high / low > 5:
        ax.set_yscale("log")
        ax.set_ylim(low / 1.15, high * 1.15)
    else:
        pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        ax.set_ylim(low - pad, high + pad)
    plain_ticks(ax.yaxis)


def _ends(data: Curves) -> list[Any]:
    from matplotlib.lines import Line2D

    if not any(curve.diverged for curve in data.by_arm.values()):
        return []
    return [Line2D([], [], linestyle="none", marker="x", color=INK, markeredgewidth=1.6, label="a run diverged")]


def _of_text(table: Standings) -> bool:
    return bool(np.isin(table.score, ("accuracy", "test_nll", "format_error")))
