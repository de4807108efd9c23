"""The shape of a claim file: a sentence of a paper, and what would make it true or false at the scale at hand."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from optbench.spec import Spec
from optbench.suitefile import Side

Text = Annotated[str, Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class ComparisonFields(Spec):
    """One number of a suite, and where it must lie.

    `of` names arms of `suite` (a path relative to the claim file). The number is the `metric` of these arms; with
    `minus` the difference from other arms, with `over` the ratio to them, both pooled over every axis that is not
    named. It must lie `above` or `below` a threshold, by more than `margin`, the smallest effect that matters.
    """

    suite: Text
    metric: Text
    of: Side
    minus: Side | None = None
    over: Side | None = None
    above: Number | None = None
    below: Number | None = None
    margin: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _is_whole(self) -> ComparisonFields:
        if not self.of.model_fields_set:
            raise ValueError("`of` names nothing; it names the arms that the claim is about")
        if self.minus is not None and self.over is not None:
            raise ValueError("has both `minus` and `over`; a number is a difference or a ratio")
        for word, other in (("minus", self.minus), ("over", self.over)):
            if other is not None and other.model_fields_set != self.of.model_fields_set:
                raise ValueError(f"`of` and `{word}` name different axes; they name the same")
            if other is not None and other == self.of:
                raise ValueError(f"`of` and `{word}` are the same")
        if (self.above is None) == (self.below is None):
            raise ValueError("needs exactly one of `above` and `below`: the threshold")
        if self.over is not None and self.threshold <= self.margin:
            raise ValueError("the threshold of a ratio is greater than its margin, for ratios are greater than 0")
        return self

    @property
    def threshold(self) -> float:
        """The number that the claim speaks of."""
        return float(self.above if self.above is not None else self.below or 0.0)


class ChoiceFields(Spec):
    """The tests once more, with a choice that the paper leaves open made another way."""

    name: Text
    tests: Annotated[list[ComparisonFields], Field(min_length=1)]


class ClaimFields(Spec):
    """A claim file. `quotation` is the sentence word for word, `paraphrase` where it cannot be quoted; `about` says
    what the paper speaks of, `criterion` what would make it true here. All `tests` must hold."""

    name: Text
    source: Text
    quotation: Text | None = None
    paraphrase: Text | None = None
    about: Text
    criterion: Text
    tests: Annotated[list[ComparisonFields], Field(min_length=1)]
    choices: list[ChoiceFields] = []

    @model_validator(mode="after")
    def _one_sentence(self) -> ClaimFields:
        if (self.quotation is None) == (self.paraphrase is None):
            raise ValueError("needs exactly one of `quotation` and `paraphrase`")
        return self
