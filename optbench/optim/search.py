"""The search space of an optimizer: what may be tuned, and between which values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

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


Dimension = Range | Choice
Space = Mapping[str, Dimension]
"""Dimensions by the field that they set. Beside a rule or an estimator the name of its own field, such as `lr` or
`options.beta`; of a whole optimizer the path from there, such as `rule.lr`; `training.schedule.warmup` where the
schedule is tuned, too."""
