"""Seeds that were added to some arms of a suite, one look after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Added:
    """The seeds beyond those of the suite, by the name of the arm, and the margin that they were added for.

    Whoever looks again after every seed and stops when the difference is there finds one sooner or later, also where
    there is none: contrasts of a suite with added seeds take intervals that allow for any number of looks
    (`optbench.reports.sequential`). `margin` is in the unit of the contrasts' columns: a difference no larger is none
    that matters.
    """

    margin: float
    seeds: Mapping[str, Sequence[int]]
