"""The rules: from an interval to the verdict of a test, and from verdicts of tests to that of a claim.

docs/claims.md says why they are these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

from optbench.reports.stats import ALPHA

LEVEL = ALPHA / 2
"""The one-sided level of a 95% interval."""


class Verdict(StrEnum):
    """What is said of a test or a claim."""

    HOLDS = "holds"
    FAILS = "fails"
    NO_EFFECT = "no effect beyond the margin"
    UNDECIDED = "undecided"
    UNDERDETERMINED = "underdetermined"


REFUTED = (Verdict.FAILS, Verdict.NO_EFFECT)


def of_interval(low: float, high: float, *, claimed: float, opposite: float, p: float) -> Verdict:
    """The verdict of one test, from the 95% interval [low, high] of an oriented number.

    holds: the whole interval lies beyond the claimed bound, and p (one-sided, of not lying beyond it, adjusted for the
    other claims) is below 2.5%. Contradicted: the whole interval lies short of the claimed bound; then it is
    `no effect beyond the margin` where it also lies within the opposite bound, else `fails`, which includes an effect
    in the other direction. An interval that touches the claimed bound, or is not known (NaN), decides nothing.
    """
    if high < claimed:
        return Verdict.NO_EFFECT if low > opposite else Verdict.FAILS
    if low > claimed and p < LEVEL:
        return Verdict.HOLDS
    return Verdict.UNDECIDED


def of_conjunction(tests: Sequence[Verdict]) -> Verdict:
    """The verdict over tests that must all hold: one contradicted test contradicts the claim."""
    for verdict in (*REFUTED, Verdict.UNDECIDED):
        if verdict in tests:
            return verdict
    return Verdict.HOLDS


def over_choices(primary: Verdict, choices: Sequence[Verdict]) -> Verdict:
    """The verdict of a claim: that of its primary tests, unless the decided choices contradict each other.

    It is underdetermined where it holds under one choice and is contradicted under another. An undecided choice says
    nothing, and no choice decides what the primary tests leave undecided.
    """
    decided = (primary, *choices)
    if Verdict.HOLDS in decided and any(verdict in REFUTED for verdict in decided):
        return Verdict.UNDERDETERMINED
    return primary


def deciding(tests: Sequence[Verdict], verdict: Verdict) -> int:
    """The place of the test that a claim's figures are shown of: the first with its verdict, else the first."""
    return tests.index(verdict) if verdict in tests else 0


def seeds_more(needed: float, n: int) -> float:
    """How many more seeds than n a plan of `needed` asks for: at least one, since n did not decide."""
    return max(needed, n + 1) - n if not math.isnan(needed) else math.nan
