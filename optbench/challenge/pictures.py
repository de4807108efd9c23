"""Figures of a challenge's page: losses along training of every seed, what the scores cost, and what tuning bought."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optbench.charts.curve_data import Curve, Curves, Place, curves_of
from optbench.charts.curves import fit_losses
from optbench.charts.left_out import LeftOut
from optbench.charts.palette import color_of, marker_of, size_of
from optbench.charts.style import (
    Frame,
    drawing,
    fitted,
    grid_of_axes,
    label,
    optimizer_entries,
    plain_ticks,
    seeds_in_words,
)
from optbench.reports.grid import place_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from optbench.challenge.content import Content
    from optbench.page.pictures import Picture
    from optbench.reports.leaderboard import Report
    from optbench.reports.standings import Standings
    from optbench.reports.tuning import Tuning
    from optbench.store import Store

    Draw = Callable[[Report, Standings, Store], Figure]

_MARKERS = 8


@dataclass(frozen=True)
class Runs:
    """The curves of a table: `mean` over seeds, `single` those of each seed, and the FLOPs of a pass by arm."""

    mean: Curves
    single: Sequence[Curves]
    flops_per_pass: Mapping[Place, float]


@dataclass(frozen=True)
class Drawn:
    """Figures as pictures, and for each that the records do not allow the reason, by name."""

    pictures: Sequence[Picture]
    left_out: Mapping[str, str]


def pictures_of(content: Content, tuning: Tuning) -> dict[str, Drawn]:
    """The figures of the sections `curves` and `tuning`; of several tables each has its number in the name."""
    report = replace(content.report, tuning=tuning)
    return {
        "curves": _drawn(content, report, {"curves": _draw_runs, "cost": _draw_cost}),
        "tuning": _drawn(content, report, {"tunability": _draw_tunability}),
    }


def _drawn(content: Content, report: Report, charts: Mapping[str, Draw]) -> Drawn:
    from optbench.charts.charts import caption_of
    from optbench.page.pictures import picture_of

    pictures: list[Picture] = []
    left_out: dict[str, str] = {}
    several = len(report.standings) > 1
    with drawing():
        for place, standings in enumerate(report.standings, start=1):
            for chart, draw in charts.items():
                name = f"{chart}-{place}" if several else chart
                try:
                    figure = draw(report, standings, content.store)
                except LeftOut as reason:
                    left_out[name] = str(reason)
                    continue
                caption = _curves_caption(standings) if chart == "curves" else caption_of(name, report)
                pictures.append(picture_of(name, figure, caption))
    return Drawn(pictures, left_out)


def _draw_runs(report: Report, standings: Standings, store: Store) -> Figure:
    return draw_runs(runs_of(report, standings, store), standings)


def _draw_cost(report: Report, standings: Standings, store: Store) -> Figure:
    from optbench.charts import cost, scatter

    return scatter.draw(cost.data_of(report, standings))


def _draw_tunability(report: Report, standings: Standings, store: Store) -> Figure:
    from optbench.charts import tunability

    return tunability.draw(tunability.data_of(report, standings))


def runs_of(report: Report, standings: Standings, store: Store) -> Runs:
    """The curves of one task and budget, their mean and each seed's. Raises LeftOut where there is none to draw."""
    mean = curves_of(report, standings, store)
    single = []
    for seed in sorted(set(report.cells["seed"])):
        try:
            single.append(
                curves_of(replace(report, cells=report.cells[report.cells["seed"] == seed]), standings, store)
            )
        except LeftOut:
            # The mean says what is missing.
            continue
    arms = report.arms
    mine = (arms["task"] == standings.task) & (arms["budget"].map(dict) == dict(standings.given))
    names = ["model", "strategy", "optimizer", "flops", "passes"]
    rates = {(m, s, o): flops / passes for m, s, o, flops, passes in arms.loc[mine, names].itertuples(index=False)}
    return Runs(mean, single, {place: float(rates[place]) for place in mean.by_arm})


