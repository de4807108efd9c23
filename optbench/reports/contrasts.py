"""Declared contrasts: the difference between arms that agree on everything else, one number per seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optbench.metrics.columns import column
from optbench.reports.frame import records_of, refuse_mixed, scored
from optbench.reports.pairs import complete_block, pairs_of, per_seed, spread_of
from optbench.reports.plans import minutes_needed, minutes_per_seed
from optbench.reports.questions import QuestionDifferences
from optbench.reports.sentences import planned_difference, sentence
from optbench.reports.stats import ALPHA, half_width, half_width_all, holm, seeds_needed, t_p_value

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Contrast, Suite


def contrasts_of(suite: Suite, store: Store, cells: pd.DataFrame) -> pd.DataFrame:
    """One row per declared contrast, in the order of the suite.

    Two arms form a pair where one has the names of `of`, the other those of `minus`, and both agree on every axis
    that neither names. At each seed the differences are averaged over the pairs; Student's t runs over these numbers,
    and Holm over all declared contrasts. Only pairs and seeds that are complete enter (`balanced_block`); how many
    are missing is said.

    A diverged cell counts as the worst value of the metric (accuracy 0), and how many did is said. Where the worst
    value is infinite (likelihoods), the pair cannot be averaged and the estimate is NaN. Cells that ran out of memory
    are missing. Times taken beside other running cells are shown and never called resolved.

    Columns: name, metric, estimate, half_width, low, high (the interval), sd (of the numbers per seed), p, p_holm, n
    (seeds), pairs, pairs_declared, seeds_declared, over (in words), diverged (cells), contended,
    seeds_needed (for `planned`, at the level that Holm asks of the smallest p), planned (a difference, in the metric's
    unit), minutes_per_seed (of all declared pairs), minutes_needed (for the seeds that are missing to seeds_needed),
    question_se (see `QuestionDifferences`), low_all, high_all (the interval that counts this error too, see
    `half_width_all`; infinite where it is unknown), resolved, sentence.
    """
    refuse_mixed(cells)
    pooled = scored(cells)
    questions = QuestionDifferences(suite, store, cells)
    rows = [_row(suite, pooled, contrast, questions) for contrast in suite.contrasts]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    if len(table):
        table["p_holm"] = holm(table["p"].to_numpy(float))
        table["resolved"] = (table["p_holm"] < ALPHA) & ~table["contended"].astype(bool)
    table["sentence"] = [sentence(row, len(table)) for row in records_of(table)]
    return table


_COLUMNS = (
    "name metric estimate half_width low high sd p p_holm n pairs pairs_declared seeds_declared over diverged "
    "contended seeds_needed planned minutes_per_seed minutes_needed question_se low_all high_all resolved sentence"
).split()


def _row(suite: Suite, cells: pd.DataFrame, contrast: Contrast, questions: QuestionDifferences) -> dict[str, Any]:
    metric = contrast.metric
    pairs = pairs_of(suite, contrast.of, contrast.minus)
    block = complete_block(cells, pairs, metric, arms=len(suite.arms))
    with np.errstate(invalid="ignore"):
        differences = per_seed(block.of - block.minus)
    n = len(differences)
    counted = column(metric).counted
    estimate, sd = spread_of(differences, counted=counted)
    width = float(half_width(sd, n))
    planned = planned_difference(metric, estimate)
    needed = seeds_needed(sd, planned, level=ALPHA / max(len(suite.contrasts), 1))
    minutes = minutes_per_seed(cells, np.concatenate([pairs.of, pairs.minus]), workers=suite.execution.workers)
    kept, marked = block.pairs, block.used
    question_se = questions.standard_error(pairs.of[kept], pairs.minus[kept], block.seeds, metric=metric)
    # An error of exactly 0 comes from a handful of questions answered alike: it is not known.
    wider = float(half_width_all(sd, question_se or math.nan, n))
    return {
        "name": contrast.name,
        "metric": metric,
        "estimate": estimate,
        "half_width": width,
        "low": estimate - width,
        "high": estimate + width,
        "sd": sd,
        "p": float(t_p_value(estimate, sd, n, counted=counted)),
        "n": n,
        "pairs": len(kept),
        "pairs_declared": len(pairs.of),
        "seeds_declared": block.seeds_declared,
        "over": " x ".join(f"{count} {_plural(axis)}" for axis, count in pairs.over.items() if count > 1),
        "diverged": int((marked & (cells["outcome"] == "diverged")).sum()),
        "contended": column(metric).measured and bool((marked & cells["contended"]).any()),
        "seeds_needed": needed,
        "planned": planned,
        "minutes_per_seed": minutes,
        "minutes_needed": minutes_needed(needed, n, minutes),
        "question_se": question_se,
        "low_all": estimate - wider,
        "high_all": estimate + wider,
        "resolved": False,
        "sentence": "",
    }


def _plural(axis: str) -> str:
    return "strategies" if axis == "strategy" else f"{axis}s"
