"""The scale that a verdict speaks of, in words, and what it takes to run its cells again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from optbench.claims.claim import Comparison
from optbench.claims.effects import Effect, Evidence, arms_of
from optbench.reports.frame import MISSING
from optbench.reports.scale import models_text

if TYPE_CHECKING:
    from optbench.arm import Arm
    from optbench.suite import Suite


@dataclass(frozen=True)
class Rerun:
    """The command that runs the cells behind some tests, and the minutes it takes where nothing is recorded yet.

    `minutes` is measured: the total_seconds of these cells over the workers of their suite, those without a record at
    the mean of the others; NaN where there is no record at all. `is_recorded`: whether each of them has a record.
    """

    command: str
    minutes: float
    is_recorded: bool


def scale_of(tests: Sequence[Comparison], effects: Sequence[Effect]) -> str:
    """Models with their sizes, tasks and budgets of the arms that the numbers come from; of the declared arms where
    there are no numbers yet: `4 models of 0.10M parameters, arithmetic, 300 steps`."""
    found: dict[int, tuple[Suite, set[int]]] = {}
    for test, effect in zip(tests, effects, strict=True):
        pairs = arms_of(test)
        places = found.setdefault(id(test.suite), (test.suite, set()))[1]
        places.update(effect.arms or [*pairs.of.tolist(), *pairs.minus.tolist()])
    return "; ".join(_words([suite.arms[place] for place in sorted(places)]) for suite, places in found.values())


def _words(arms: Sequence[Arm]) -> str:
    tasks = dict.fromkeys(arm.task for arm in arms)
    budgets = dict.fromkeys(arm.axes()["budget"] for arm in arms)
    return f"{models_text(arms)}, {' and '.join(tasks)}, {' and '.join(budgets)}"


def rerun_of(tests: Sequence[Comparison], evidence: Evidence) -> Rerun:
    """One command for each suite that the tests point to, joined by &&."""
    by_suite: dict[int, list[Comparison]] = {}
    for test in tests:
        by_suite.setdefault(id(test.suite), []).append(test)
    parts = [_rerun(group, evidence) for group in by_suite.values()]
    return Rerun(
        command=" && ".join(part.command for part in parts),
        minutes=math.fsum(part.minutes for part in parts),
        is_recorded=all(part.is_recorded for part in parts),
    )


def _rerun(tests: Sequence[Comparison], evidence: Evidence) -> Rerun:
    suite = tests[0].suite
    # --only narrows by every axis it names: an axis that one test leaves open stays open.
    axes = [axis for axis in tests[0].of if all(axis in test.of for test in tests)]
    sides = [side for test in tests for side in (test.of, test.against) if side]
    chosen = {axis: dict.fromkeys(side[axis] for side in sides) for axis in axes}
    only = ",".join(f"{axis}={name}" for axis, names in chosen.items() for name in names)
    command = suite.asked.command("run", suite.path, *(["--only", only] if only else []))
    arms = [
        place
        for place, arm in enumerate(suite.arms)
        if all(arm.axes()[axis] in names for axis, names in chosen.items())
    ]
    cells = evidence.cells(suite)
    cells = cells[cells["arm"].isin(arms)]
    return Rerun(command, _minutes(cells, suite.execution.workers), not (cells["outcome"] == MISSING).any())


def _minutes(cells: pd.DataFrame, workers: int) -> float:
    runs = cells.drop_duplicates("key")
    seconds = runs["total_seconds"]
    if not seconds.notna().any():
        return math.nan
    by_arm = seconds.groupby(runs["arm"]).transform("mean")
    return float(seconds.fillna(by_arm).fillna(seconds.mean()).sum() / workers / 60)
