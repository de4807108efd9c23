"""The heat map: the score of every optimizer with every model, one map per strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optbench.charts.left_out import LeftOut
from optbench.charts.points import names_in_order
from optbench.charts.scatter import scale_of, score_label
from optbench.charts.style import Frame, capital, fitted, grid_of_axes, label, seeds_in_words, width_of
from optbench.metrics.columns import column
from optbench.reports.figures import NOTHING, figure
from optbench.reports.grid import place_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from optbench.reports.leaderboard import Report
    from optbench.reports.standings import Standings

_MODEL = 18
"""Letters of the name of a model."""


@dataclass(frozen=True)
class Map:
    """One strategy: values [optimizers, models] as shown (fractions in percent), NaN where there is no finite number,
    and the text of every field."""

    strategy: str
    values: pd.DataFrame
    texts: pd.DataFrame


def data_of(report: Report, table: Standings) -> list[Map]:
    """One map per strategy, optimizers in the order of the standings. Raises LeftOut where there is no number."""
    optimizers = list(dict.fromkeys(table.mean.index.get_level_values("optimizer")))
    strategies = names_in_order(report, table, "strategy")
    if not np.isfinite(table.mean.to_numpy(float)).any():
        raise LeftOut("no row has a score")
    maps = []
    for strategy in strategies:
        rows = pd.MultiIndex.from_product([optimizers, [strategy]])
        mean = table.mean.reindex(rows)
        values = pd.DataFrame(scale_of(table.score) * mean.to_numpy(float), index=optimizers, columns=mean.columns)
        texts = pd.DataFrame(
            [[_text(table, row, model) for model in mean.columns] for row in rows],
            index=optimizers,
            columns=mean.columns,
        )
        maps.append(Map(strategy, values.where(np.isfinite(values)), texts))
    return maps


def draw(maps: list[Map], table: Standings) -> Figure:
    """The figure: darker is better, on one scale for all maps."""
    import seaborn

    models = list(maps[0].values.columns)
    rows, columns = len(maps[0].values), min(len(maps), max(1, 15 // len(models)))
    shape = (-(-len(maps) // columns), columns)
    seeds = table.n.to_numpy()
    title = (
        f"{capital(score_label(table.score))}, by model and optimizer: {label(place_of(table), 60)}, "
        f"{seeds_in_words(int(seeds[seeds > 0].min()), table.seeds)}"
    )
    room = max(width_of(label(name), 8.0) for name in maps[0].values.index) + 0.2
    # Names of models stand at 40 degrees.
    foot = 0.65 * max(width_of(label(model, _MODEL), 8.0) for model in models) + 0.25
    frame = Frame(title, notes_of(maps, table), left=room, foot=foot, below=foot)
    size = (0.58 * len(models), 0.27 * rows)
    figure_, axes = grid_of_axes(*shape, size=size, frame=frame, sharey=True)
    flat = [ax for row in axes for ax in row]
    finite = np.concatenate([one.values.to_numpy().ravel() for one in maps])
    low, high = np.nanmin(finite), np.nanmax(finite)
    dark_is_better = "Blues" if column(table.score).direction == "higher" else "Blues_r"
    for ax, one in zip(flat, maps, strict=False):
        missing = one.values.isna()
        seaborn.heatmap(
            one.values,
            ax=ax,
            mask=missing,
            annot=one.texts,
            fmt="",
            annot_kws={"fontsize": 7.5},
            cmap=dark_is_better,
            vmin=low,
            vmax=high if high > low else low + 1,
            cbar=False,
            linewidths=0.8,
            linecolor="white",
            xticklabels=[label(model, _MODEL) for model in models],
            yticklabels=[label(name) for name in one.values.index],
        )
        for row, name in enumerate(one.values.index):
            for place, model in enumerate(models):
                if missing.iloc[row, place]:
                    ax.text(place + 0.5, row + 0.5, one.texts.loc[name, model], ha="center", va="center", fontsize=7.5)
        ax.set_title(fitted(one.strategy, size[0]))
        ax.set_facecolor("#F3F3F3")
        ax.tick_params(length=0)
        ax.tick_params(axis="x", rotation=40)
        ax.tick_params(axis="y", rotation=0)
        for text in ax.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    for ax in flat[len(maps) :]:
        ax.set_axis_off()
    return figure_


def notes_of(maps: list[Map], table: Standings) -> list[str]:
    """What the marks in the fields mean, and only of those that occur."""
    everything = "".join(text for one in maps for text in one.texts.to_numpy().ravel())
    notes = ["Darker is better."]
    if table.seeds == 1:
        notes.append("One seed: no field is resolved from another.")
    if "*" in everything:
        notes.append("*: not resolved from the best of its column, over all strategies: a tie.")
    if NOTHING in {text for one in maps for text in one.texts.to_numpy().ravel()}:
        notes.append(f"{NOTHING}: no record yet, or out of memory; over all models only where none is missing.")
    if "diverged" in everything:
        notes.append("diverged: every run of the field did.")
    if "inf" in everything:
        notes.append("inf: a run diverged, and the mean with it.")
    return [" ".join(notes)]


def _text(table: Standings, row: tuple[str, str], model: str) -> str:
    if row not in table.mean.index:
        return NOTHING
    if table.diverged[model][row]:
        return "diverged"
    return figure(table.mean[model][row], table.score) + "*" * bool(table.tied[model][row])
