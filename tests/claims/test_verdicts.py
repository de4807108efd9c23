"""The rules, on intervals made by hand. The claimed bound is 1, the opposite one -1."""

import math

import pytest

from optbench.claims.verdicts import Verdict, deciding, of_conjunction, of_interval, over_choices, seeds_more

HOLDS, FAILS, NO_EFFECT = Verdict.HOLDS, Verdict.FAILS, Verdict.NO_EFFECT
UNDECIDED, UNDERDETERMINED = Verdict.UNDECIDED, Verdict.UNDERDETERMINED
NAN = math.nan


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (1.1, 3.0, 0.001, HOLDS),
        (1.1, 3.0, 0.0249, HOLDS),
        (1.1, 3.0, 0.025, UNDECIDED),  # beside the other tests it is not enough
        (1.1, 3.0, NAN, UNDECIDED),
        (1.0, 3.0, 0.001, UNDECIDED),  # touches the bound
        (0.5, 3.0, 0.2, UNDECIDED),  # positive for certain, and not more than the margin for certain
        (-0.5, 1.0, 0.5, UNDECIDED),
        (-2.0, 2.0, 0.5, UNDECIDED),
        (-0.9, 0.9, 0.9, NO_EFFECT),
        (0.1, 0.9, 0.9, NO_EFFECT),  # an effect there is, too small to matter
        (-0.9, -0.1, 0.99, NO_EFFECT),
        (-1.0, 0.9, 0.9, FAILS),  # touches the opposite bound
        (-3.0, 0.9, 0.9, FAILS),
        (-3.0, -2.0, 1.0, FAILS),  # the other way
        (NAN, NAN, NAN, UNDECIDED),
    ],
)
def test_an_interval_decides(low, high, p, verdict):
    assert of_interval(low, high, claimed=1.0, opposite=-1.0, p=p) is verdict


def test_at_most_one_verdict_fits_any_interval():
    ends = [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]
    for low in ends:
        for high in (end for end in ends if end >= low):
            verdict = of_interval(low, high, claimed=1.0, opposite=-1.0, p=0.0)
            assert (verdict is HOLDS) == (low > 1)
            assert (verdict in (FAILS, NO_EFFECT)) == (high < 1)
            assert (verdict is UNDECIDED) == (low <= 1 <= high)


@pytest.mark.parametrize(
    ("tests", "verdict"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, UNDECIDED], UNDECIDED),
        ([HOLDS, NO_EFFECT], NO_EFFECT),
        ([UNDECIDED, NO_EFFECT], NO_EFFECT),
        ([NO_EFFECT, FAILS], FAILS),
        ([UNDECIDED, FAILS, HOLDS], FAILS),
    ],
)
def test_all_tests_must_hold_and_one_contradicted_contradicts(tests, verdict):
    assert of_conjunction(tests) is verdict


@pytest.mark.parametrize(
    ("primary", "choices", "verdict"),
    [
        (HOLDS, [], HOLDS),
        (HOLDS, [UNDECIDED], HOLDS),
        (HOLDS, [HOLDS, FAILS], UNDERDETERMINED),
        (HOLDS, [NO_EFFECT], UNDERDETERMINED),
        (FAILS, [HOLDS], UNDERDETERMINED),
        (FAILS, [NO_EFFECT], FAILS),  # both contradict: no flip
        (UNDECIDED, [HOLDS, HOLDS], UNDECIDED),
        (UNDECIDED, [HOLDS, FAILS], UNDERDETERMINED),
        (UNDECIDED, [FAILS], UNDECIDED),
    ],
)
def test_choices_that_contradict_each_other_leave_a_claim_underdetermined(primary, choices, verdict):
    assert over_choices(primary, choices) is verdict


def test_the_figures_shown_are_those_of_the_first_test_with_the_verdict():
    assert deciding([HOLDS, FAILS, FAILS], FAILS) == 1
    assert deciding([HOLDS, HOLDS], UNDERDETERMINED) == 0


def test_what_did_not_decide_asks_for_one_more_seed_at_least():
    assert seeds_more(5.0, 12) == 1
    assert seeds_more(20.0, 12) == 8
    assert seeds_more(math.inf, 12) == math.inf
    assert math.isnan(seeds_more(NAN, 12))
