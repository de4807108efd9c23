"""Declared contrasts: the difference between arms that agree on everything else, one number per seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optbench.metrics.columns import column
from optbench.reports.frame import AXES, by_arm_and_seed, records_of, refuse_mixed, scored
from optbench.reports.questions import QuestionDifferences
from optbench.reports.sentences import planned_difference, sentence
from optbench.reports.stats import ALPHA, Array, balanced_block, half_width, holm, seeds_needed, t_p_value

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Contrast, Suite


@dataclass(frozen=True)
class Pairs:
    """The pairs of a contrast: places of arms, [pairs] each, and how many names each shared axis takes."""

    of: Array
    minus: Array
    over: Mapping[str, int]


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
    unit), question_se (see `QuestionDifferences`), resolved, sentence.
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


def pairs_of(suite: Suite, contrast: Contrast) -> Pairs:
    """The pairs of arms that a contrast compares."""
    axes = [arm.axes() for arm in suite.arms]
    places = {tuple(names.values()): place for place, names in enumerate(axes)}
    of, minus, shared = [], [], []
    for place, names in enumerate(axes):
        partner = places.get(tuple({**names, **contrast.minus}.values()))
        if partner is None or partner == place or any(names[axis] != name for axis, name in contrast.of.items()):
            continue
        of.append(place)
        minus.append(partner)
        shared.append(names)
    free = [axis for axis in AXES if axis not in contrast.of and axis not in contrast.minus]
    over = {axis: len({names[axis] for names in shared}) for axis in free}
    return Pairs(np.array(of, dtype=int), np.array(minus, dtype=int), over)


_COLUMNS = (
    "name metric estimate half_width low high sd p p_holm n pairs pairs_declared seeds_declared over diverged "
    "contended seeds_needed planned question_se resolved sentence"
).split()


def _row(suite: Suite, cells: pd.DataFrame, contrast: Contrast, questions: QuestionDifferences) -> dict[str, Any]:
    metric, arms = contrast.metric, len(suite.arms)
    pairs = pairs_of(suite, contrast)
    recorded = cells[metric] if metric in cells else pd.Series(math.nan, index=cells.index)
    values = by_arm_and_seed(cells, recorded, arms=arms, empty=math.nan)
    declared = by_arm_and_seed(cells, pd.Series(True, index=cells.index), arms=arms, empty=False)
    of, minus = values[pairs.of], values[pairs.minus]
    in_suite = (declared[pairs.of] & declared[pairs.minus]).any(axis=0)
    kept, seeds = balanced_block((~np.isnan(of) & ~np.isnan(minus))[:, in_suite])
    seeds = np.flatnonzero(in_suite)[seeds]
    block = np.ix_(kept, seeds)
    with np.errstate(invalid="ignore"):
        differences = (of - minus)[block].mean(axis=0) if len(kept) else np.array([])
    n = len(differences)
    finite = n > 0 and bool(np.isfinite(differences).all())
    estimate = float(differences.mean()) if finite else math.nan
    sd = float(differences.std(ddof=1)) if finite and n > 1 else math.nan
    counted = column(metric).counted
    if sd == 0 and not counted:
        sd = math.nan  # Equal by coincidence: no spread to judge by.
    width = float(half_width(sd, n))
    planned = planned_difference(metric, estimate)
    used = np.zeros(values.shape, dtype=bool)
    used[np.ix_(np.concatenate([pairs.of[kept], pairs.minus[kept]]), seeds)] = True
    marked = used[cells["arm"], np.unique(cells["seed"], return_inverse=True)[1]]
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
        "seeds_declared": int(in_suite.sum()),
        "over": " x ".join(f"{count} {_plural(axis)}" for axis, count in pairs.over.items() if count > 1),
        "diverged": int((marked & (cells["outcome"] == "diverged")).sum()),
        "contended": column(metric).measured and bool((marked & cells["contended"]).any()),
        "seeds_needed": seeds_needed(sd, planned, level=ALPHA / max(len(suite.contrasts), 1)),
        "planned": planned,
        "question_se": questions.standard_error(pairs.of[kept], pairs.minus[kept], seeds, metric=metric),
        "resolved": False,
        "sentence": "",
    }


def _plural(axis: str) -> str:
    return "strategies" if axis == "strategy" else f"{axis}s"
