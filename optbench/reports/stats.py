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


def half_width_chosen(sd: Any, n: Any, rows: int) -> Array:
    """The half-width of the interval of a row that was chosen by its own mean among `rows`, elementwise.

    The t interval at 5% / rows: all rows are in theirs at once with a chance of 95%, so the chosen one is, whichever it
    was (Bonferroni). The best of several equal rows looks better than it is, and its own interval does not know.
    """
    return half_width(sd, n, level=ALPHA / max(rows, 1))


def half_width_all(sd: Any, question_se: Any, n: Any) -> Array:
    """The half-width of the interval for all questions that could be asked, elementwise, and not only for those asked.

    t(0.975, n - 1) * sqrt(sd^2 / n + question_se^2). Infinite also where the standard error over questions is unknown.
    The two errors share the chance in single answers, so this is too wide rather than too narrow.
    """
    return half_width(np.hypot(sd, np.asarray(question_se, float) * np.sqrt(n)), n)


def t_interval(values: Sequence[float] | Array) -> tuple[float, float]:
    """The mean of `values` and the half-width of its 95% interval; (NaN, inf) where there are none."""
    numbers = np.asarray(values, float)
    if len(numbers) == 0:
        return math.nan, math.inf
    sd = float(np.std(numbers, ddof=1)) if len(numbers) > 1 and np.isfinite(numbers).all() else math.nan
    return float(np.mean(numbers)), float(half_width(sd, len(numbers)))


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


def holm(p_values: Sequence[float] | Array) -> Array:
    """Holm's step-down adjustment of the p values of all declared contrasts, at most 1.

    The k-th smallest becomes the running maximum of (m - k + 1) p. A NaN stays NaN and still counts in m: a contrast
    that was declared belongs to the family, also while it cannot be tested.
    """
    p = np.asarray(p_values, float)
    adjusted = np.full(p.shape, math.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = len(p) - np.arange(len(order))
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


def not_resolved_from_best(values: Array, *, higher: bool) -> Array:
    """Which rows of `values` [rows, seeds] are the best or not resolved from it, by paired differences over seeds.

    NaN marks a seed that a row does not have. Rows without any number, or with an infinite one, are never in the
    group. Each row is tested against the one with the best mean, on the seeds that both have, two-sided at
    5% / (rows - 1). Bonferroni and not Holm, because the best row is chosen by the same data: the group then holds the
    truly best row with a chance of at least 97.5%, whichever was chosen. A row that cannot be tested (fewer than two
    common seeds) is not resolved.
    """
    scores, group = _comparable(values, higher=higher)
    if group.sum() > 1:
        best = scores[best_row(values, higher=higher)]
        beaten = _better(best[None], scores[group], level=ALPHA / (group.sum() - 1))[0]
        group[group] = ~beaten
    return group


def best_row(values: Array, *, higher: bool) -> int:
    """The place of the row with the best mean, the first of equal ones; -1 where no row can be compared.

    This is the row that `not_resolved_from_best` tests the others against.
    """
    scores, comparable = _comparable(values, higher=higher)
    if not comparable.any():
        return -1
    return int(np.flatnonzero(comparable)[np.nanmean(scores[comparable], axis=1).argmax()])


def resolved_pairs(values: Array, *, higher: bool) -> Array:
    """Whether row i of `values` [rows, seeds] is resolved as better than row j, as a boolean matrix [i, j].

    The data choose which pairs are looked at, so the level is 5% / (k (k - 1) / 2) for k comparable rows, two-sided:
    the chance that any pair without a difference is resolved is at most 5%. Rows without any number, or with an
    infinite one, are resolved from none.
    """
    scores, comparable = _comparable(values, higher=higher)
    found = np.zeros((len(scores), len(scores)), dtype=bool)
    if comparable.sum() > 1:
        rows = scores[comparable]
        level = ALPHA / math.comb(len(rows), 2)
        found[np.ix_(comparable, comparable)] = _better(rows, rows, level=level)
    return found


def supported_as_best(values: Array, *, higher: bool) -> Array:
    """Which rows may be set in bold, a stronger claim than a tie with the best.

    Such a row is not resolved from the best, has a better mean than every row that is, and is itself resolved from one
    of those: so nothing is bold for want of data alone. With one seed there is no such row.

    Here two rows are compared that both were chosen by the data, which may be any two of the k: the level is
    5% / (k (k - 1) / 2), two-sided. Where no row differs from any other, something is bold with a chance of at most
    5%, and of 3% in simulations of 7 rows at 5 seeds and of 21 rows at 12; with 5% / (k - 1) it was 10% and 21%.
    """
    scores, comparable = _comparable(values, higher=higher)
    tied = not_resolved_from_best(values, higher=higher)
    beaten: Array = comparable & ~tied
    if not beaten.any():
        return beaten
    better = _better(scores[tied], scores[beaten], level=ALPHA / math.comb(int(comparable.sum()), 2))
    above = np.nanmean(scores[tied], axis=1) > np.nanmean(scores[beaten], axis=1).max()
    tied[tied] = np.any(better, axis=1) & above
    return tied


def _comparable(values: Array, *, higher: bool) -> tuple[Array, Array]:
    """The values with higher as better, and which rows hold numbers, all of them finite."""
    scores = values if higher else -values
    comparable: Array = ~np.all(np.isnan(scores), axis=1) & ~np.any(np.isinf(scores), axis=1)
    return scores, comparable


def _better(rows: Array, others: Array, *, level: float) -> Array:
    """Whether each of `rows` is resolved as higher than each of `others`, as a matrix [rows, others]."""
    differences = rows[:, None] - others[None]
    n = (~np.isnan(differences)).sum(axis=2)
    mean = np.nansum(differences, axis=2) / np.maximum(n, 1)
    deviations = np.nan_to_num(differences - mean[..., None])
    sd = np.sqrt((deviations**2).sum(axis=2) / np.maximum(n - 1, 1))
    better: Array = (t_p_value(mean, sd, n) < level) & (mean > 0)
    return better
