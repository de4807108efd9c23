"""What training gained: the score of each row minus that of the model before training, as a table of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from optbench.metrics.columns import BEFORE, column
from optbench.reports.figures import NOTHING, figure
from optbench.reports.frame import scored
from optbench.reports.grid import Entry, Grid, place_of

if TYPE_CHECKING:
    import pandas as pd

    from optbench.reports.inference import Inference
    from optbench.reports.standings import Standings


def before_grid(table: Standings, cells: pd.DataFrame) -> Grid | None:
    """One column per model that was pretrained: its score before training, and for each row the mean gain over seeds
    with the half-width of its 95% interval; None where no record says what a model scored before.

    The model before training answers the same questions and does not depend on the seed, so that the gains of the
    seeds are paired with it. A diverged cell counts as in the standings.
    """
    before = table.score + BEFORE
    if before not in cells:
        return None
    mine = scored(cells)
    mine = mine[(mine["task"] == table.task) & (mine["budget"] == table.budget)]
    # A diverged cell, too, started from the model as it was.
    start = mine.groupby("model")[before].first()
    models = [name for name in table.mean.columns if name in start.index and np.isfinite(start[name])]
    if not models:
        return None
    rows = [[Entry("before training"), Entry(""), *(Entry(figure(start[model], table.score)) for model in models)]]
    for optimizer, strategy in table.mean.index:
        own = mine[(mine["optimizer"] == optimizer) & (mine["strategy"] == strategy)]
        ended = {model: own[own["model"] == model][table.score] for model in models}
        gains = [_gain(ended[model], start[model], table.score, table.inference) for model in models]
        rows.append([Entry(optimizer), Entry(strategy), *map(Entry, gains)])
    known = column(table.score)
    unit = "points" if known.unit == "fraction" else known.unit
    better = "less is better" if known.direction == "lower" else "more is better"
    title = f"{place_of(table)}: {table.score} gained by training, {unit}, {better}"
    return Grid(title, ["optimizer", "strategy", *models], rows, names=2)


def before_notes_of(table: Standings) -> Sequence[str]:
    """The lines that say how to read it."""
    note = "First row: the model as it was loaded, on the same questions; below, differences from it."
    if table.seeds > 1:
        note += (
            f" ±: half-width of the 95% interval over seeds{table.inference.aside}, for the questions that were asked"
            + ("; none where all seeds scored the same." if table.alike.to_numpy().any() else ".")
        )
    return [note]


def _gain(ended: pd.Series, start: float, score: str, inference: Inference) -> str:
    """`ended` are the scores after training, of one model, by seed."""
    numbers = ended.dropna().to_numpy(float)
    if not len(numbers):
        return NOTHING
    mean, width = inference.interval(numbers - start, largest=max(abs(start), float(np.abs(numbers).max())))
    sign = "+" if mean > 0 else ""
    return sign + figure(mean, score) + (f" ±{figure(width, score)}" if np.isfinite(width) else "")
