"""How the arms of a suite were tuned: how many trials each had, what they found, and where more may help."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from optbench.metrics.columns import column, worst
from optbench.optim.search import Choice, Dimension
from optbench.reports.frame import OUTCOMES
from optbench.reports.sentences import POINT
from optbench.reports.tuning_curve import Direction, best_so_far, expected_best
from optbench.tuning.edges import edge_of, is_number

if TYPE_CHECKING:
    from optbench.arm import Arm
    from optbench.suite import Suite
    from optbench.tuning.record import Study, Trial

NEAR = 0.01
"""Trials within this share of the best score are near-best; for fractions it is a point."""

PLACES = ("model", "task", "strategy")
"""The axes that may have values of their own beside the optimizer."""


@dataclass(frozen=True)
class Found:
    """One hyper-parameter of a study: its value in the suite (None where that was no trial) and the chosen one, the
    values it had in the near-best trials, in their order without repeats, and its importance (None: too few trials)."""

    path: str
    dimension: Dimension
    before: Any
    chosen: Any
    edge: Literal["", "lower", "upper"]
    near: tuple[Any, ...]
    importance: float | None


@dataclass(frozen=True)
class Search:
    """One study as reports show it.

    `place` names which of the optimizer's arms it is about, empty for all of them; `arms` are those of the suite.
    `failed` counts the trials without a score, by what became of their cells. `own` says what became of the suite's own
    values ("completed", "diverged" or "out_of_memory"; empty where they were no trial), `before` is their score and
    `after` that of the best; None where there is none. `expected` is the mean best score of k of the quasi-random
    trials, `so_far` the best of the first k of all. `near` counts the trials within the tolerance of the best, itself
    included. `changed` are hyper-parameters that the suite's arms do not have as they were chosen. `others` are arms
    that no trial was run on, and that have the values all the same, for they were chosen for them, too.
    """

    optimizer: str
    place: str
    arms: tuple[str, ...]
    declared_by: str
    trials: int
    failed: Mapping[str, int]
    own: str
    before: float | None
    after: float | None
    near: int
    found: tuple[Found, ...]
    expected: tuple[float | None, ...]
    so_far: tuple[float | None, ...]
    changed: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def at_edge(self) -> list[Found]:
        """The hyper-parameters that are best at an end of their range."""
        return [each for each in self.found if each.edge]


@dataclass(frozen=True)
class Tuning:
    """How a suite was tuned. `score` was compared, on the validation split, over `seeds`; `shared` are those of them
    that the suite reports, too. `trials` are the numbers of trials of each optimizer's arms, 0 for those without a
    study. `tried` are the names on the axes of which the trials took a part alone, and the values went to all."""

    score: str
    direction: Direction
    seeds: tuple[int, ...]
    shared: tuple[int, ...]
    searches: tuple[Search, ...]
    trials: Mapping[str, tuple[int, ...]]
    tried: Mapping[str, tuple[str, ...]]

    @property
    def is_equal(self) -> bool:
        """Whether every arm of the suite had the same number of trials, and had some."""
        counts = {count for mine in self.trials.values() for count in mine}
        return len(counts) == 1 and 0 not in counts


def tuning_of(suite: Suite) -> Tuning | None:
    """How the arms of the suite were tuned; None where no trials are recorded. Studies of other arms are left out."""
    tuned = suite.tuned
    if tuned is None:
        return None
    arms = {arm.name: arm for arm in suite.arms}
    studies = [(study, [arms[name] for name in study.arms if name in arms]) for study in tuned.studies]
    names = {axis: {name for arm in suite.arms for of, name in arm.axes().items() if of == axis} for axis in PLACES}
    tried = {arm.name for _, mine in studies for arm in mine}
    searches = tuple(
        _search(study, mine, _others(study, suite.arms, tried), tuned.score, tuned.direction, _place(study, names))
        for study, mine in studies
        if mine
    )
    counts = {arm: search.trials for search in searches for arm in (*search.arms, *search.others)}
    trials: dict[str, list[int]] = {}
    for arm in suite.arms:
        trials.setdefault(arm.optimizer, []).append(counts.get(arm.name, 0))
    return Tuning(
        tuned.score,
        tuned.direction,
        tuple(tuned.seeds),
        tuple(seed for seed in tuned.seeds if seed in {cell.seed for cell in suite.cells()}),
        searches,
        {optimizer: tuple(mine) for optimizer, mine in trials.items()},
        _tried([arms[name] for name in sorted(tried)], [arms[arm] for search in searches for arm in search.others]),
    )


def tolerance(best: float, score: str) -> float:
    """How far from the best score a near-best trial may be: a point of a fraction, else 1% of the best score."""
    return POINT if column(score).unit == "fraction" else NEAR * abs(best)


def _others(study: Study, arms: Sequence[Arm], tried: Collection[str]) -> tuple[str, ...]:
    """The arms without trials that the study's values were given to, and that have them."""
    return tuple(
        arm.name
        for arm in arms
        if arm.name not in tried
        and all(arm.axes()[axis] in names for axis, names in study.where.items())
        and all(_has(arm, path, value) for path, value in study.chosen.items())
    )


