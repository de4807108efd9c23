"""The shape of a board file: a published table with its source, setting by setting and figure by figure.

What is not known is left out: a missing field means that the source does not say, never zero and never a default.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from optbench.spec import Spec

Text = Annotated[str, Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Runs = Annotated[int, Field(ge=1)]

Grade = Literal["published", "digitised", "second-hand", "derived"]
"""published: a figure that the source prints. digitised: read off a plot. second-hand: from somebody's notes about the
source. derived: computed from published figures or raw logs, in the way that `derived_by` states."""

Direction = Literal["lower", "higher", "neither"]
Bound = Literal["exactly", "about", "at most", "less than", "at least", "more than"]
State = Literal["measured", "diverged", "not reached"]
Form = Literal["level", "ratio", "gain"]
"""level: the metric itself. ratio: the metric over that of `relative_to`. gain: percent better than `relative_to`."""


class SourceFields(Spec):
    """Where the figures are from: a paper, a repository or both; `where` is the table, file or section in it.

    `through` names whose notes they come from, where the source itself was not read.
    """

    paper: Text | None = None
    repository: Text | None = None
    where: Text
    through: Text | None = None

    @model_validator(mode="after")
    def _names_something(self) -> SourceFields:
        if self.paper is None and self.repository is None:
            raise ValueError("needs a `paper`, a `repository` or both")
        return self


class EvidenceFields(Spec):
    """What a board says once, a setting where it differs, and a figure where it differs again.

    Attributes:
        grade: How the figure is known.
        derived_by: For the grade derived: the way of computing it, so that somebody else could.
        uncertainty: Half-width of the error of reading or rounding, in the unit of the metric: not of new runs.
        n: Runs that the figure is a mean of.
        sigma: Standard deviation between runs, in the unit of the metric.
        sigma_from: Where that number is from; it may be assumed by the source.
    """

    grade: Grade | None = None
    derived_by: Text | None = None
    uncertainty: Positive | None = None
    n: Runs | None = None
    sigma: Positive | None = None
    sigma_from: Text | None = None


class FigureFields(EvidenceFields):
    """One figure where more is to be said than its value. A figure that was not measured has a `state` and no value.

    What must go together is checked where boards are loaded: a validator here would hide the fields from messages.
    """

    value: Number | None = None
    bound: Bound = "exactly"
    state: State = "measured"
    flags: list[Text] = []


class ScaleFields(Spec):
    """How large the runs were. `data` and `hardware` are in the source's words."""

    parameters: Positive | None = None
    tokens: Positive | None = None
    batch_tokens: Positive | None = None
    data: Text | None = None
    hardware: Text | None = None


class SettingFields(EvidenceFields):
    """One column of the table: what was run, and what its figures mean where that differs from the board.

    The direction `neither` marks figures that support others (the loss at which a target was met) and are not compared.
    """

    about: Text
    metric: Text | None = None
    unit: str | None = None
    direction: Direction | None = None
    form: Form = "level"
    relative_to: Text | None = None
    scale: ScaleFields = ScaleFields()
    notes: list[Text] = []

    @model_validator(mode="after")
    def _names_its_reference(self) -> SettingFields:
        if (self.form == "level") != (self.relative_to is None):
            raise ValueError("`relative_to` names what a ratio or a gain is relative to; a level has none")
        return self


class RowFields(Spec):
    """One method, called as the source calls it, and its figures by setting.

    `stands_for` is the plain name that this row is compared under where the method is a variant, with the reason in
    `because`; no two rows of a board are compared under one name. Without it, names that are only spelled differently
    (`boards/names.py`) are equal and all others differ.
    """

    method: Text
    stands_for: Text | None = None
    because: Text | None = None
    flags: list[Text] = []
    figures: Annotated[dict[str, Number | FigureFields], Field(min_length=1)]

    @model_validator(mode="after")
    def _gives_a_reason(self) -> RowFields:
        if (self.stands_for is None) != (self.because is None):
            raise ValueError("`stands_for` and `because` go together: a variant, and why it may stand for the name")
        return self


class BoardFields(EvidenceFields):
    """A board file; the command line calls it by its file name."""

    title: Text
    source: SourceFields
    metric: Text
    unit: str
    direction: Direction
    settings: Annotated[dict[str, SettingFields], Field(min_length=1)]
    rows: Annotated[list[RowFields], Field(min_length=1)]
    notes: list[Text] = []

    @model_validator(mode="after")
    def _has_a_grade(self) -> BoardFields:
        if self.grade is None:
            raise ValueError("needs a `grade`: published, digitised, second-hand or derived")
        return self
