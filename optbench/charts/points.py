"""One point per optimizer and strategy, for each model and over all: what scatter charts are drawn from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optbench.metrics.columns import column
from optbench.reports.frame import by_arm_and_seed, scored
from optbench.reports.standings import by_model

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report
    from optbench.reports.standings import Standings


def groups_of(table: Standings) -> list[str]:
    """What a table has a column of scores for: all models, where there are several, and each of them."""
    return [str(name) for name in table.mean.columns]


def arms_at(report: Report, table: Standings) -> pd.DataFrame:
    """The arms of one table; the index is their place in the suite."""
    arms = report.arms
    return arms[(arms["task"] == table.task) & (arms["budget"].map(dict) == dict(table.given))]


def names_in_order(report: Report, table: Standings, axis: str) -> list[str]:
    """The optimizers or strategies of a table in the order of the suite, as legends have them everywhere."""
    return list(dict.fromkeys(arms_at(report, table)[axis]))


def scores_at(table: Standings, group: str) -> pd.DataFrame:
    """Columns optimizer, strategy, y, y_half: the scores of one column of the standings, in their order."""
    return pd.DataFrame(
        {
            "optimizer": [optimizer for optimizer, _ in table.mean.index],
            "strategy": [strategy for _, strategy in table.mean.index],
            "y": table.mean[group].to_numpy(float),
            "y_half": table.half_width[group].to_numpy(float),
        }
    )


def metric_by_group(report: Report, table: Standings, metric: str) -> dict[str, pd.DataFrame]:
    """For each group, columns x and x_half of a metric, rows as in the standings: mean over seeds and half-width of its
    95% interval, of the mean over models where the group is all of them (NaN in a row that lacks one)."""
    arms = arms_at(report, table)
    rows = table.mean.index
    assert isinstance(rows, pd.MultiIndex)
    pooled = scored(report.cells)
    values = by_arm_and_seed(pooled, pooled[metric], arms=len(report.arms), empty=math.nan)
    found = {}
    for group, by_seed in by_model(arms, rows, values, math.nan).items():
        frame = pd.DataFrame(by_seed)
        mean, count = frame.mean(axis=1).to_numpy(), frame.notna().sum(axis=1).to_numpy()
        with np.errstate(invalid="ignore"):
            spread = frame.std(axis=1).to_numpy()
            width = table.inference.half_width(mean, spread, count, certain=column(metric).certain)
        found[group] = pd.DataFrame({"x": mean, "x_half": width})
    return found
