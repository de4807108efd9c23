"""When each example was learned, from whether it was right at each look.

Legend: n examples, k looks.
"""

from __future__ import annotations

import numpy as np


def first_right(right: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The first look at which each example is right, in fractions of the run: right [n, k] -> [n]; never is 1."""
    return np.where(right.any(axis=1), times[right.argmax(axis=1)], 1.0)


def right_for_good(right: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The look from which each example stays right to the end: right [n, k] -> [n]; never is 1.

    Its mean is a restricted mean survival time, so that what is never learned counts and every arm has a value.
    """
    stays = np.logical_and.accumulate(right[:, ::-1], axis=1)[:, ::-1]
    return np.where(stays.any(axis=1), times[stays.argmax(axis=1)], 1.0)


def forgotten(right: np.ndarray) -> np.ndarray:
    """How often each example goes from right to wrong from one look to the next: right [n, k] -> int [n]."""
    return np.asarray((right[:, :-1] & ~right[:, 1:]).sum(axis=1))


def gini(values: np.ndarray) -> float:
    """The Gini coefficient of values that are not negative: mean absolute difference over twice the mean; 0 where all
    are equal (also where all are 0)."""
    total = float(values.sum())
    if total == 0:
        return 0.0
    ranks = np.arange(1, len(values) + 1)
    return float((2 * ranks - len(values) - 1) @ np.sort(values) / (len(values) * total))


def deciles(difficulty: np.ndarray) -> np.ndarray:
    """Tenths of equal size by rank, 1 for the easiest: [n] -> int [n]. Equal values keep their order."""
    ranks = np.argsort(np.argsort(difficulty, kind="stable"), kind="stable")
    return np.asarray(1 + ranks * 10 // len(difficulty))
