"""What a budget can resolve, by the closed form and by simulation."""

import math

import numpy as np
import pytest

from optbench.reports.sequential import half_width_anytime, power_anytime
from optbench.rng import stream
from optbench.sequential.allocation import Open
from optbench.sequential.foresight import foresee, least_difference


@pytest.mark.parametrize(("n", "level"), [(6, 0.05), (12, 0.0125), (40, 0.05)])
def test_the_least_difference_is_resolved_four_times_in_five(n, level):
    sd = 0.03
    difference = least_difference(sd, n, level=level)
    assert power_anytime(sd, difference, n, level=level) == pytest.approx(0.8)
    numbers = stream(n, "foresight").normal(difference, sd, size=(20_000, n))
    mean, spread = numbers.mean(axis=1), numbers.std(axis=1, ddof=1)
    resolved = mean - half_width_anytime(spread, n, level=level) > 0
    assert resolved.mean() == pytest.approx(0.8, abs=0.01)


def test_by_the_end_it_is_resolved_a_little_more_often():
    """The chance that any look so far excluded 0: the closed form is of the last one alone."""
    sd, n = 0.03, 15
    difference = least_difference(sd, n, level=0.05)
    numbers = stream(1, "foresight").normal(difference, sd, size=(10_000, n))
    ever = np.zeros(len(numbers), dtype=bool)
    for seeds in range(4, n + 1):
        head = numbers[:, :seeds]
        width = half_width_anytime(head.std(axis=1, ddof=1), seeds, level=0.05)
        ever |= head.mean(axis=1) - width > 0
    assert 0.8 < ever.mean() < 0.9


def test_nothing_is_promised_of_too_few_seeds_or_an_unknown_spread():
    assert least_difference(0.03, 3, level=0.0125) == math.inf
    assert least_difference(math.nan, 30, level=0.05) == math.inf
    assert least_difference(0.0, 30, level=0.05) == 0
    assert least_difference(0.03, 1, level=0.05) == math.inf


def test_shared_runs_are_counted_once_and_workers_share_the_work():
    contrasts = [Open("a", frozenset({"adamw", "muon"}), 3, 9), Open("b", frozenset({"adamw", "sam"}), 5, 9)]
    seconds = {"adamw": 100.0, "muon": 100.0, "sam": 300.0}
    deviations = {"a": 0.02, "b": 0.04}
    found = foresee(contrasts, deviations, seconds, workers=2, left=2600.0, level=0.025)
    assert [own.seeds for own in found] == [10, 10]
    assert found[0].difference == least_difference(0.02, 13, level=0.025)
    assert found[1].difference == least_difference(0.04, 15, level=0.025)
    (none,) = foresee(contrasts[:1], deviations, seconds, workers=1, left=-5.0, level=0.025)
    assert none.seeds == 0
    (endless,) = foresee(contrasts[:1], deviations, seconds, workers=1, left=math.inf, level=0.025)
    assert endless.seeds == 10_000
    assert foresee([], {}, {}, workers=1, left=1.0, level=0.05) == []
