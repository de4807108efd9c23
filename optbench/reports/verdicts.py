"""Contrasts of a suite that was run until they were resolved, each with its verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from optbench.metrics.columns import column
from optbench.reports.frame import records_of
from optbench.reports.sentences import amount_text, difference_text, validity
from optbench.reports.sequential import half_width_anytime, joint_level, log_e_coin

if TYPE_CHECKING:
    from optbench.suite import Suite

Verdict = Literal["better", "worse", "no difference beyond the margin", "unresolved"]


@dataclass(frozen=True)
class Judged:
    """One declared contrast: the arm on its `of` side against the one on its `minus` side.

    `estimate` and the interval [`low`, `high`] are of the metric, `of` minus `minus`, in its unit; infinite ends where
    nothing is known, and no number as the estimate where there is none. `n` is the number of seeds. The verdict is from
    the point of view of `of`, whichever way the column points. `sentence` says all of it.
    """

    name: str
    metric: str
    estimate: float
    low: float
    high: float
    n: int
    margin: float
    verdict: Verdict
    sentence: str


def judged(suite: Suite, contrasts: pd.DataFrame, margin: float) -> list[Judged]:
    """The verdict on each row of `contrasts_of(suite, ...)`, in its order; `margin` >= 0 in the unit of the columns.

    "better" or "worse" where the interval excludes 0 (the sentence says whether by more than the margin), "no
    difference beyond the margin" where it includes 0 and lies within [-margin, margin], else "unresolved". Intervals
    are those of the sequential t test at `joint_level` of the declared contrasts, whether or not seeds were added: with
    a chance of 95% all of them hold at all looks at once, and then no verdict is wrong.

    Bonferroni, and not Holm: Holm gives a contrast more room once others are settled, because a null that was rejected
    rightly cannot be rejected wrongly any more. Here every contrast can be judged wrongly, whatever the truth: one that
    differs as "no difference", one that does not as "better". A settled contrast frees no level.

    **Where runs diverged and the worst value of the column is infinite** (likelihoods), there is no average. What is
    left to compare is how often the sides diverge: where both do equally often, each seed at which one side alone did
    is the toss of a fair coin. The verdict is "worse" or "better" where `log_e_coin` reaches 1 / level (at 5% from 7
    seeds on that are all on one side), else "unresolved", however good the runs are that ended. This test has a level
    of its own. A divergence that has not happened yet is known to neither test: an optimizer that seldom diverges and
    is better where it does not can be called better before it first does.

    Times measured beside other running cells stay unresolved, and so do differences in columns without a direction, and
    contrasts of which a declared pair has no seeds: what is missing (memory ran out, cells failed) may be missing for
    what it would have shown. Raises ValueError for a margin that is negative or no number.
    """
    if not 0 <= margin < math.inf:
        raise ValueError(f"a margin is a number from 0 on, not {margin}")
    return [_judged(row, margin, suite.family) for row in records_of(contrasts)]


def _judged(row: Mapping[str, Any], margin: float, family: int) -> Judged:
    estimate, n, level = float(row["estimate"]), int(row["n"]), joint_level(family)
    low, high = -math.inf, math.inf
    if math.isfinite(estimate):
        width = float(half_width_anytime(row["sd"], n, level=level))
        low, high = estimate - width, estimate + width
    if n > 0 and math.isnan(estimate):
        verdict, says = _by_divergence(row, level)
    else:
        verdict, says = _by_interval(row, low, high, margin)
    sentence = f"{row['name']}: {verdict}{says}{_seen(row, low, high)}{_aside(row, low, high, family)}."
    return Judged(row["name"], row["metric"], estimate, low, high, n, margin, verdict, sentence)


def _by_interval(row: Mapping[str, Any], low: float, high: float, margin: float) -> tuple[Verdict, str]:
    """The verdict, and what the sentence adds to it."""
    known, limit = column(row["metric"]), amount_text(margin, row["metric"])
    if row["contended"]:
        return "unresolved", ", for it was measured beside other running cells"
    if 0 < row["pairs"] < row["pairs_declared"]:
        return "unresolved", ", for a part of what it compares is missing"
    if low > 0 or high < 0:
        if known.direction == "neither":
            return "unresolved", ", for of this column neither more nor less is better"
        verdict: Verdict = "better" if (low > 0) == (known.direction == "higher") else "worse"
        least, most = sorted((abs(low), abs(high)))
        if least > margin:
            return verdict, f", by more than the margin of {limit}"
        if most <= margin:
            return verdict, f", but by no more than the margin of {limit}"
        return verdict, f"; whether by more than the margin of {limit} is open"
    if -margin <= low and high <= margin:
        return "no difference beyond the margin", f" of {limit}"
    if math.isinf(high):
        return "unresolved", ""
    return "unresolved", f", for a difference beyond the margin of {limit} and none are both left"


def _by_divergence(row: Mapping[str, Any], level: float) -> tuple[Verdict, str]:
    of, minus = int(row["of_alone_diverged"]), int(row["minus_alone_diverged"])
    counts = f"{of} of {row['n']} seeds it alone diverged, at {minus} the other side alone"
    if log_e_coin(of, of + minus) < -math.log(level):
        return "unresolved", f", for where runs diverged {row['metric']} has no average: at {counts}"
    verdict: Verdict = "worse" if of > minus else "better"
    return verdict, f", for it diverges {'more' if of > minus else 'less'} often: at {counts}"


def _seen(row: Mapping[str, Any], low: float, high: float) -> str:
    """The estimate with its interval, as far as there are any."""
    if math.isnan(row["estimate"]):
        return ""
    metric = row["metric"]
    over = f" over {row['over']}" if row["over"] else ""
    unit = "points" if column(metric).unit == "fraction" else column(metric).unit
    text = " ".join(part for part in (difference_text(row["estimate"], metric), unit, metric) if part)
    ends = "" if math.isinf(high) else f" [{difference_text(low, metric)}, {difference_text(high, metric)}]"
    return f": {text}{ends}{over}"


def _aside(row: Mapping[str, Any], low: float, high: float, family: int) -> str:
    """How many seeds there are, what the interval holds for, and what is missing."""
    if row["pairs_declared"] == 0:
        return ", for the suite has no two arms that differ in this alone"
    missing = row["pairs_declared"] - row["pairs"]
    notes = [f"{missing} of {row['pairs_declared']} pairs missing"] if missing else []
    if row["n"] == 0:
        return (
            f", for there is nothing to compare yet ({notes[0]})" if notes else ", for there is nothing to compare yet"
        )
    if row["n"] < row["seeds_declared"]:
        notes.append(f"{row['seeds_declared'] - row['n']} of {row['seeds_declared']} seeds incomplete")
    if row["diverged"] and math.isfinite(row["estimate"]):
        notes.append(f"{row['diverged']} diverged cell{'s' if row['diverged'] > 1 else ''} counted as the worst value")
    aside = f" ({'; '.join(notes)})" if notes else ""
    seeds = "1 seed" if row["n"] == 1 else f"n = {row['n']} seeds"
    if math.isnan(row["estimate"]):
        return f"; {seeds}{aside}"
    if row["n"] > 1 and math.isnan(row["sd"]):
        return f"; {seeds} without any spread, so no interval{aside}"
    if math.isinf(high):
        return f"; {seeds}, too few for an interval {validity(family)}{aside}"
    return f"; {seeds}, interval {validity(family)}{aside}"
