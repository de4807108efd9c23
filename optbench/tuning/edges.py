"""Chosen values at the edge of what was searched: a better one may lie beyond."""

from __future__ import annotations

import math
from typing import Literal

from optbench.optim.search import Choice
from optbench.tuning.record import Study

NEAR = 0.05
"""The share of a range, on its scale, that counts as its edge."""


def edges_of(study: Study) -> dict[str, Literal["low", "high"]]:
    """The paths whose chosen value lies within 5% of the end of its range, or beyond it, as the suite's own may, and
    which end that is. Choices have no edge."""
    found: dict[str, Literal["low", "high"]] = {}
    for path, dimension in study.space.items():
        value = study.chosen.get(path)
        if isinstance(dimension, Choice) or not isinstance(value, int | float):
            continue
        if dimension.log and value <= 0:
            found[path] = "low"
            continue
        low, high, at = (math.log(x) if dimension.log else x for x in (dimension.low, dimension.high, value))
        share = (at - low) / (high - low)
        if share <= NEAR:
            found[path] = "low"
        elif share >= 1 - NEAR:
            found[path] = "high"
    return found
