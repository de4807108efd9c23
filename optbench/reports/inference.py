"""Which intervals and tests a report may take: of a number of seeds that was fixed, or of one that grew with looks.

Student's t is about a number of seeds that was fixed before the run. Where seeds were added one look after another, it
is wrong too often, in tables as in contrasts: whoever adds seeds until a row is bold makes one bold sooner or later. An
`Inference` is chosen once, from the suite, and whatever a report calls an interval, a tie, a best row or a place on a
front goes through it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from optbench.reports.sequential import half_width_anytime, p_anytime, seeds_needed_anytime
from optbench.reports.stats import ALPHA, Array, half_width, seeds_needed, t_p_value

if TYPE_CHECKING:
    from optbench.suite import Suite

ROUNDING = 1e-12
"""Relative to the values: a spread of their differences below this is what subtraction and averaging leave of numbers
that agree. It would be taken for certainty, and called resolved."""


class _Width(Protocol):
    def __call__(self, sd: Any, n: Any, *, level: float = ALPHA) -> Array: ...


class _PValue(Protocol):
    def __call__(self, mean: Any, sd: Any, n: Any) -> Array: ...


class _Needed(Protocol):
    def __call__(self, sd: float, difference: float, *, level: float = ALPHA) -> float: ...


@dataclass(frozen=True)
class Inference:
    """Intervals, tests and the plan of seeds that belong together. `FIXED` and `ANYTIME` are the two there are.

    `looks`: whether seeds may have been added one look after another. `p_value` is two-sided, of a mean of 0, and NaN
    without any spread; `seeds_needed` as in `stats` and `sequential`. `least`: fewer numbers have no 95% interval.
    `kind`, `aside` and `validity` are how notes call the interval: "95% {kind}interval over seeds{validity}", or
    without the kind and with the {aside}, which says more; `too_few` is what they say where there is none.
    """

    looks: bool
    least: int
    width: _Width
    p_value: _PValue
    seeds_needed: _Needed
    kind: str
    aside: str
    validity: str
    too_few: str

    @property
    def name(self) -> str:
        """What the bars and bands of a chart are."""
        return f"95% {self.kind}interval over seeds{self.validity}"

    def half_width(self, largest: Any, sd: Any, n: Any, *, level: float = ALPHA, certain: Any = False) -> Array:
        """The half-width of the interval of the mean of n numbers, elementwise.

        `sd` is their standard deviation (n - 1 in its denominator), `largest` the size of what rounding is relative to:
        that of their mean, or of the numbers that were subtracted to get them. Infinite where nothing can be said: of
        one seed; where looks are allowed for, of three or fewer (at 5%); and where all numbers are equal. Seeds that
        agree by coincidence show no spread, which is not to say that there is none. Only where the numbers are
        `certain` (see `Column.certain`), elementwise too, agreement is 0.
        """
        spread = self.spread(sd, np.abs(np.asarray(largest, float)))
        return self.width(np.where((spread == 0) & ~np.asarray(certain, bool), math.nan, spread), n, level=level)

    def without_spread(self, mean: Any, width: Any, n: Any) -> Array:
        """Which means lack a half-width although their n seeds are enough for one: the seeds all came out the same."""
        found: Array = np.isfinite(np.asarray(mean, float)) & np.isinf(np.asarray(width, float))
        return found & (np.asarray(n) >= self.least)

    def half_width_chosen(self, mean: Any, sd: Any, n: Any, rows: int) -> Array:
        """The half-width of the interval of a row that was chosen by its own mean among `rows`, elementwise.

        The interval at 5% / rows: all rows are in theirs at once with a chance of 95%, so the chosen one is, whichever
        it was (Bonferroni). The best of several equal rows looks better than it is, and its own interval does not know.
        """
        return self.half_width(mean, sd, n, level=ALPHA / max(rows, 1))

    def interval(self, values: Sequence[float] | Array, *, largest: float = 0.0) -> tuple[float, float]:
        """The mean of `values` and the half-width of its 95% interval; (NaN, inf) where there are none.

        `largest` is the size of what was subtracted to get them, where that is more than they are.
        """
        numbers = np.asarray(values, float)
        if len(numbers) == 0:
            return math.nan, math.inf
        mean = float(np.mean(numbers))
        sd = float(np.std(numbers, ddof=1)) if len(numbers) > 1 and np.isfinite(numbers).all() else math.nan
        return mean, float(self.half_width(max(abs(mean), largest), sd, len(numbers)))

    def spread(self, sd: Any, largest: Any) -> Array:
        """The standard deviation `sd`, elementwise, with 0 for what rounding leaves of numbers that agree.

        `largest` is the largest size of the numbers that were subtracted or averaged.
        """
        with np.errstate(invalid="ignore"):
            return np.where(np.asarray(sd, float) <= ROUNDING * np.asarray(largest, float), 0.0, sd)


FIXED = Inference(
    looks=False,
    least=2,
    width=half_width,
    p_value=t_p_value,
    seeds_needed=seeds_needed,
    kind="t ",
    aside=" (Student t)",
    validity="",
    too_few="One seed: no interval exists.",
)
"""Student's t: of a number of seeds that was fixed before the run."""

ANYTIME = Inference(
    looks=True,
    least=4,
    width=half_width_anytime,
    p_value=p_anytime,
    seeds_needed=seeds_needed_anytime,
    kind="",
    aside=", valid under repeated looks; below 4 seeds there is none",
    validity=", valid under repeated looks",
    too_few="Below 4 seeds no interval is valid under repeated looks.",
)
"""The sequential t test (see `sequential`): of a number of seeds that grew with what was seen, by whatever rule."""


def inference_of(suite: Suite) -> Inference:
    """What the suite allows: `ANYTIME` where seeds were added to it one look after another, else `FIXED`."""
    return FIXED if suite.added is None else ANYTIME
