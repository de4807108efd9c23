"""Figures inside a page: each as SVG or, where that is large, as PNG; as a data URI."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from optbench.reports.leaderboard import Report

TYPES = {"svg": "image/svg+xml", "png": "image/png"}
SHARP = 200_000
"""Bytes that an SVG, sharp at every size, may take; above, the smaller of the two formats is taken."""


@dataclass(frozen=True)
class Picture:
    """A figure: its name, what it shows, its data URI, and its size in bytes before encoding."""

    name: str
    caption: str
    uri: str
    bytes: int


def pictures_of(figures: Mapping[str, Figure], report: Report) -> list[Picture]:
    """The figures of a report as pictures, in their order."""
    from optbench.charts.charts import caption_of

    return [picture_of(name, figure, caption_of(name, report)) for name, figure in figures.items()]


def picture_of(name: str, figure: Figure, caption: str) -> Picture:
    """A figure as a picture."""
    from optbench.charts.files import rendered

    format, content = "svg", rendered(figure, "svg")
    if len(content) > SHARP:
        format, content = min(("svg", content), ("png", rendered(figure, "png")), key=lambda pair: len(pair[1]))
    uri = f"data:{TYPES[format]};base64,{base64.b64encode(content).decode()}"
    return Picture(name, caption, uri, len(content))