def draw_runs(runs: Runs, standings: Standings) -> Figure:
    """Loss against steps above, against FLOPs below; a column for each model and strategy. Thin lines are seeds, thick
    ones their means."""
    places = list(runs.mean.by_arm)
    facets = list(dict.fromkeys((model, strategy) for model, strategy, _ in places))
    optimizers = list(dict.fromkeys(optimizer for _, _, optimizer in places))
    most = max(runs.flops_per_pass[place] * float(curve.passes[-1]) for place, curve in runs.mean.by_arm.items())
    unit, size = next(((unit, size) for unit, size in _UNITS if most >= size), ("FLOP", 1.0))
    title = f"Training loss: {label(place_of(standings), 60)}, {seeds_in_words(*runs.mean.seeds)}"
    frame = Frame(title, _notes_of(runs), [optimizer_entries(optimizers, lines=True)], below=0.42)
    width = min(max(9.6 / len(facets), 2.2), 7.6)
    shape = (width, min(max(0.5 * width, 1.7), 2.6))
    figure, axes = grid_of_axes(2, len(facets), size=shape, frame=frame, sharex="row", sharey=True)
    for across, (model, strategy) in enumerate(facets):
        for down, scale in enumerate((None, size)):
            ax = axes[down][across]
            ax.grid(True)
            ax.set_xlabel("step" if scale is None else f"FLOPs of training ({unit})")
            for optimizer in optimizers:
                place = (model, strategy, optimizer)
                for curves in runs.single:
                    if place in curves.by_arm:
                        _thin(ax, curves.by_arm[place], optimizer, _rate(runs, place, scale))
            for optimizer in optimizers:
                place = (model, strategy, optimizer)
                if place in runs.mean.by_arm:
                    _thick(ax, runs.mean.by_arm[place], optimizer, _rate(runs, place, scale))
            plain_ticks(ax.xaxis)
        several = len({strategy for _, strategy in facets}) > 1
        axes[0][across].set_title(fitted(f"{model}, {strategy}" if several else model, 0.9 * width))
    for row in axes:
        row[0].set_ylabel("training loss")
    drawn = (runs.mean, *runs.single)
    fit_losses(axes[0][0], [curve.loss for curves in drawn for curve in curves.by_arm.values()])
    return figure


_UNITS = (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6))


def _rate(runs: Runs, place: Place, scale: float | None) -> float | None:
    """What a pass counts on the axis; None for an axis of steps."""
    return None if scale is None else runs.flops_per_pass[place] / scale


def _thin(ax: Axes, curve: Curve, optimizer: str, rate: float | None) -> None:
    at = curve.step if rate is None else rate * curve.passes
    ax.plot(at, curve.loss, color=color_of(optimizer), linewidth=0.5, alpha=0.35, zorder=1.5)


def _thick(ax: Axes, curve: Curve, optimizer: str, rate: float | None) -> None:
    at = curve.step if rate is None else rate * curve.passes
    ax.plot(
        at,
        curve.loss,
        color=color_of(optimizer),
        linewidth=1.9,
        marker=marker_of(optimizer),
        markersize=size_of(optimizer, 4.5),
        markevery=max(1, len(at) // _MARKERS),
        markeredgewidth=0.5,
        markeredgecolor="white",
        zorder=3,
    )


def _notes_of(runs: Runs) -> list[str]:
    data = runs.mean
    smooth = f"Each point is the mean of {data.window} steps. " if data.window > 1 else "Not smoothed. "
    notes = [f"{smooth}Thin: one seed each; thick: their mean. A mean ends where the first of its runs ended."]
    failed = {optimizer: curve.diverged for (_, _, optimizer), curve in data.by_arm.items() if curve.diverged}
    if failed:
        notes.append(f"Runs that diverged: {', '.join(f'{label(name)} {count}' for name, count in failed.items())}.")
    if data.shifted:
        names = ", ".join(map(label, data.shifted))
        notes.append(f"Left out, since their losses were taken at shifted weights: {names}.")
    if data.partly:
        notes.append(f"Losses at shifted weights are left out of the lines of: {', '.join(map(label, data.partly))}.")
    if data.lost:
        notes.append(f"Records without a curve: {data.lost}.")
    return notes


def _curves_caption(standings: Standings) -> str:
    return (
        f"{place_of(standings)}: training loss of the batch before each update, against steps (above) and against the "
        "floating-point operations of training (below). Every thin line is one seed, thick lines are means over seeds. "
        "Lower is better; a training loss says nothing of test questions."
    )
