"""What a figure says of its bars and bands: which interval they are, and why there is none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from optbench.reports.inference import Inference

if TYPE_CHECKING:
    from optbench.reports.standings import Standings


def bars_note(table: Standings) -> str:
    """Of a scatter chart of the scores of the table."""
    if table.seeds < 2:
        return "One seed: no interval exists."
    absent = " None where all seeds scored the same." * bool(table.alike.to_numpy().any())
    return f"Bars: {table.inference.name}.{absent}"


def bands_note(inference: Inference, lines: Iterable[tuple[Any, Any, int]]) -> str:
    """Of a chart of lines, each as means and half-widths [points], and how many seeds."""
    drawn = list(lines)
    if max(seeds for _, _, seeds in drawn) < 2:
        return "One seed: no band exists."
    absent = any(inference.without_spread(*line).any() for line in drawn)
    return f"Bands: {inference.name}.{' None where all seeds agree.' * absent}"
