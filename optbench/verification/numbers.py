"""Comparing numbers that were recorded with numbers that were computed again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

ROUNDING = 1e-12
"""Relative: two orders of summing the same doubles differ by less."""
SINGLE = 2e-6
"""Relative: what is left of a number after its terms were kept in single precision."""


def number(value: Any) -> float:
    """The value as a float; NaN for what is no finite number (a truth value is none)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if math.isfinite(value) else math.nan


def same(recorded: Any, computed: float, *, relative: float = ROUNDING, floor: float = 0.0) -> bool:
    """Whether both are finite and equal up to `relative` of the larger (and of `floor`, where both are smaller)."""
    value = number(recorded)
    if math.isnan(value) or not math.isfinite(computed):
        return False
    return abs(value - computed) <= relative * max(abs(value), abs(computed), floor)


def mean(values: Iterable[float]) -> float:
    """The mean, exactly rounded sums; NaN of none."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def deviation(values: Sequence[float]) -> float:
    """The standard deviation of a sample (n - 1); NaN below two numbers."""
    if len(values) < 2:
        return math.nan
    middle = mean(values)
    size = max(abs(value - middle) for value in values)
    if size == 0 or not math.isfinite(size):
        return size
    # Relative to the largest, for a record edited by hand may hold numbers whose squares do not exist.
    return size * math.sqrt(math.fsum(((value - middle) / size) ** 2 for value in values) / (len(values) - 1))
