"""Intervals and p values that stay valid under any number of looks at a growing number of seeds."""

from __future__ import annotations

from typing import Any

from optbench.reports.stats import ALPHA, Array


def half_width_anytime(sd: Any, n: Any, *, level: float = ALPHA) -> Array:
    raise NotImplementedError


def p_anytime(mean: Any, sd: Any, n: Any) -> Array:
    raise NotImplementedError
