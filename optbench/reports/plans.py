"""What more seeds would take: the time of one seed of a contrast, as measured."""

from __future__ import annotations

import math

import pandas as pd

from optbench.reports.stats import Array


def minutes_per_seed(cells: pd.DataFrame, arms: Array, *, workers: int) -> float:
    """The minutes that one more seed of the arms at the places `arms` takes; NaN where no time was recorded.

    The mean total_seconds of the cells that are there (probe, training, evaluation, panels), times the number of cells
    that a seed has, over the number of workers. Arms of the same content are one run, and counted once.
    """
    if "total_seconds" not in cells or not cells["total_seconds"].notna().any():
        return math.nan
    mine = cells.loc[cells["arm"].isin(arms), ["arm", "seed", "key", "total_seconds"]].drop_duplicates("key")
    # The mean over arms first: models differ in size, and arms in how many of their seeds are there.
    seconds = mine.groupby("arm")["total_seconds"].mean().mean()
    runs = mine.groupby("seed").size().max()
    return float(seconds * runs / workers / 60)


def minutes_needed(needed: float, seeds: int, minutes: float) -> float:
    """The minutes of the seeds that are missing to the `needed` ones; 0 where there are enough."""
    if math.isnan(needed) or math.isnan(minutes):
        return math.nan
    return max(needed - seeds, 0) * minutes
