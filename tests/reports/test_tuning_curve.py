"""The best of k trials against an enumeration of every choice."""

import itertools
import math

import pytest

from optbench.reports.tuning_curve import best_so_far, expected_best


def enumerated(scores, higher, worst):
    """The mean best of k over every subset, one by one."""
    values = [worst if score is None else score for score in scores]
    means = []
    for k in range(1, len(values) + 1):
        best = [(max if higher else min)(chosen) for chosen in itertools.combinations(values, k)]
        means.append(math.fsum(best) / len(best))
    return means


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize(
    "scores", [[0.3], [0.5, 0.2, 0.9], [0.1, 0.1, 0.4, 0.4, 0.2], [3.0, -1.0, 2.5, 7.0, 0.0, 1e-9, 4.0, 4.5]]
)
def test_the_curve_is_the_mean_over_all_choices(scores, higher):
    found = expected_best(scores, "higher" if higher else "lower", math.nan)
    assert found == pytest.approx(enumerated(scores, higher, math.nan), rel=1e-12)
    assert found[-1] == (max if higher else min)(scores)
    assert found[0] == pytest.approx(sum(scores) / len(scores))


def test_the_order_of_the_trials_moves_nothing():
    curves = {tuple(expected_best(order, "lower", math.inf)) for order in itertools.permutations([0.4, 0.1, None, 0.3])}
    assert len(curves) == 1


def test_a_failure_counts_as_the_worst_score_where_that_is_a_number():
    scores = [0.5, None, 0.2, None, 0.9]
    assert expected_best(scores, "higher", 0.0) == pytest.approx(enumerated(scores, True, 0.0))
    # Also among scores that are no better.
    scores = [None, 0.0, -1.0, 0.4]
    assert expected_best(scores, "higher", 0.0) == pytest.approx(enumerated(scores, True, 0.0))


def test_where_the_worst_is_infinite_the_curve_begins_where_not_all_can_have_failed():
    scores = [0.5, None, 0.2, None, 0.9]
    found = expected_best(scores, "lower", math.inf)
    assert found[:2] == [None, None]
    # Of three, two may be failures: whatever number stands for them, it is never the best.
    assert found[2:] == pytest.approx(enumerated(scores, False, 1e12)[2:], rel=1e-12)
    assert expected_best([None, None], "lower", math.inf) == [None, None]
    assert expected_best([], "lower", math.inf) == []


def test_the_best_so_far_keeps_the_order():
    assert best_so_far([None, 0.5, 0.7, None, 0.3], "lower") == [None, 0.5, 0.5, 0.5, 0.3]
    assert best_so_far([0.5, 0.7, None], "higher") == [0.5, 0.7, 0.7]
