"""Intervals that hold at any number of looks, computed a second time: by bisection, from the e-value itself."""

from __future__ import annotations

import math
from functools import cache

PRIOR = 4.0
"""The variance of the prior of the effect size, as docs/sequential.md states it."""

ROUNDING = 1e-12
"""Of the largest number: a deviation no larger comes from sums in floating point."""


def log_e_value(t: float, n: int) -> float:
    """The logarithm of the ratio of the densities of n numbers of this t: effect size N(0, 4) against none."""
    spread, known = 1 + n * PRIOR, t * t / (n - 1)
    return -math.log(spread) / 2 + n / 2 * (math.log1p(known) - math.log1p(known / spread))


@cache
def critical(n: int, level: float) -> float:
    """The t at which the e-value is 1 / level; infinite where no t reaches that."""
    if n < 2:
        return math.inf
    high = 1.0
    while log_e_value(high, n) < -math.log(level):
        high *= 2
        if high > 1e12:
            return math.inf
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if log_e_value(middle, n) >= -math.log(level) else (middle, high)
    return high


def p_value(estimate: float, sd: float, n: int, *, counted: bool) -> float:
    """1 / the e-value, at most 1; without any spread as for one look."""
    if n < 2 or not (math.isfinite(estimate) and math.isfinite(sd)):
        return math.nan
    if sd == 0:
        return (1.0 if estimate == 0 else 0.0) if counted else math.nan
    return math.exp(-max(0.0, log_e_value(estimate / sd * math.sqrt(n), n)))
