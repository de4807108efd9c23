"""Trials made of numbers alone, for reports to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optbench.optim.search import Dimension, Range
from optbench.tuning.record import Study, Trial, Tuned

LR = Range(low=1e-4, high=1e-2)
SPACE: Mapping[str, Dimension] = {"rule.lr": LR}


@dataclass(frozen=True)
class Set:
    """What an arm is set to, by path; stands for a spec."""

    values: Mapping[str, Any]

    def dump(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path, value in self.values.items():
            *above, last = path.split(".")
            at = found
            for name in above:
                at = at.setdefault(name, {})
            at[last] = value
        return found


def trial(score: float | None, sampler: Any = "quasi-random", failed: str = "diverged", **values: Any) -> Trial:
    """One trial; values by path, dots written as two underscores. `failed` is why there is no score, if so."""
    outcomes = {"completed": 2} if score is not None else {failed: 1, "completed": 1}
    paths = {name.replace("__", "."): value for name, value in values.items()} or {"rule.lr": 1e-3}
    return Trial(values=paths, sampler=sampler, score=score, outcomes=outcomes, keys=["k"], seconds=1.0)


def study(
    suite: Any,
    optimizer: str,
    trials: Sequence[Trial],
    *,
    space: Mapping[str, Dimension] = SPACE,
    declared_by: str = "rule",
    importance: Mapping[str, float] | None = None,
    lower: bool = True,
    **where: Sequence[str],
) -> Study:
    """The study of the optimizer's arms that `where` selects, by axis; its best trial is found here."""
    chosen = {"optimizer": [optimizer], **{axis: list(names) for axis, names in where.items()}}
    arms = [arm.name for arm in suite.arms if all(arm.axes()[axis] in names for axis, names in chosen.items())]
    scores = [float("inf") if each.score is None else each.score * (1 if lower else -1) for each in trials]
    return Study(
        optimizer=optimizer,
        where=chosen,
        arms=arms,
        space=dict(space),
        declared_by=declared_by,
        trials=list(trials),
        best=scores.index(min(scores)),
        importance=dict(importance or {}),
    )


def tune(suite: Any, *studies: Study, score: str = "test_nll", seeds: Sequence[int] = (1000,)) -> Any:
    """Gives the suite these studies, and its arms the values that they chose; the same suite."""
    direction: Any = "higher" if score == "accuracy" else "lower"
    suite.tuned = Tuned(suite="toy", score=score, direction=direction, seeds=list(seeds), seed=0, studies=list(studies))
    for found in studies:
        optimizer = Set({path: value for path, value in found.chosen.items() if not path.startswith("training.")})
        training = Set({p.removeprefix("training."): v for p, v in found.chosen.items() if p.startswith("training.")})
        suite.arms = [
            replace(arm, optimizer_spec=optimizer, training=training) if arm.name in found.arms else arm
            for arm in suite.arms
        ]
    return suite


def scored(*scores: float | None) -> list[Trial]:
    """Trials with these scores: the suite's own values first, then quasi-random ones, each with a rate of its own."""
    samplers = ["suite", *["quasi-random"] * len(scores)]
    return [trial(score, samplers[i], rule__lr=1e-3 * (1 + i / 10)) for i, score in enumerate(scores)]
