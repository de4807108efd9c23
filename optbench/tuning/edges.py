"""Values at the edge of what was searched: a better one may lie beyond."""

from __future__ import annotations

import math
from typing import Any, Literal

from optbench.optim.search import Choice, Dimension, Range
from optbench.tuning.record import Study

EDGE = 0.05
"""The share of a range, on its scale, that counts as its edge, at either end."""

End = Literal["lower", "upper"]


def edges_of(study: Study) -> dict[str, End]:
    """The paths whose chosen value lies at an end of what was searched, and which end that is: see `edge_of`."""
    used = study.trials[study.best].used
    found = {path: edge_of(dimension, used.get(path)) for path, dimension in study.space.items()}
    return {path: edge for path, edge in found.items() if edge}


def edge_of(dimension: Dimension, value: Any) -> End | Literal[""]:
    """At which end of its range a value is: in the first or last 5% of it, on the scale that it was searched on, or
    beyond, as the suite's own may be. Of a choice of at least three numbers the smallest and the largest are its ends;
    other choices have none. Neither has what ends at 0, as a decay does, for there is nothing to search below."""
    if not is_number(value):
        return ""
    end = _end_of(dimension, value)
    floor = isinstance(dimension, Range) and not dimension.log and dimension.low == 0
    return "" if end == "lower" and (value == 0 or floor) else end


def _end_of(dimension: Dimension, value: float) -> End | Literal[""]:
    if isinstance(dimension, Choice):
        numbers = [each for each in dimension.values if is_number(each)]
        if len(numbers) < max(3, len(dimension.values)):
            return ""
        return "lower" if value <= min(numbers) else "upper" if value >= max(numbers) else ""
    low, high = dimension.low, dimension.high
    if dimension.log:
        # Zero is below every range on a logarithmic scale.
        place = math.log(value / low) / math.log(high / low) if value > 0 else -math.inf
    else:
        place = (value - low) / (high - low)
    return "lower" if place <= EDGE else "upper" if place >= 1 - EDGE else ""


def is_number(value: Any) -> bool:
    """Whether the value is a number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