def _tried(tried: Sequence[Arm], others: Sequence[Arm]) -> dict[str, tuple[str, ...]]:
    """The names of the arms that were tried on each axis where other arms have further ones; the first arm's first."""
    found = {}
    for axis in PLACES:
        names = dict.fromkeys(arm.axes()[axis] for arm in tried)
        if any(arm.axes()[axis] not in names for arm in others):
            found[axis] = tuple(names)
    return found


def _search(
    study: Study, arms: Sequence[Arm], others: tuple[str, ...], score: str, direction: Direction, place: str
) -> Search:
    best = study.trials[study.best]
    own = next((trial for trial in study.trials if trial.sampler == "suite"), None)
    near = _near_best(study, score)
    found = tuple(
        Found(
            path,
            dimension,
            before=None if own is None else own.used.get(path),
            chosen=best.used.get(path),
            edge=edge_of(dimension, best.used.get(path)),
            near=_distinct([trial.used[path] for trial in near if path in trial.used], dimension),
            importance=study.importance.get(path),
        )
        for path, dimension in study.space.items()
    )
    drawn = [trial.score for trial in study.trials if trial.sampler == "quasi-random"]
    return Search(
        study.optimizer,
        place,
        tuple(arm.name for arm in arms),
        study.declared_by,
        trials=len(study.trials),
        failed=_failed(study.trials),
        own="" if own is None else _outcome(own),
        before=None if own is None else own.score,
        after=best.score,
        near=len(near),
        found=found,
        expected=tuple(expected_best(drawn, direction, worst(score))),
        so_far=tuple(best_so_far([trial.score for trial in study.trials], direction)),
        changed=tuple(path for path, value in study.chosen.items() if any(not _has(arm, path, value) for arm in arms)),
        others=others,
    )


def _place(study: Study, names: Mapping[str, set[str]]) -> str:
    """What selects the arms of a study among those of its optimizer, whose names by axis are `names`; else empty."""
    chosen = {axis: study.where[axis] for axis in PLACES if axis in study.where}
    return ", ".join(name for axis, mine in chosen.items() if names[axis] - set(mine) for name in mine)


def _failed(trials: Sequence[Trial]) -> dict[str, int]:
    outcomes = [_outcome(trial) for trial in trials if trial.score is None]
    return {outcome: outcomes.count(outcome) for outcome in OUTCOMES if outcome in outcomes}


def _outcome(trial: Trial) -> str:
    if trial.score is not None:
        return "completed"
    return "diverged" if trial.outcomes.get("diverged") else "out_of_memory"


def _near_best(study: Study, score: str) -> list[Trial]:
    best = study.trials[study.best].score
    if best is None:
        return []
    # A hair more, for scores that differ by the tolerance but for rounding.
    allowed = tolerance(best, score) * (1 + 1e-9)
    return [trial for trial in study.trials if trial.score is not None and abs(trial.score - best) <= allowed]


def _distinct(values: Sequence[Any], dimension: Dimension) -> tuple[Any, ...]:
    """The values without repeats: of a choice in the order of the choices, else by size."""
    if isinstance(dimension, Choice):
        known = [value for value in dimension.values if value in values]
        others = [value for place, value in enumerate(values) if value not in [*known, *values[:place]]]
        return (*known, *others)
    return tuple(sorted(set(filter(is_number, values))))


def _has(arm: Arm, path: str, value: Any) -> bool:
    """Whether the arm has the value at the path, which begins at its optimizer or with `training`."""
    head, *rest = path.split(".")
    spec, steps = (arm.training, rest) if head == "training" else (arm.optimizer_spec, [head, *rest])
    here: Any = spec.dump()
    for step in steps:
        if not isinstance(here, dict) or step not in here:
            return False
        here = here[step]
    return bool(here == value)
