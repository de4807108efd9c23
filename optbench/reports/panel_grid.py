"""What panels found, as tables of texts."""

from __future__ import annotations

import numpy as np

from optbench.metrics.columns import column
from optbench.reports.figures import NOTHING, figure
from optbench.reports.grid import Entry, Grid, place_of
from optbench.reports.panels import DECILE_FAMILY, SETS_FAMILY, SPLIT_FAMILY, PanelTable

_MEANING = {
    "sharpness": "Curvature of the loss on one frozen probe batch, nats, float32; lower is flatter: docs/sharpness.md.",
    SETS_FAMILY: "Right answers in percent of the questions of each set. Strict and flexible: the same texts as "
    "lm-eval reads them, sets with numbers alone: docs/evaluation.md.",
    SPLIT_FAMILY: "What the Hessian along the gradient, and what SAM and Functional-SAM (fsam) add to the gradient, "
    "are made of; the rest to 100 is the functional part.",
    "simplicity": "What is learned when, in fractions of the run: training examples, looked at along training. One "
    "that is never learned counts as 1.",
    "eigen_directions": "When each direction of the inputs' covariance is learned; 1 is the largest eigenvalue.",
    DECILE_FAMILY: "Yardstick: the shared probe, one for all rows; 1 holds the easiest tenth of the training examples, "
    "10 the hardest.",
}


def panel_grid(table: PanelTable) -> Grid:
    """One family: a mean and, where there are two seeds, the half-width of its 95% interval."""
    title = f"{place_of(table.standings)}: {table.family.replace('_', ' ')}"
    if table.minus is not None:
        title += f", nats, minus {' '.join(table.minus)}"
    names = [str(name) for name in table.mean]
    columns = [_column(table, name) for name in names]
    rows = [
        [Entry(optimizer), Entry(strategy), *(texts[place] for texts in columns)]
        for place, (optimizer, strategy) in enumerate(table.mean.index)
    ]
    return Grid(title, ["optimizer", "strategy", *(_header(table, name) for name in names)], rows, names=2)


def panel_notes_of(table: PanelTable) -> list[str]:
    """The lines that say what the family is, and how to read it."""
    notes = [_MEANING.get(table.family, "Numbers of a panel.")]
    if table.checks:
        said = ", ".join(f"{name.replace('_', ' ')} {value:.2g}" for name, value in table.checks.items())
        notes.append(f"Mode {table.mode.replace('_', ' ')}. Worst values of what is checked: {said} (gradients).")
    if table.minus is not None:
        notes.append(f"First row: losses of {' '.join(table.minus)}; below, differences from them, paired by seed.")
    inference = table.standings.inference
    several = len(table.standings.mean.columns) > 1
    over = " of means over models" if several else ""
    alike = inference.without_spread(table.mean, table.half_width, table.n)
    if np.isfinite(table.half_width.to_numpy()).any():
        interval = f"95% interval over seeds{over}{inference.validity}"
        absent = " None where all seeds gave the same number." * bool(alike.any())
        notes.append(f"±: half-width of the {interval}; no test, and nothing here is ranked.{absent}")
    else:
        notes.append("No ±: all seeds gave the same number." if alike.any() else inference.too_few)
    return notes


def _column(table: PanelTable, name: str) -> list[Entry]:
    texts = []
    for row, mean, width in zip(table.mean.index, table.mean[name], table.half_width[name], strict=True):
        if table.minus is None:
            text, beside = figure(mean, name), figure(width, name, digits=2)
        else:
            # Differences of one unit stand below each other, so they have as many decimals.
            text = NOTHING if np.isnan(mean) else f"{mean:.3f}" if row == table.minus else f"{mean:+.3f}"
            beside = f"{width:.3f}"
        texts.append(Entry(text + f" ±{beside}" * bool(np.isfinite(width))))
    return texts


def _header(table: PanelTable, name: str) -> str:
    if table.minus is not None:
        return name.partition("/")[2]
    percent = " %" if column(name).unit == "fraction" else ""
    base, _, part = name.replace("_", " ").partition("/")
    return f"{base}{percent} ({part})" if part else base + percent
