"""How every arm of a challenge was tuned: the same number of trials for all, what was chosen, and every trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optbench.commands.tables import duration
from optbench.metrics.columns import column
from optbench.reports.figures import NOTHING, figure
from optbench.reports.tuning import Tuning, tuning_of
from optbench.reports.tuning_text import DECLARED, failures_text, lines_of, near_text, space_text, value_text

if TYPE_CHECKING:
    from optbench.challenge.content import Content
    from optbench.reports.tuning import Found, Search
    from optbench.tuning.record import Study, Trial

SAMPLERS = {"suite": "as it stood", "quasi-random": "quasi-random", "tpe": "model of the trials"}


@dataclass(frozen=True)
class Parameter:
    """One hyper-parameter of a study. `edge` is `lower`, `upper` or empty; `importance` a percentage or a dash."""

    path: str
    range: str
    before: str
    chosen: str
    edge: str
    near: str
    importance: str


@dataclass(frozen=True)
class TrialRow:
    """One trial, with its number from 1; `best` marks the chosen one."""

    number: int
    sampler: str
    values: str
    score: str
    time: str
    best: bool


@dataclass(frozen=True)
class Section:
    """One study: what was declared, tried and chosen."""

    optimizer: str
    color: str
    place: str
    declared: str
    trials: int
    failed: str
    before: str
    after: str
    near: int
    parameters: Sequence[Parameter]
    changed: str
    rows: Sequence[TrialRow]

    @property
    def edges(self) -> list[Parameter]:
        """The hyper-parameters whose chosen value lies at an end of its range."""
        return [each for each in self.parameters if each.edge]


@dataclass(frozen=True)
class Tunings:
    """All studies; `lines` say in sentences what they had in common, and what casts doubt on them."""

    score: str
    is_equal: bool
    lines: Sequence[str]
    sections: Sequence[Section]


def tuning_report(content: Content) -> Tuning:
    """How the challenge's suite was tuned, by the trials of the challenge."""
    found = tuning_of(replace(content.suite, tuned=content.tuned))
    if found is None:
        raise ValueError("the trials of a challenge are always recorded")
    return found


def tunings_of(content: Content, tuning: Tuning, colors: Mapping[str, str]) -> Tunings:
    """The studies of a challenge as its page shows them. `colors` are style classes by optimizer."""
    known = {arm.name for arm in content.suite.arms}
    studies = [study for study in content.tuned.studies if known & set(study.arms)]
    pairs = zip(tuning.searches, studies, strict=True)
    sections = [_section(search, study, tuning.score, colors) for search, study in pairs]
    lines = [*lines_of(tuning), " ".join(content.starts)] if content.starts else list(lines_of(tuning))
    return Tunings(score_text(tuning.score), tuning.is_equal, lines, sections)


def score_text(score: str) -> str:
    """The name of the score with its unit and direction."""
    known = column(score)
    unit = "%" if known.unit == "fraction" else known.unit
    return f"{known.name.replace('_', ' ')}{f' ({unit})' if unit else ''}, {known.direction} is better"


def _section(search: Search, study: Study, score: str, colors: Mapping[str, str]) -> Section:
    return Section(
        optimizer=search.optimizer,
        color=colors.get(search.optimizer, ""),
        place=search.place,
        declared=DECLARED[search.declared_by],
        trials=search.trials,
        failed=failures_text(search.failed),
        before=_score(search.before, score),
        after=_score(search.after, score),
        near=search.near,
        parameters=[_parameter(found) for found in search.found],
        changed=", ".join(search.changed),
        rows=[_trial(trial, place, score, place == study.best) for place, trial in enumerate(study.trials)],
    )


def _parameter(found: Found) -> Parameter:
    return Parameter(
        path=found.path,
        range=space_text(found.dimension),
        before=value_text(found.before),
        chosen=value_text(found.chosen),
        edge=found.edge,
        near=near_text(found),
        importance=NOTHING if found.importance is None else f"{100 * found.importance:.0f}%",
    )


def _trial(trial: Trial, place: int, score: str, best: bool) -> TrialRow:
    values = ", ".join(f"{path} {value_text(value)}" for path, value in trial.used.items())
    said = "diverged" if trial.outcomes.get("diverged") else "out of memory"
    shown = said if trial.score is None else _score(trial.score, score)
    return TrialRow(place + 1, SAMPLERS[trial.sampler], values or NOTHING, shown, duration(trial.seconds), best)


def _score(value: float | None, score: str) -> str:
    return NOTHING if value is None else figure(value, score, digits=4)
