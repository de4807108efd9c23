"""The sequential t test beside what it is derived from: integrals, a search and simulated sequences."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from optbench.reports.sequential import (
    EFFECT_VARIANCE,
    critical_t,
    half_width_all_anytime,
    half_width_anytime,
    joint_level,
    log_e_coin,
    log_e_value,
    p_anytime,
    power_anytime,
    seeds_needed_anytime,
)
from optbench.reports.stats import half_width, seeds_needed, t_p_value
from optbench.rng import stream
from optbench.sequential.simulation import anytime, t_values


@pytest.mark.parametrize(("t", "n"), [(0.0, 2), (1.3, 2), (3.0, 5), (-2.2, 12), (4.0, 40)])
def test_the_e_value_is_the_ratio_of_the_densities_of_t(t, n):
    spread = math.sqrt(EFFECT_VARIANCE)
    mixed, _ = integrate.quad(
        lambda effect: stats.nct.pdf(t, n - 1, effect * math.sqrt(n)) * stats.norm.pdf(effect, 0, spread),
        -8 * spread,
        8 * spread,
        points=[t / math.sqrt(n)],
        limit=200,
    )
    expected = math.log(mixed / stats.t.pdf(t, n - 1))
    assert float(log_e_value(t / math.sqrt(n), 1.0, n)) == pytest.approx(expected, abs=1e-9)
    gain, squared = 1 + n * EFFECT_VARIANCE, t**2 / (n - 1)
    closed = -math.log(gain) / 2 + n / 2 * math.log((1 + squared) / (1 + squared / gain))
    assert float(log_e_value(t / math.sqrt(n), 1.0, n)) == pytest.approx(closed, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_the_e_value_is_1_on_average_where_there_is_no_effect(n):
    # Over the distribution of t, in log t so that the long tail is seen.
    def part(x):
        t = math.exp(x)
        return 2 * t * math.exp(stats.t.logpdf(t, n - 1) + float(log_e_value(t / math.sqrt(n), 1.0, n)))

    mean, _ = integrate.quad(part, -25, 25, limit=500)
    assert mean == pytest.approx(1.0, abs=1e-6)


def test_the_e_value_is_a_martingale():
    # Given five numbers, the expectation over the sixth under mu = 0, sigma having its posterior, is today's value. The
    # invariant says nothing of sigma, so the sixth is drawn from t with 5 degrees of freedom, scaled by their square.
    numbers = np.array([0.3, -0.2, 1.1, 0.4, 0.9])
    today = math.exp(float(log_e_value(numbers.mean(), numbers.std(ddof=1), 5)))
    scale = math.sqrt((numbers**2).mean())

    def part(x):
        six = np.append(numbers, x)
        return stats.t.pdf(x / scale, 5) / scale * math.exp(float(log_e_value(six.mean(), six.std(ddof=1), 6)))

    mean = sum(integrate.quad(part, *ends, limit=300)[0] for ends in ((-np.inf, -3), (-3, 3), (3, np.inf)))
    assert mean == pytest.approx(today, rel=1e-6)


@pytest.mark.parametrize("level", [0.05, 0.05 / 3])
@pytest.mark.parametrize("n", [5, 6, 20, 300])
def test_the_interval_ends_where_the_e_value_reaches_1_over_the_level(n, level):
    width = float(half_width_anytime(2.5, n, level=level))
    assert float(log_e_value(width, 2.5, n)) == pytest.approx(-math.log(level))
    assert float(p_anytime(width, 2.5, n)) == pytest.approx(level)
    assert width == pytest.approx(float(critical_t(n, level=level)) * 2.5 / math.sqrt(n))
    # And the means inside are those of a smaller e-value.
    assert float(p_anytime(0.99 * width, 2.5, n)) > level > float(p_anytime(1.01 * width, 2.5, n))


def test_widths_of_few_seeds_are_those_of_the_documentation():
    widths = half_width_anytime(1.0, [3, 4, 5, 6, 8, 10, 20, 50])
    assert widths == pytest.approx([math.inf, 3.61, 2.40, 1.93, 1.49, 1.26, 0.81, 0.50], abs=0.005)
    # Wider than an interval of one look, at every n.
    n = np.arange(2, 400)
    assert (half_width_anytime(1.0, n) > half_width(1.0, n)).all()


def test_of_too_few_seeds_nothing_can_be_said():
    n = np.array([1, 2, 3])
    assert np.isinf(half_width_anytime(1.0, n)).all()
    # However clear the numbers are.
    assert (p_anytime(1.0, 1e-9, n[1:]) > 0.05).all()
    assert float(p_anytime(1.0, 1e-9, 4)) < 0.05
    assert np.isinf(half_width_anytime(1.0, 4, level=1e-3))


def test_what_is_not_known_stays_so():
    assert half_width_anytime([0.0, math.nan, math.inf, 0.0], [5, 5, 5, 1]).tolist() == [0.0, *[math.inf] * 3]
    p = p_anytime([1.0, 1.0, math.nan, 1.0, math.inf], [0.0, math.nan, 1.0, 1.0, 1.0], [5, 5, 5, 1, 5])
    assert np.isnan(p).all()
    assert p_anytime([1.0, 0.0], [0.0, 0.0], 3, counted=True).tolist() == [0.0, 1.0]
    assert np.isnan(p_anytime(1.0, 0.0, 1, counted=True))
    assert np.isnan(log_e_value([0.0, math.nan, 1.0, 1.0], [0.0, 1.0, math.inf, 1.0], [5, 5, 5, 1])).all()


def test_p_is_at_most_1_and_never_overflows():
    assert float(p_anytime(0.0, 1.0, 50)) == 1.0
    assert float(p_anytime(1e-3, 1.0, 50)) == 1.0
    huge = p_anytime([1e300, 1e300, 1e-300], [1e300, 1e-300, 1e-300], 30)
    usual = float(p_anytime(1.0, 1.0, 30))
    assert huge == pytest.approx([usual, 0.0, usual], abs=1e-15)
    assert float(p_anytime(1e9, 1.0, 8)) == pytest.approx((1 + 8 * EFFECT_VARIANCE) ** -3.5)
    # Wider by so much than t asks for: the price of looking.
    assert float(p_anytime(1.0, 1.0, 10)) > 5 * float(t_p_value(1.0, 1.0, 10))


def test_scale_moves_nothing():
    assert float(p_anytime(-0.7, 0.5, 9)) == pytest.approx(float(p_anytime(1400.0, 1000.0, 9)), rel=1e-12)


def test_an_interval_misses_the_mean_at_any_look_with_a_chance_below_the_level():
    draws = stream(0, "coverage").standard_normal((4000, 300)) * 3 + 7
    k = np.arange(1, 301)
    mean = np.cumsum(draws, axis=1) / k
    sd = np.sqrt((np.cumsum((draws - 7) ** 2, axis=1) - k * (mean - 7) ** 2) / np.maximum(k - 1, 1))
    for level in (0.05, 0.2):
        missed = (np.abs(mean - 7) > half_width_anytime(sd, k, level=level))[:, 1:].any(axis=1).mean()
        # Not idle either: most of the level is there to be spent on more looks than 300.
        assert level / 3 < missed <= level
        assert missed == (np.abs(t_values(draws - 7)) > anytime(k, level)).any(axis=1).mean()


def test_the_error_over_questions_widens_it():
    critical = float(critical_t(8, level=0.02))
    expected = critical * math.hypot(0.03 / math.sqrt(8), 0.02)
    assert float(half_width_all_anytime(0.03, 0.02, 8, level=0.02)) == pytest.approx(expected)
    assert float(half_width_all_anytime(0.03, math.nan, 8)) == math.inf


@pytest.mark.parametrize(("effect", "level"), [(0.5, 0.05), (1.0, 0.05), (1.0, 0.01), (3.0, 0.05)])
def test_the_planned_number_of_seeds_is_the_least_that_has_the_power(effect, level):
    n = int(seeds_needed_anytime(2.0, 2.0 * effect, level=level))
    assert (
        power_anytime(2.0, 2.0 * effect, n, level=level) >= 0.8 > power_anytime(2.0, 2.0 * effect, n - 1, level=level)
    )
    draws = stream(n, "plan").standard_normal((4000, n)) + effect
    last = np.abs(t_values(draws)[:, -1]) >= critical_t(n, level=level)
    assert last.mean() == pytest.approx(power_anytime(1.0, effect, n, level=level), abs=0.025)
    assert n > seeds_needed(2.0, 2.0 * effect, level=level)


def test_seeds_cannot_be_planned_without_a_spread_or_for_no_difference():
    assert math.isnan(seeds_needed_anytime(math.nan, 0.01))
    assert math.isnan(seeds_needed_anytime(0.1, math.nan))
    assert seeds_needed_anytime(0.1, 0.0) == seeds_needed_anytime(50.0, 0.01) == math.inf
    # Without any spread, the first number of seeds of which anything can be said.
    assert seeds_needed_anytime(0.0, 0.01) == 4


def test_contrasts_share_the_level():
    assert (joint_level(0), joint_level(1), joint_level(4)) == (0.05, 0.05, 0.0125)


def test_the_e_value_of_a_coin_is_the_ratio_of_its_likelihoods():
    mixed, _ = integrate.quad(lambda chance: chance**6 * (1 - chance) * stats.beta.pdf(chance, 0.5, 0.5), 0, 1)
    assert math.exp(float(log_e_coin(6, 7))) == pytest.approx(mixed * 2**7, rel=1e-6)
    # A martingale: the mean over the next toss is today's value.
    tomorrow = np.exp(log_e_coin([3, 4], 6)).mean()
    assert tomorrow == pytest.approx(math.exp(float(log_e_coin(3, 5))))
    assert float(log_e_coin(0, 0)) == pytest.approx(0.0)


def test_a_fair_coin_is_called_unfair_in_few_sequences_of_tosses():
    heads = np.cumsum(stream(0, "coin").random((4000, 400)) < 0.5, axis=1)
    found = (log_e_coin(heads, np.arange(1, 401)) >= math.log(20)).any(axis=1)
    assert 0.01 < found.mean() <= 0.05
