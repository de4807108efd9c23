"""Declared contrasts: the difference between arms that agree on everything else, one number per seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optbench.metrics.columns import column
from optbench.reports.frame import records_of, refuse_mixed, scored
from optbench.reports.pairs import complete_block, largest_of, pairs_of, per_seed, spread_of
from optbench.reports.plans import minutes_needed, minutes_per_seed
from optbench.reports.questions import QuestionDifferences
from optbench.reports.sentences import amount_text, planned_difference, sentence
from optbench.reports.sequential import (
    half_width_all_anytime,
    half_width_anytime,
    joint_level,
    p_anytime,
    seeds_needed_anytime,
)
from optbench.reports.stats import ALPHA, half_width, half_width_all, holm, seeds_needed, t_p_value

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Contrast, Suite


def contrasts_of(suite: Suite, store: Store, cells: pd.DataFrame) -> pd.DataFrame:
    """One row per declared contrast, in the order of the suite.

    Two arms form a pair where one has the names of `of`, the other those of `minus`, and both agree on every axis
    that neither names. At each seed the differences are averaged over the pairs; Student's t runs over these numbers,
    and Holm over all declared contrasts, with those that `--only` left out. Only pairs and seeds that are complete
    enter (`balanced_block`); how many are missing is said.

    A diverged cell counts as the worst value of the metric (accuracy 0), and how many did is said. Where the worst
    value is infinite (likelihoods), the pair cannot be averaged and the estimate is NaN. Cells that ran out of memory
    are missing. Times taken beside other running cells are shown and never called resolved.

    **Where seeds were added to the suite** one look after another (`suite.added`), a t interval would not hold.
    Interval, p and the plan of seeds are then those of `optbench.reports.sequential`, which allow for any number of
    looks, and the intervals are at `joint_level`, so that all of them hold at once: `resolved` is that this interval
    excludes 0. `p_holm` stays valid: the p of a true null is below a at any look with a chance of at most a, so also at
    the look where one stops, and Holm asks for no more. It is about differences alone, though, and may be below 0.05 a
    little earlier: `optbench.reports.verdicts.judged` says why verdicts cannot take Holm's steps.

    Columns: name, metric, estimate, half_width, low, high (the interval), sd (of the numbers per seed), p, p_holm, n
    (seeds), pairs, pairs_declared, seeds_declared, over (in words), diverged (cells), contended,
    seeds_needed (for `planned`, at the level that Holm asks of the smallest p), planned (a difference, in the metric's
    unit), minutes_per_seed (of all declared pairs), minutes_needed (for the seeds that are missing to seeds_needed),
    question_se (see `QuestionDifferences`), low_all, high_all (the interval that counts this error too, see
    `half_width_all`; infinite where it is unknown), of_alone_diverged, minus_alone_diverged (the seeds at which the
    metric is infinite on that side and not on the other), resolved, within (the margin that seeds were added for, in
    words, where the interval lies within it: the verdict is that no difference beyond it is left), sentence.
    """
    refuse_mixed(cells)
    pooled = scored(cells)
    questions = QuestionDifferences(suite, store, cells)
    rows = [_row(suite, pooled, contrast, questions) for contrast in suite.contrasts]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    if len(table):
        table["p_holm"] = holm(table["p"].to_numpy(float), family=suite.family)
        found = table["p_holm"] < ALPHA if suite.added is None else (table["low"] > 0) | (table["high"] < 0)
        table["resolved"] = found & ~table["contended"].astype(bool)
    added = suite.added is not None
    table["within"] = [_within(row, suite) for row in records_of(table)]
    table["sentence"] = [sentence(row, suite.family, added=added) for row in records_of(table)]
    return table


_COLUMNS = (
    "name metric estimate half_width low high sd p p_holm n pairs pairs_declared seeds_declared over diverged "
    "contended seeds_needed planned minutes_per_seed minutes_needed question_se low_all high_all of_alone_diverged "
    "minus_alone_diverged resolved within sentence"
).split()


def _within(row: Mapping[str, Any], suite: Suite) -> str:
    """The margin that seeds were added for, in words, where the interval leaves no difference beyond it; else ""."""
    added = suite.added
    if added is None or row["resolved"] or row["contended"] or row["pairs"] < row["pairs_declared"]:
        return ""
    inside = -added.margin <= row["low"] and row["high"] <= added.margin
    return amount_text(added.margin, row["metric"]) if inside else ""


def _row(suite: Suite, cells: pd.DataFrame, contrast: Contrast, questions: QuestionDifferences) -> dict[str, Any]:
    metric = contrast.metric
    pairs = pairs_of(suite, contrast.of, contrast.minus)
    block = complete_block(cells, pairs, metric, arms=len(suite.arms))
    with np.errstate(invalid="ignore"):
        differences = per_seed(block.of - block.minus)
    n = len(differences)
    counted = column(metric).counted
    estimate, sd = spread_of(differences, counted=counted, largest=largest_of(block.of, block.minus))
    planned = planned_difference(metric, estimate)
    minutes = minutes_per_seed(cells, np.concatenate([pairs.of, pairs.minus]), workers=suite.execution.workers)
    kept, marked = block.pairs, block.used
    question_se = questions.standard_error(pairs.of[kept], pairs.minus[kept], block.seeds, metric=metric)
    of_failed, minus_failed = np.isinf(block.of).any(axis=0), np.isinf(block.minus).any(axis=0)
    seen = _Differences(estimate, sd, n, counted, planned, question_se or math.nan)
    sure = _once(seen, suite) if suite.added is None else _at_any_look(seen, suite)
    return {
        "name": contrast.name,
        "metric": metric,
        "estimate": estimate,
        "half_width": sure.width,
        "low": estimate - sure.width,
        "high": estimate + sure.width,
        "sd": sd,
        "p": sure.p,
        "n": n,
        "pairs": len(kept),
        "pairs_declared": len(pairs.of),
        "seeds_declared": block.seeds_declared,
        "over": " x ".join(f"{count} {_plural(axis)}" for axis, count in pairs.over.items() if count > 1),
        "diverged": int((marked & (cells["outcome"] == "diverged")).sum()),
        "contended": column(metric).measured and bool((marked & cells["contended"]).any()),
        "seeds_needed": sure.seeds_needed,
        "planned": planned,
        "minutes_per_seed": minutes,
        "minutes_needed": minutes_needed(sure.seeds_needed, n, minutes),
        "question_se": question_se,
        "low_all": estimate - sure.wider,
        "high_all": estimate + sure.wider,
        "of_alone_diverged": int((of_failed & ~minus_failed).sum()),
        "minus_alone_diverged": int((minus_failed & ~of_failed).sum()),
        "resolved": False,
        "within": "",
        "sentence": "",
    }


@dataclass(frozen=True)
class _Differences:
    """What the numbers per seed come to. An error over questions of exactly 0 comes from a handful of questions that
    were answered alike: it is not known, and NaN."""

    estimate: float
    sd: float
    n: int
    counted: bool
    planned: float
    question_se: float


@dataclass(frozen=True)
class _Certainty:
    """Half-width of the interval, the same with the error over questions, p, and the seeds of the plan."""

    width: float
    wider: float
    p: float
    seeds_needed: float


def _once(seen: _Differences, suite: Suite) -> _Certainty:
    """Student's t: of a number of seeds that was fixed before the run."""
    return _Certainty(
        width=float(half_width(seen.sd, seen.n)),
        wider=float(half_width_all(seen.sd, seen.question_se, seen.n)),
        p=float(t_p_value(seen.estimate, seen.sd, seen.n, counted=seen.counted)),
        seeds_needed=seeds_needed(seen.sd, seen.planned, level=joint_level(suite.family)),
    )


def _at_any_look(seen: _Differences, suite: Suite) -> _Certainty:
    """The sequential t test: of a number of seeds that grew with what was seen."""
    level = joint_level(suite.family)
    return _Certainty(
        width=float(half_width_anytime(seen.sd, seen.n, level=level)),
        wider=float(half_width_all_anytime(seen.sd, seen.question_se, seen.n, level=level)),
        p=float(p_anytime(seen.estimate, seen.sd, seen.n, counted=seen.counted)),
        seeds_needed=seeds_needed_anytime(seen.sd, seen.planned, level=level),
    )


def _plural(axis: str) -> str:
    return "strategies" if axis == "strategy" else f"{axis}s"
