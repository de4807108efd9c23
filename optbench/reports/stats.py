"""Intervals, tests and seed planning over a handful of seeds.

The unit of replication is the seed: every figure is one number per seed first (averaged over models or whatever else is
pooled), and Student's t over these numbers after. With one seed nothing is known about the spread: the half-width is
infinite and p is NaN. The level is 5% everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import nctdtr, stdtr, stdtrit

ALPHA = 0.05
MOST_SEEDS = 10_000

Array = np.ndarray[Any, np.dtype[Any]]


def half_width(sd: Any, n: Any, *, level: float = ALPHA) -> Array:
    """The half-width of the t interval of a mean, elementwise: t(1 - level / 2, n - 1) * sd / sqrt(n); 95% if not told.

    `sd` is the sample standard deviation (n - 1 in its denominator). Infinite where n is below 2 or sd is not a finite
    number. It is 0 where all n numbers are equal, as they are for counts that no seed moves.
    """
    spread, count = np.broadcast_arrays(np.asarray(sd, float), np.asarray(n, float))
    width = np.full(spread.shape, math.inf)
    known = (count >= 2) & np.isfinite(spread)
    width[known] = stdtrit(count[known] - 1, 1 - level / 2) * spread[known] / np.sqrt(count[known])
    return width


def half_width_all(sd: Any, question_se: Any, n: Any) -> Array:
    """The half-width of the interval for all questions that could be asked, elementwise, and not only for those asked.

    t(0.975, n - 1) * sqrt(sd^2 / n + question_se^2). Infinite also where the standard error over questions is unknown.
    The two errors share the chance in single answers, so this is too wide rather than too narrow.
    """
    return half_width(np.hypot(sd, np.asarray(question_se, float) * np.sqrt(n)), n)


def t_p_value(mean: Any, sd: Any, n: Any, *, counted: bool = False) -> Array:
    """The two-sided p of Student's t against a mean of 0, elementwise.

    NaN where n is below 2 or mean or sd is not finite. Without any spread, numbers that are `counted` and that no seed
    moves (passes, say) differ for certain: p is 0, or 1 for a mean of exactly 0. Of anything else nothing is known
    then, and p is NaN: a few questions answered alike by two seeds are a coincidence that happens in one of ten.
    """
    m, s, count = np.broadcast_arrays(np.asarray(mean, float), np.asarray(sd, float), np.asarray(n, float))
    p = np.full(m.shape, math.nan)
    known = (count >= 2) & np.isfinite(m) & np.isfinite(s)
    if counted:
        p[known] = np.where(m[known] == 0, 1.0, 0.0)
    spread = known & (s > 0)
    t = np.abs(m[spread]) / (s[spread] / np.sqrt(count[spread]))
    p[spread] = 2 * stdtr(count[spread] - 1, -t)
    return p


def holm(p_values: Sequence[float] | Array, *, family: int = 0) -> Array:
    """Holm's step-down adjustment of the p values of all declared contrasts, at most 1.

    The k-th smallest becomes the running maximum of (m - k + 1) p, with m the number of p values, or `family` where
    that is larger. A NaN stays NaN and still counts in m: a contrast that was declared belongs to the family, also
    while it cannot be tested or is left out of what is shown.
    """
    p = np.asarray(p_values, float)
    adjusted = np.full(p.shape, math.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = max(len(p), family) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted


def power(sd: float, difference: float, n: int, level: float = ALPHA) -> float:
    """The chance that n paired seeds resolve a true `difference` at two-sided `level`, in its own direction.

    `sd` is the standard deviation of the per-seed differences. From the noncentral t distribution.
    """
    if sd == 0:
        return 1.0
    critical = stdtrit(n - 1, 1 - level / 2)
    # Far out in the tail the distribution function comes back as NaN for what is 0.
    return float(1 - np.nan_to_num(nctdtr(n - 1, abs(difference) * math.sqrt(n) / sd, critical)))


def seeds_needed(sd: float, difference: float, *, level: float = ALPHA, chance: float = 0.8) -> float:
    """The least number of paired seeds that resolves a true `difference` with the given `chance`.

    Not the number whose interval is as wide as the difference: that one fails every other time. `sd` is itself an
    estimate, so from few seeds this is a rough plan. Infinite above 10,000 seeds or for a difference of 0; NaN where
    sd or the difference is not known.
    """
    if not (math.isfinite(sd) and math.isfinite(difference)):
        return math.nan
    if difference == 0 or power(sd, difference, MOST_SEEDS, level) < chance:
        return math.inf
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(sd, difference, middle, level) >= chance else (middle, high)
    return float(high)


def balanced_block(present: Array) -> tuple[Array, Array]:
    """Rows and columns of the boolean matrix `present` between which nothing is missing, as index arrays.

    Found greedily: the row or column with the largest missing share is dropped until none is missing. An average over
    a ragged set would mix what is pooled with the seed; this one cannot. At a tie a column (a seed) goes, since
    dropping a row (a pair of arms) would change what is estimated.
    """
    rows, columns = np.arange(present.shape[0]), np.arange(present.shape[1])
    while True:
        missing = ~present[np.ix_(rows, columns)]
        if missing.size == 0 or not missing.any():
            break
        by_row, by_column = missing.mean(axis=1), missing.mean(axis=0)
        if by_column.max() >= by_row.max():
            columns = np.delete(columns, by_column.argmax())
        else:
            rows = np.delete(rows, by_row.argmax())
    if len(rows) == 0 or len(columns) == 0:
        return rows[:0], columns[:0]
    return rows, columns
