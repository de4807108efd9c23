"""Contrasts of a suite that was run until they were resolved, each with its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["better", "worse", "no difference beyond the margin", "unresolved"]


@dataclass(frozen=True)
class Judged:
    """One declared contrast: the arm on its `of` side against the one on its `minus` side.

    `estimate` and the interval [`low`, `high`] are of the metric, `of` minus `minus`, in its unit; infinite ends where
    nothing is known. `n` is the number of seeds. The verdict is from the point of view of `of`, whichever way the column
    points. `sentence` says all of it.
    """

    name: str
    metric: str
    estimate: float
    low: float
    high: float
    n: int
    margin: float
    verdict: Verdict
    sentence: str
