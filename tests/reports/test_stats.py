"""Intervals, tests and plans over seeds."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from optbench.reports.inference import FIXED
from optbench.reports.resolution import not_resolved_from_best, supported_as_best
from optbench.reports.stats import (
    balanced_block,
    half_width,
    half_width_all,
    holm,
    power,
    seeds_needed,
    t_p_value,
)
from optbench.rng import stream


def test_interval_and_p_equal_those_of_a_one_sample_t_test():
    values = stream(0, "t").normal(0.3, 1.0, size=7)
    expected = reference.ttest_1samp(values, 0.0)
    mean, width = FIXED.interval(values)
    low, high = expected.confidence_interval(0.95)
    assert (mean - width, mean + width) == pytest.approx((low, high))
    assert float(t_p_value(mean, values.std(ddof=1), 7)) == pytest.approx(expected.pvalue)


def test_one_seed_proves_nothing():
    assert FIXED.interval([0.7]) == (0.7, math.inf)
    assert math.isnan(t_p_value(0.7, math.nan, 1))
    assert half_width(0.0, 1) == math.inf


def test_an_infinite_value_has_no_interval():
    assert FIXED.interval([0.7, math.inf, 0.2])[1] == math.inf


def test_numbers_that_no_seed_moves_differ_for_certain_and_equal_ones_do_not():
    assert t_p_value([300.0, 0.0], [0.0, 0.0], [3, 3], counted=True).tolist() == [0.0, 1.0]


def test_what_two_seeds_agree_on_by_coincidence_is_not_resolved():
    assert np.isnan(t_p_value([0.1, 0.0], [0.0, 0.0], [2, 2])).all()
    values = np.array([[0.5, 0.5], [0.4, 0.4], [0.1, 0.3]])
    assert not_resolved_from_best(values, higher=True, inference=FIXED).all()
    assert not supported_as_best(values, higher=True, inference=FIXED).any()


def test_power_is_one_far_above_the_noise():
    assert seeds_needed(1e-6, 0.01) == 2


@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_the_interval_covers_the_truth_where_seeds_dominate(seeds):
    draws = stream(seeds, "coverage").normal(0.0, 5.0, size=(4000, seeds))
    noise = stream(seeds, "questions").normal(0.0, 0.5, size=(4000, seeds))
    covered = [abs(mean) <= width for mean, width in map(FIXED.interval, draws + noise)]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_holm_equals_the_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.04], family=4) == pytest.approx([0.04, 0.12])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_holm_counts_a_contrast_that_cannot_be_tested():
    adjusted = holm([0.01, math.nan])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])


def test_holm_keeps_the_chance_of_any_false_claim_at_five_percent():
    rng = stream(0, "family")
    false, unadjusted = 0, 0
    for _ in range(2000):
        draws = rng.normal(0.0, 5.0, size=(8, 5))
        p = t_p_value(draws.mean(axis=1), draws.std(axis=1, ddof=1), 5)
        false += bool((holm(p) < 0.05).any())
        unadjusted += bool((p < 0.05).any())
    assert false / 2000 <= 0.065
    assert unadjusted / 2000 > 0.25


def test_the_planned_number_of_seeds_resolves_four_times_in_five():
    needed = int(seeds_needed(0.05, 0.03))
    draws = stream(0, "plan").normal(0.03, 0.05, size=(4000, needed))
    p = t_p_value(draws.mean(axis=1), draws.std(axis=1, ddof=1), needed)
    assert 0.78 <= np.mean(p < 0.05) <= 0.84
    assert power(0.05, 0.03, needed - 1) < 0.8 <= power(0.05, 0.03, needed)


def test_seeds_cannot_be_planned_without_a_spread_or_for_no_difference():
    assert math.isnan(seeds_needed(math.nan, 0.01))
    assert seeds_needed(0.05, 0.0) == math.inf
    assert seeds_needed(50.0, 0.01) == math.inf
    assert seeds_needed(0.0, 0.01) == 2


def test_the_balanced_block_drops_what_is_missing_most():
    present = np.ones((4, 3), dtype=bool)
    present[2] = [True, False, False]
    rows, columns = balanced_block(present)
    assert (rows.tolist(), columns.tolist()) == ([0, 1, 3], [0, 1, 2])
    present = np.ones((4, 3), dtype=bool)
    present[:, 2] = False
    rows, columns = balanced_block(present)
    assert (rows.tolist(), columns.tolist()) == ([0, 1, 2, 3], [0, 1])


def test_the_balanced_block_drops_a_seed_rather_than_a_pair():
    present = np.array([[True, True], [True, False]])
    rows, columns = balanced_block(present)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [0])


def test_the_balanced_block_of_nothing_is_empty():
    assert [part.tolist() for part in balanced_block(np.zeros((3, 2), dtype=bool))] == [[], []]


def test_pairing_resolves_one_point_under_seed_noise_of_five_and_two_samples_do_not():
    rng = stream(0, "pairing")
    seeds = rng.normal(0.0, 5.0, size=8)
    one, other = seeds + 1.0 + rng.normal(0, 0.3, size=8), seeds + rng.normal(0, 0.3, size=8)
    difference = one - other
    assert t_p_value(difference.mean(), difference.std(ddof=1), 8) < 0.05
    assert reference.ttest_ind(one, other, equal_var=False).pvalue > 0.5
    assert not_resolved_from_best(np.stack([one, other]), higher=True, inference=FIXED).tolist() == [True, False]


def test_the_tie_group_holds_the_truly_best_row():
    rng = stream(0, "ties")
    tables = (rng.normal(0.0, 1.0, size=(10, 5)) + np.eye(10, 1) * 0.2 for _ in range(1500))
    held = [not_resolved_from_best(table, higher=True, inference=FIXED)[0] for table in tables]
    assert np.mean(held) >= 0.965


@pytest.mark.parametrize(("rows", "seeds"), [(7, 5), (21, 12)])
def test_where_no_row_differs_something_is_bold_in_few_tables(rows, seeds):
    rng = stream(rows, "bold")
    shared = rng.normal(size=(1500, 1, seeds))
    tables = shared + rng.normal(size=(1500, rows, seeds))
    # Two standard errors of 1500 tables above 5%; 3% expected.
    assert np.mean([supported_as_best(table, higher=True, inference=FIXED).any() for table in tables]) <= 0.06


def test_the_interval_for_all_questions_adds_their_error_to_that_of_the_seeds():
    expected = reference.t.ppf(0.975, 4) * math.hypot(0.03 / math.sqrt(5), 0.02)
    assert float(half_width_all(0.03, 0.02, 5)) == pytest.approx(expected)
    assert float(half_width_all(0.03, math.nan, 5)) == float(half_width_all(0.03, 0.02, 1)) == math.inf


def test_lower_is_better_where_the_column_says_so():
    values = np.array([[1.0, 1.1, 1.2], [5.0, 5.1, 5.3]])
    assert not_resolved_from_best(values, higher=False, inference=FIXED).tolist() == [True, False]
    assert not_resolved_from_best(values, higher=True, inference=FIXED).tolist() == [False, True]


def test_an_infinite_or_empty_row_is_in_no_tie():
    values = np.array([[1.0, 1.1], [math.inf, 1.0], [math.nan, math.nan]])
    assert not_resolved_from_best(values, higher=False, inference=FIXED).tolist() == [True, False, False]


def test_nothing_is_supported_with_one_seed():
    values = np.array([[0.9], [0.1]])
    assert not_resolved_from_best(values, higher=True, inference=FIXED).tolist() == [True, True]
    assert supported_as_best(values, higher=True, inference=FIXED).tolist() == [False, False]


def test_a_row_that_is_tied_for_want_of_data_alone_is_not_supported():
    best, worse = [0.90, 0.91, 0.92], [0.50, 0.51, 0.521]
    unknown = [0.10, math.nan, math.nan]
    lucky = [0.99, math.nan, math.nan]
    values = np.array([best, worse, unknown])
    assert not_resolved_from_best(values, higher=True, inference=FIXED).tolist() == [True, False, True]
    assert supported_as_best(values, higher=True, inference=FIXED).tolist() == [True, False, False]
    assert not supported_as_best(np.array([best, worse, lucky]), higher=True, inference=FIXED).any()
    above = [0.93, math.nan, math.nan]
    values = np.array([[0.95, 0.96, 0.973], above, worse])
    assert supported_as_best(values, higher=True, inference=FIXED).tolist() == [True, False, False]
