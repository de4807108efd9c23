"""How good the best of k trials is: what tuning buys, and how easily an optimizer is tuned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Direction = Literal["higher", "lower"]


def expected_best(scores: Sequence[float | None], direction: Direction, worst: float) -> list[float | None]:
    """The mean best score of k of the n trials, for k = 1 to n, over all choices of k of them.

    With the scores sorted from the worst, s_(1) to s_(n): sum over i of s_(i) C(i - 1, k - 1) / C(n, k), which is
    exact: the best of k is s_(i) where the others are among the i - 1 below it. This is drawing without replacement
    (Tang et al. 2020, "Showing Your Work Doesn't Always Work"). Dodge et al. 2019, "Show Your Work", draw with
    replacement, which is too pessimistic, for a choice may then hold the same trial twice; here the last value is the
    best score there is. Only trials in no particular order may be put in: not those that were chosen by what others had
    shown.

    A trial without a score (None) counts as `worst`, the score of a failure. Where that is infinite, there is no mean
    as long as all k trials may be failures: the first values are None, as many as there are failures, and what follows
    needs no number for them.
    """
    n = len(scores)
    known = sorted((score for score in scores if score is not None), reverse=direction == "lower")
    failed = n - len(known)
    finite = math.isfinite(worst)
    ordered = [worst if finite else 0.0] * failed + known
    if finite:
        # What a failure counts as may be no worse than a score.
        ordered.sort(reverse=direction == "lower")
    return [None if k <= failed and not finite else _mean_best(ordered, k) for k in range(1, n + 1)]


def best_so_far(scores: Sequence[float | None], direction: Direction) -> list[float | None]:
    """The best score of the first k trials, for k = 1 to n; None as long as none of them has a score."""
    best: float | None = None
    found = []
    for score in scores:
        if score is not None and (best is None or (score > best if direction == "higher" else score < best)):
            best = score
        found.append(best)
    return found


def _mean_best(ordered: Sequence[float], k: int) -> float:
    """The mean of the last of k of the values, which are in order, over all choices of k."""
    choices = math.comb(len(ordered), k)
    return math.fsum(ordered[i] * (math.comb(i, k - 1) / choices) for i in range(k - 1, len(ordered)))
