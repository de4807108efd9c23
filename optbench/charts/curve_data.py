"""Training losses of a table's cells, thinned and averaged over seeds: what learning curves are drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optbench.charts.left_out import LeftOut, reason_of
from optbench.reports.frame import MISSING
from optbench.reports.inference import Inference
from optbench.reports.stats import Array

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report
    from optbench.reports.standings import Standings
    from optbench.store import Store

POINTS = 60
"""At most so many points to a curve: each is the mean of as many steps as that takes."""
AT_WEIGHTS = "weights"

Place = tuple[str, str, str]
"""Model, strategy, optimizer."""


@dataclass(frozen=True)
class Curve:
    """The curve of one arm: arrays of one entry per point.

    `step` and `passes` are means over the steps of a point, `loss` the mean over seeds and `half_width` that of its 95%
    interval (infinite for too few seeds, and where all are equal). The curve ends where the first of its seeds ended.
    `diverged` counts seeds whose loss was no longer a finite number.
    """

    step: Array
    passes: Array
    loss: Array
    half_width: Array
    seeds: int
    diverged: int


@dataclass(frozen=True)
class Curves:
    """All curves of a table. `window`: steps that a point is the mean of. `shifted`: optimizers without a curve, since
    all their losses were taken at shifted weights; `partly`: those of which only the others are shown. `lost`: records
    without a curve. `inference`: what the half-widths go by."""

    by_arm: Mapping[Place, Curve]
    window: int
    shifted: Sequence[str]
    partly: Sequence[str]
    lost: int
    inference: Inference

    @property
    def seeds(self) -> tuple[int, int]:
        """The fewest and the most seeds that a curve is the mean of."""
        counts = [curve.seeds for curve in self.by_arm.values()]
        return min(counts), max(counts)

    @property
    def passes_differ(self) -> bool:
        """Whether some optimizers take more passes for a step than others."""
        rates = [curve.passes[-1] / (curve.step[-1] + 1) for curve in self.by_arm.values()]
        return bool(max(rates) > 1.01 * min(rates))


def curves_of(report: Report, table: Standings, store: Store) -> Curves:
    """Reads the curves of the table's cells, each once. Raises LeftOut where there is none to draw."""
    cells = report.cells
    mine = cells[(cells["task"] == table.task) & (cells["budget"] == table.budget) & (cells["outcome"] != MISSING)]
    if not len(mine):
        raise LeftOut("no cell has a record")
    steps = mine["steps_done"].max()
    runs: dict[Place, list[tuple[pd.DataFrame, bool]]] = {}
    shifted: dict[str, bool] = {}
    lost = 0
    chosen = mine[["model", "strategy", "optimizer", "key", "outcome"]]
    for model, strategy, optimizer, key, outcome in chosen.itertuples(index=False, name=None):
        try:
            curve = store.curves(key)
        except FileNotFoundError:
            lost += 1
            continue
        except (OSError, ValueError) as error:
            raise LeftOut(reason_of(error, store)) from error
        if "loss_at" in curve:
            seen = curve["loss_at"] == AT_WEIGHTS
            shifted[optimizer] = shifted.get(optimizer, True) and not seen.any()
            curve = curve[seen]
        runs.setdefault((model, strategy, optimizer), []).append(
            (curve[["step", "loss", "passes"]], outcome == "diverged")
        )
    longest = max((len(curve) for found in runs.values() for curve, _ in found), default=0)
    window = max(1, math.ceil((longest if math.isnan(steps) else steps) / POINTS))
    means = {place: _mean(found, window, report.inference) for place, found in runs.items()}
    by_arm = {place: mean for place, mean in means.items() if mean is not None}
    wholly = sorted(name for name, all_of_them in shifted.items() if all_of_them)
    if not by_arm:
        raise LeftOut("all losses were taken at shifted weights" if wholly else "no record has a curve")
    partly = sorted(set(shifted) - set(wholly))
    return Curves(by_arm, window, wholly, partly, lost, report.inference)


def _mean(runs: Sequence[tuple[pd.DataFrame, bool]], window: int, inference: Inference) -> Curve | None:
    """The curve of an arm; None where no point has all its seeds."""
    found = [_thinned(curve, window) for curve, _ in runs]
    length = min(len(loss) for loss, _, _ in found)
    losses, steps, passes = (np.stack([run[place][:length] for run in found]) for place in range(3))
    whole = np.isfinite(losses).all(axis=0)
    if not whole.any():
        return None
    losses = losses[:, whole]
    count = len(found)
    sd = losses.std(axis=0, ddof=1) if count > 1 else np.full(losses.shape[1], math.nan)
    mean = losses.mean(axis=0)
    return Curve(
        step=steps[:, whole].mean(axis=0),
        passes=passes[:, whole].mean(axis=0),
        loss=mean,
        half_width=inference.half_width(mean, sd, count),
        seeds=count,
        diverged=sum(diverged for _, diverged in runs),
    )


def _thinned(curve: pd.DataFrame, window: int) -> tuple[Array, Array, Array]:
    """Loss, step and passes, each the mean over the finite losses of every `window` steps; NaN where there is none."""
    finite = np.isfinite(curve["loss"].to_numpy())
    step, loss, passes = (curve[name].to_numpy(float)[finite] for name in ("step", "loss", "passes"))
    bins = (step // window).astype(int)
    count = np.bincount(bins).astype(float)
    count[count == 0] = math.nan
    sums = (np.bincount(bins, weights=values, minlength=len(count)) for values in (loss, step, passes))
    mean_loss, mean_step, mean_passes = (total / count for total in sums)
    return mean_loss, mean_step, mean_passes
