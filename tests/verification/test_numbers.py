"""The arithmetic that tables are recomputed with."""

import math
import statistics

import pytest

from optbench.verification.numbers import deviation


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [0.1, 0.1, 0.1], [0.5, 0.5], [3e-9, 1e-9], [5.0, -5.0, 0.25, 1e6]])
def test_the_deviation_is_that_of_exact_fractions(values):
    assert deviation(values) == pytest.approx(statistics.stdev(values), rel=1e-12, abs=1e-16)


def test_the_deviation_of_numbers_that_have_no_squares():
    assert deviation([1e170, 2e170, 3e170]) == pytest.approx(1e170)
    assert not math.isfinite(deviation([1.0, math.inf]))
    assert math.isnan(deviation([1.0]))
