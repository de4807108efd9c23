"""Learning times: which share of the examples is learned for good by when, per optimizer and strategy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optbench.charts.interval_notes import bands_note
from optbench.charts.left_out import LeftOut, reason_of
from optbench.charts.palette import color_of, marker_of, size_of
from optbench.charts.style import Frame, facets, label, optimizer_entries, plain_ticks, plural, seeds_in_words
from optbench.reports.frame import MISSING
from optbench.reports.grid import place_of
from optbench.reports.inference import Inference
from optbench.reports.stats import Array
from optbench.store import PANELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from optbench.reports.leaderboard import Report
    from optbench.reports.standings import Standings
    from optbench.store import Store

PANEL_KIND, TABLE = "simplicity", "examples.parquet"

Place = tuple[str, str, str]
"""Model, strategy, optimizer."""


@dataclass(frozen=True)
class Learned:
    """One arm: at each of `times` (fractions of the run) the mean over seeds of the share of examples learned for good,
    and the half-width of its 95% interval (infinite for too few seeds, and where all have the same share)."""

    times: Array
    share: Array
    half_width: Array
    seeds: int


@dataclass(frozen=True)
class LearningTimes:
    """All arms of a table that the panel has looked at; `examples` is how many it looked at in each run;
    `inference` what the half-widths go by."""

    by_arm: Mapping[Place, Learned]
    examples: tuple[int, int]
    inference: Inference

    @property
    def seeds(self) -> tuple[int, int]:
        """The fewest and the most seeds of an arm."""
        counts = [arm.seeds for arm in self.by_arm.values()]
        return min(counts), max(counts)


def data_of(report: Report, table: Standings, store: Store) -> LearningTimes:
    """Reads the panel's table of each cell. Raises LeftOut where there is none."""
    cells = report.cells
    mine = cells[(cells["task"] == table.task) & (cells["budget"] == table.budget) & (cells["outcome"] != MISSING)]
    mine = mine[mine["learned"].notna()]
    if not len(mine):
        raise LeftOut("no result of the panel simplicity; `panels: [simplicity]` in the suite asks for it")
    runs: dict[Place, list[tuple[Array, Array]]] = {}
    counts: set[int] = set()
    columns = ["model", "strategy", "optimizer", "key", "learned", "never_learned"]
    for model, strategy, optimizer, key, learned, never in mine[columns].itertuples(index=False, name=None):
        try:
            found = _examples(store, key, learned)
        except (OSError, ValueError) as error:
            raise LeftOut(reason_of(error, store)) from error
        if found is not None:
            looks, times = found
            counts.add(len(times))
            runs.setdefault((model, strategy, optimizer), []).append(_shares(looks, times, never))
    if not runs:
        raise LeftOut("the tables of the panel simplicity are not kept with these records")
    means = {place: _mean(found, report.inference) for place, found in runs.items()}
    return LearningTimes(means, (min(counts), max(counts)), report.inference)


def draw(data: LearningTimes, table: Standings) -> Figure:
    """One row of axes per strategy, one column per model; lines are optimizers, bands 95% intervals over seeds."""
    models, strategies, optimizers = (list(dict.fromkeys(place[axis] for place in data.by_arm)) for axis in range(3))
    title = f"Learning times: {label(place_of(table), 60)}, {seeds_in_words(*data.seeds)}"
    frame = Frame(title, notes_of(data), [optimizer_entries(optimizers, lines=True)])
    figure, axes = facets(models, strategies, frame)
    for row, strategy in zip(axes, strategies, strict=True):
        for ax, model in zip(row, models, strict=True):
            for place, optimizer in enumerate(optimizers):
                if (model, strategy, optimizer) in data.by_arm:
                    _line(ax, data.by_arm[model, strategy, optimizer], optimizer, place)
        row[0].set_ylabel("learned for good (%)")
    axes[0][0].set_ylim(bottom=0)
    plain_ticks(axes[0][0].yaxis)
    plain_ticks(axes[0][0].xaxis)
    for ax in axes[-1]:
        ax.set_xlabel("fraction of the run")
    return figure


def notes_of(data: LearningTimes) -> list[str]:
    """What the figure must say of itself."""
    few, many = data.examples
    count = plural(many, "training example") if few == many else f"{few} to {many} training examples"
    bands = bands_note(data.inference, ((arm.share, arm.half_width, arm.seeds) for arm in data.by_arm.values()))
    return [f"Of {count} per run; the rest is not learned by the end. {bands}"]


def _line(ax: Axes, arm: Learned, optimizer: str, place: int) -> None:
    color = color_of(optimizer)
    every = (place % 3, 3)
    look: dict[str, Any] = {"color": color, "linewidth": 1.3, "marker": marker_of(optimizer)}
    look["markersize"] = size_of(optimizer, 4.0)
    # Known at the looks alone: between two of them it stays.
    steps: dict[str, Any] = {"drawstyle": "steps-post"}
    ax.plot(arm.times, 100 * arm.share, markevery=every, markeredgewidth=0.4, markeredgecolor="white", **look, **steps)
    known = np.isfinite(arm.half_width)
    if known.any():
        # Where all seeds have the same share there is no interval, and a gap.
        half = np.where(known, arm.half_width, np.nan)
        low, high = (100 * np.clip(arm.share + sign * half, 0, 1) for sign in (-1, 1))
        ax.fill_between(arm.times, low, high, color=color, alpha=0.18, linewidth=0, step="post")


def _examples(store: Store, key: str, learned: float) -> tuple[Array, Array] | None:
    """When the panel looked, in fractions of the run, and when each example was learned; None where no table is kept.

    Panels of one kind with other settings may lie beside a record: the one that this report reads has its number.
    """
    folder = store.folder(key) / PANELS
    for path in sorted(folder.glob(f"*/{TABLE}")):
        found = store.panel(key, path.parent.name)
        if found is not None and found["panel"]["kind"] == PANEL_KIND and found["result"].get("learned") == learned:
            looks = np.asarray(found["notes"]["looks"], float)
            return looks / looks[-1], pd.read_parquet(path, columns=["learned"])["learned"].to_numpy(float)
    return None


def _shares(looks: Array, times: Array, never: float) -> tuple[Array, Array]:
    """At each look the share of examples learned for good. What is never learned has the time 1 too, so the last share
    is what is right at the end."""
    share = (times[None] <= looks[:, None]).mean(axis=1)
    share[-1] = 1 - never
    return looks, share


def _mean(runs: Sequence[tuple[Array, Array]], inference: Inference) -> Learned:
    """The mean over seeds, which all looked at the same moments."""
    shares = np.stack([share for _, share in runs])
    count = len(shares)
    sd = shares.std(axis=0, ddof=1) if count > 1 else np.full(shares.shape[1], math.nan)
    mean = shares.mean(axis=0)
    return Learned(runs[0][0], mean, inference.half_width(mean, sd, count), count)
