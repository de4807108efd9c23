"""What tuning leaves behind: every trial of every study, and what was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from optbench.optim.search import Choice, Range
from optbench.spec import Spec

Finite = Annotated[float, Field(allow_inf_nan=False)]
Sampler = Literal["suite", "quasi-random", "tpe"]
"""Where the values of a trial come from: the suite as it is, the quasi-random sequence, or a model of the trials."""


class Trial(Spec):
    """One set of values, tried on all arms and seeds of its study.

    `values` are by path, such as `rule.lr`. `score` is the mean over the cells, a finite number; None where one of them
    diverged or ran out of memory, which counts as a trial. `outcomes` counts the cells by outcome, `keys` are their
    keys, `seconds` the time of all of them. `defaults` are, in the trial of the suite's own values, those that a
    foreign optimizer takes where the suite sets none; they are not among `values`, for to set them makes other cells.
    """

    values: dict[str, Any]
    sampler: Sampler
    score: Finite | None
    outcomes: dict[str, int]
    keys: list[str]
    seconds: float
    defaults: dict[str, Any] = {}

    @property
    def used(self) -> Mapping[str, Any]:
        """The values that the cells had, by path, also those that nobody set."""
        return {**self.defaults, **self.values}


class Study(Spec):
    """The trials of one optimizer on the arms that share its values.

    `where` selects them as an override does: display names by axis. `arms` are their names. `declared_by` says where
    the space was declared: "suite", "rule", "file" (beside the code of a plug-in), or "around" (nowhere: the rate of
    the suite, times and divided by ten). `best` is the place of the chosen trial among `trials`. `importance` says of
    each hyper-parameter how much of what told the better trials from all was its doing, in shares that sum to 1; empty
    where there were too few trials to say (`optbench.tuning.importance`).
    """

    optimizer: str
    where: dict[str, list[str]]
    arms: list[str]
    space: dict[str, Range | Choice]
    declared_by: str
    trials: list[Trial]
    best: int
    importance: dict[str, Finite] = {}

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The values of the best trial, as an override sets them; see `Trial.used` for those that it had."""
        return self.trials[self.best].values


class Tuned(Spec):
    """How the arms of a suite were tuned: the same number of trials for all, on the validation split, with seeds of its
    own. `score` is the column that trials were compared by, `direction` says which way is better; `seed` made the
    quasi-random sequence. `version` is that of this format."""

    version: Literal[1] = 1
    suite: str
    score: str
    direction: Literal["higher", "lower"]
    seeds: list[int]
    seed: int
    studies: list[Study]
