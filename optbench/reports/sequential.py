"""Intervals and p values that stay valid under any number of looks at a growing number of seeds.

Whoever looks after every seed and stops when a t interval excludes 0 finds a difference sooner or later, also where
there is none. What is here may be looked at after every seed, and stopped by any rule: the chance that an interval
misses the true mean at *any* of its looks, however many there are, is at most its level.

It is the sequential t test. Let x_1, x_2, ... be independent N(mu, sigma^2). What is left of x_1 ... x_n when the scale
is forgotten, (x_1 / |x_1|, ..., x_n / |x_1|), has under mu = 0 a density without any unknown, and under an effect size
delta = mu / sigma that is itself drawn from N(0, g) another one. Their ratio is a martingale of mean 1 under mu = 0,
whatever sigma is; with nu = n - 1 and t = sqrt(n) mean / sd it is

    E_n = (1 + n g)^(-1/2) [ (1 + t^2 / nu) / (1 + t^2 / ((1 + n g) nu)) ]^(n / 2),

and it ever reaches 1 / level with a chance of at most level (Ville). The means mu0 for which E_n of x - mu0 is below
1 / level are an interval. The sequence is that of Lai, On confidence sequences, Ann. Statist. 4 (1976) 265-280; the
prior on the effect size that of Wang and Ramdas, Anytime-valid t-tests and confidence sequences for Gaussian means with
unknown variance, arXiv:2310.03722 (2024). docs/sequential.md derives it and says why g is 4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import betaln, nctdtr

from optbench.reports.stats import ALPHA, MOST_SEEDS, Array

EFFECT_VARIANCE = 4.0
"""g: the variance of the prior of the effect size, in units of the variance of the numbers per seed. The same for all
suites: where it is chosen by the data that it judges, the level does not hold."""


def joint_level(contrasts: int) -> float:
    """The level of each interval of so many contrasts that makes all of them hold at once with a chance of 95%."""
    return ALPHA / max(contrasts, 1)


def log_e_value(mean: Any, sd: Any, n: Any) -> Array:
    """log E_n of a mean of 0, elementwise; NaN where n is below 2, or mean or sd is not finite, or both are 0.

    `sd` is the sample standard deviation (n - 1 in its denominator). With q = n mean^2 / (n mean^2 + nu sd^2), the
    share of the sum of squares that the mean takes, t^2 / nu = q / (1 - q), and

        log E_n = -log(1 + n g) / 2 - n / 2 log(1 - q n g / (1 + n g)),

    which no size of t can overflow.
    """
    m, s, count = np.broadcast_arrays(np.asarray(mean, float), np.asarray(sd, float), np.asarray(n, float))
    log_e = np.full(m.shape, math.nan)
    known = (count >= 2) & np.isfinite(m) & np.isfinite(s) & ((m != 0) | (s != 0))
    m, s, count = m[known], s[known], count[known]
    # The larger of the two first: their squares may be beyond the range of floats.
    largest = np.maximum(np.abs(m), s)
    of_mean, of_spread = count * (m / largest) ** 2, (count - 1) * (s / largest) ** 2
    share = of_mean / (of_mean + of_spread)
    gain = 1 + count * EFFECT_VARIANCE
    log_e[known] = -np.log(gain) / 2 - count / 2 * np.log1p(-share * (1 - 1 / gain))
    return log_e


def p_anytime(mean: Any, sd: Any, n: Any, *, counted: bool = False) -> Array:
    """The p of a mean of 0 that is valid at any look, elementwise: min(1, 1 / E_n), of this look alone.

    Under the null, the chance that it is ever at or below a is at most a, for every a. So it may be read whenever one
    stops. The smallest p of all looks so far would be valid, too; it is not used, for it and the interval of the last
    look could then say different things, and a report would depend on when one had looked.

    NaN where n is below 2 or mean or sd is not finite, and where there is no spread; numbers that are `counted` and
    have none differ for certain: p is 0, or 1 for a mean of exactly 0 (as in `t_p_value`).
    """
    m, s, count = np.broadcast_arrays(np.asarray(mean, float), np.asarray(sd, float), np.asarray(n, float))
    p = np.full(m.shape, math.nan)
    known = (count >= 2) & np.isfinite(m) & np.isfinite(s)
    if counted:
        p[known] = np.where(m[known] == 0, 1.0, 0.0)
    spread = known & (s > 0)
    p[spread] = np.exp(-np.maximum(log_e_value(m[spread], s[spread], count[spread]), 0.0))
    return p


def log_e_coin(heads: Any, tosses: Any) -> Array:
    """log of the e-value of a fair coin, elementwise: the sign test that may be looked at after every toss.

    E = 2^tosses B(heads + 1/2, tails + 1/2) / B(1/2, 1/2): the likelihood of the tosses under a chance of heads that is
    itself drawn from Beta(1/2, 1/2), over that of a fair coin. A martingale of mean 1 where the coin is fair, so that
    it ever reaches 1 / level with a chance of at most level; and where it does, every chance of heads on the other side
    of 1/2 has a larger e-value still, so that the direction is shown, too.
    """
    k, n = np.broadcast_arrays(np.asarray(heads, float), np.asarray(tosses, float))
    log_e: Array = n * math.log(2) + betaln(k + 0.5, n - k + 0.5) - betaln(0.5, 0.5)
    return log_e


def critical_t(n: Any, *, level: float = ALPHA) -> Array:
    """The |t| at and above which n numbers are resolved at any look, elementwise; infinite where none is.

    E_n = 1 / level solved for t: t^2 = nu (K - 1) / (1 - K / (1 + n g)) with K = (sqrt(1 + n g) / level)^(2 / n), where
    K < 1 + n g. Of so few numbers that K is larger nothing can be said at this level: three or fewer at 5%.
    """
    count = np.asarray(n, float)
    critical = np.full(count.shape, math.inf)
    enough = count >= 2
    log_gain = np.log1p(count[enough] * EFFECT_VARIANCE)
    log_k = (log_gain - 2 * math.log(level)) / count[enough]
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = (count[enough] - 1) * np.expm1(log_k) / -np.expm1(log_k - log_gain)
        critical[enough] = np.where(log_k < log_gain, np.sqrt(squared), math.inf)
    return critical


def half_width_anytime(sd: Any, n: Any, *, level: float = ALPHA) -> Array:
    """The half-width of the interval of a mean that is valid at any number of looks, elementwise.

    critical_t sd / sqrt(n), so that the chance that the interval misses the true mean at any look is at most `level`.
    `sd` is the sample standard deviation. Infinite where n is too small for the level (see `critical_t`) or sd is not a
    finite number; 0 where two or more numbers are all equal, as they are for counts that no seed moves.
    """
    spread, count = np.broadcast_arrays(np.asarray(sd, float), np.asarray(n, float))
    width = np.full(spread.shape, math.inf)
    known = (count >= 2) & np.isfinite(spread) & (spread > 0)
    width[known] = critical_t(count[known], level=level) * spread[known] / np.sqrt(count[known])
    width[(count >= 2) & (spread == 0)] = 0.0
    return width


def half_width_all_anytime(sd: Any, question_se: Any, n: Any, *, level: float = ALPHA) -> Array:
    """`half_width_anytime` for all questions that could be asked: their error is added to that of the seeds.

    critical_t sqrt(sd^2 / n + question_se^2), as `optbench.reports.stats.half_width_all` does it, and infinite where
    the standard error over questions is unknown. Too wide rather than too narrow.
    """
    return half_width_anytime(np.hypot(sd, np.asarray(question_se, float) * np.sqrt(n)), n, level=level)


def power_anytime(sd: float, difference: float, n: int, *, level: float = ALPHA) -> float:
    """The chance that the look at n seeds resolves a true `difference`, in its own direction.

    `sd` is the standard deviation of the per-seed differences. An earlier look may have resolved it already, so the
    chance of being resolved by then is somewhat larger. From the noncentral t distribution.
    """
    critical = float(critical_t(n, level=level))
    if math.isinf(critical):
        return 0.0
    if sd == 0:
        return 1.0
    # Far out in the tail the distribution function comes back as NaN for what is 0.
    return float(1 - np.nan_to_num(nctdtr(n - 1, abs(difference) * math.sqrt(n) / sd, critical)))


def seeds_needed_anytime(sd: float, difference: float, *, level: float = ALPHA, chance: float = 0.8) -> float:
    """The least number of paired seeds whose look resolves a true `difference` with the given `chance`.

    As `optbench.reports.stats.seeds_needed`, and under repeated looks. Infinite above 10,000 seeds or for a difference
    of 0; NaN where sd or the difference is not known.
    """
    if not (math.isfinite(sd) and math.isfinite(difference)):
        return math.nan
    if difference == 0 or power_anytime(sd, difference, MOST_SEEDS, level=level) < chance:
        return math.inf
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        reached = power_anytime(sd, difference, middle, level=level) >= chance
        low, high = (low, middle) if reached else (middle, high)
    return float(high)
