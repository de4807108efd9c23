"""The search space of an optimizer: what may be tuned, and between which values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Protocol, Self, runtime_checkable

from pydantic import Discriminator, Field, Tag, model_validator

from optbench.spec import Spec

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Range(Spec):
    """Numbers from `low` to `high`; with `log`, every factor is as likely as every other."""

    low: Finite
    high: Finite
    log: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g}: with log: true it has to be above 0")
        return self


class Choice(Spec):
    """One of some values: numbers, words or lists of them."""

    values: Annotated[list[Any], Field(min_length=2)]

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        if not _is_plain(self.values):
            raise ValueError("values are finite numbers, words, true, false, and lists of them")
        return self


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _form(value: Any) -> str:
    """Which of the two is meant: whoever gives values means a choice."""
    return "values" if isinstance(value, Choice) or (isinstance(value, dict) and "values" in value) else "range"


Dimension = Annotated[Annotated[Range, Tag("range")] | Annotated[Choice, Tag("values")], Discriminator(_form)]
Space = Mapping[str, Dimension]
"""Dimensions by the field that they set. Beside a rule or an estimator the name of its own field, such as `lr` or
`options.beta`; of a whole optimizer the path from there, such as `rule.lr`; `training.schedule.warmup` where the
schedule is tuned, too."""


@runtime_checkable
class Searchable(Protocol):
    """A rule or estimator that declares what of it may be tuned. One without is tuned around the rate of the suite."""

    SEARCH: ClassVar[Space]
