"""The declared contrasts as rows with a picture each: the difference as a dot, its interval as a bar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from optbench.metrics.columns import column
from optbench.reports.frame import records_of
from optbench.reports.sentences import difference_text, minutes_text

WIDTH, HEIGHT, MARGIN = 240, 24, 12
"""Of a picture, in its own units, and what stays free at its left and right end."""


@dataclass(frozen=True)
class Picture:
    """Places from left to right: zero, the difference, and the ends of its interval (None: there is no interval)."""

    zero: float
    dot: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Row:
    """One contrast. `verdict` is a class: resolved, worse (resolved the other way), open (not resolved) or none."""

    name: str
    metric: str
    estimate: str
    interval: str
    seeds: str
    p: str
    verdict: str
    says: str
    next: str
    picture: Picture | None
    sentence: str


@dataclass(frozen=True)
class Group:
    """The contrasts of one metric: they share a scale from `least` to `most`, as texts."""

    metric: str
    unit: str
    better: str
    doc: str
    least: str
    most: str
    rows: Sequence[Row]


def groups_of(contrasts: pd.DataFrame) -> list[Group]:
    """The contrasts by metric, each in the order of the suite."""
    found = []
    for metric, part in contrasts.groupby("metric", sort=False):
        rows = records_of(part)
        known = column(str(metric))
        ends = [abs(row[end]) for row in rows for end in ("estimate", "low", "high") if math.isfinite(row[end])]
        reach = max(ends, default=0.0)
        found.append(
            Group(
                metric=str(metric),
                unit="points" if known.unit == "fraction" else known.unit,
                better=known.direction,
                doc=known.doc,
                least=difference_text(-reach, str(metric)) if reach else "",
                most=difference_text(reach, str(metric)) if reach else "",
                rows=[_row(row, reach) for row in rows],
            )
        )
    return found


def _row(row: Mapping[str, Any], reach: float) -> Row:
    metric, estimate = row["metric"], row["estimate"]
    finite = math.isfinite(row["half_width"]) and math.isfinite(estimate)
    low, high = (difference_text(row[end], metric) if finite else "" for end in ("low", "high"))
    verdict, says = _verdict(row)
    return Row(
        name=row["name"],
        metric=metric,
        estimate=difference_text(estimate, metric) if math.isfinite(estimate) else "-",
        interval=f"[{low}, {high}]" if finite else "no interval",
        seeds=f"{row['n']} of {row['seeds_declared']}" if row["n"] < row["seeds_declared"] else str(row["n"]),
        p=_p(row["p_holm"]),
        verdict=verdict,
        says=says,
        next=_next(row),
        picture=_picture(row, reach, finite) if math.isfinite(estimate) and reach else None,
        sentence=row["sentence"],
    )


def _verdict(row: Mapping[str, Any]) -> tuple[str, str]:
    if row["n"] == 0 or row["pairs_declared"] == 0:
        return "none", "nothing to compare yet"
    if row["contended"]:
        return "open", "not ranked"
    if row["within"]:
        return "open", "no difference beyond the margin"
    if not row["resolved"]:
        return "open", "not resolved"
    direction = column(row["metric"]).direction
    if direction == "neither":
        return "resolved", "resolved"
    better = (row["estimate"] > 0) == (direction == "higher")
    return ("resolved", "resolved: better") if better else ("worse", "resolved: worse")


def _next(row: Mapping[str, Any]) -> str:
    """What would resolve it, where it is not resolved."""
    if row["resolved"]:
        return ""
    if row["within"]:
        return f"The interval lies within the margin of {row['within']} that seeds were added for."
    if row["pairs_declared"] == 0:
        return "The suite has no two arms that differ in this alone."
    missing = row["pairs_declared"] - row["pairs"]
    if row["n"] == 0:
        return f"{missing} of {row['pairs_declared']} pairs have no complete records: run the missing cells."
    if row["contended"]:
        return "Measured beside other running cells: run with --workers 1."
    lacking = f" First the {missing} missing pairs of {row['pairs_declared']}." if missing else ""
    if row["n"] == 1:
        minutes = row["minutes_per_seed"]
        each = "" if math.isnan(minutes) else f", {minutes_text(minutes)} each"
        return f"More seeds{each}.{lacking}"
    needed = row["seeds_needed"]
    one_point = column(row["metric"]).unit == "fraction"
    what = "a difference of 1 point" if one_point else "a difference of this size"
    if math.isnan(needed):
        return lacking.strip()
    if math.isinf(needed):
        return f"No practical number of seeds would resolve {what}.{lacking}"
    more = needed - row["n"]
    if more <= 0:
        return f"As many seeds show {what} four times in five: a smaller one needs more.{lacking}"
    time = "" if math.isnan(row["minutes_needed"]) else f", {minutes_text(row['minutes_needed'])}"
    return f"{needed:.0f} seeds would resolve {what} ({more:.0f} more{time}).{lacking}"


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def _picture(row: Mapping[str, Any], reach: float, finite: bool) -> Picture:
    def place(value: float) -> float:
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (value + reach) / (2 * reach), 1)

    ends = (place(row["low"]), place(row["high"])) if finite else (None, None)
    return Picture(place(0.0), place(row["estimate"]), *ends)
