"""What a contrast says, in a sentence; and how numbers of a column are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optbench.metrics.columns import column, worst

POINT = 0.01


def planned_difference(metric: str, estimate: float) -> float:
    """The difference that the number of seeds is planned for: one point of a fraction, else the one that was seen."""
    return POINT if column(metric).unit == "fraction" else abs(estimate)


def sentence(row: Mapping[str, Any], family: int, *, added: bool) -> str:
    """One row of `contrasts_of` in words.

    `family` is the number of declared contrasts, `added` whether seeds were added to the suite one look after another.
    """
    if row["pairs_declared"] == 0:
        return f"{row['name']}: the suite has no two arms that differ in this alone."
    over = f" over {row['over']}" if row["over"] else ""
    missing = row["pairs_declared"] - row["pairs"]
    notes = []
    if missing:
        notes.append(f"{missing} of {row['pairs_declared']} pairs missing")
    if row["n"] == 0:
        return f"{row['name']}: no {column(row['metric']).name} to compare yet{over} ({notes[0]})."
    if row["n"] < row["seeds_declared"]:
        notes.append(f"{row['seeds_declared'] - row['n']} of {row['seeds_declared']} seeds incomplete")
    if row["diverged"] and not math.isnan(worst(row["metric"])):
        notes.append(_diverged(row))
    aside = f" ({'; '.join(notes)})" if notes else ""
    return f"{row['name']}: {_estimate(row)}{over}, {_verdict(row, family, added)}{aside}."


def difference_text(value: float, metric: str) -> str:
    """A difference with its sign, fractions in points."""
    known = column(metric)
    if known.unit == "fraction":
        return f"{100 * value:+.1f}"
    return f"{value:+.3g}"


def amount_text(value: float, metric: str) -> str:
    """An amount as it was given, with the unit of the column, fractions in points."""
    known = column(metric)
    if known.unit == "fraction":
        return f"{100 * value:g} point{'' if value == 0.01 else 's'}"
    return f"{value:g} {known.unit}".rstrip()


def _estimate(row: Mapping[str, Any]) -> str:
    known = column(row["metric"])
    unit = "points" if known.unit == "fraction" else known.unit
    if math.isnan(row["estimate"]):
        return f"no average {known.name}"
    text = " ".join(part for part in (difference_text(row["estimate"], row["metric"]), unit, known.name) if part)
    if math.isinf(row["half_width"]):
        return text
    low, high = (difference_text(row[end], row["metric"]) for end in ("low", "high"))
    return f"{text} [{low}, {high}]"


def validity(family: int) -> str:
    """What the intervals of a suite with added seeds are valid for."""
    return "valid under repeated looks" + (f" and for all {family} contrasts at once" if family > 1 else "")


def _verdict(row: Mapping[str, Any], family: int, added: bool) -> str:
    if row["n"] == 1:
        seeds = "1 seed"
    else:
        seeds = f"n = {row['n']} seeds"
    if row["contended"]:
        return f"{seeds}: measured beside other running cells, so not ranked"
    if row["n"] == 1:
        return f"{seeds}: not resolved with one seed"
    if math.isnan(row["p_holm"]):
        return f"{seeds}: not resolved"
    if added and math.isinf(row["half_width"]):
        return f"{seeds}, too few for an interval {validity(family)}: not resolved{_plan(row)}"
    if added:
        none = f"no difference beyond the margin of {row['within']}" if row["within"] else f"not resolved{_plan(row)}"
        return f"{seeds}, interval {validity(family)}: {'resolved' if row['resolved'] else none}"
    p = "Holm p < 0.001" if row["p_holm"] < 0.001 else f"Holm p = {row['p_holm']:.2g}"
    if family == 1:
        p = p.removeprefix("Holm ")
    if row["resolved"]:
        return f"{seeds}, {p}: resolved"
    return f"{seeds}, {p}: not resolved{_plan(row)}"


def _plan(row: Mapping[str, Any]) -> str:
    seeds = row["seeds_needed"]
    if math.isnan(seeds):
        return ""
    one_point = column(row["metric"]).unit == "fraction"
    difference = "a difference of 1 point" if one_point else "a difference of this size"
    if math.isinf(seeds):
        return f"; no practical number of seeds would resolve {difference}"
    return f"; {seeds:.0f} seeds would resolve {difference}{_time(row)}"


def _time(row: Mapping[str, Any]) -> str:
    """How many seeds that is more, and what they take on the workers of the suite."""
    more = row["seeds_needed"] - row["n"]
    if more <= 0 or math.isnan(row["minutes_needed"]):
        return ""
    return f" ({more:.0f} more: {minutes_text(row['minutes_needed'])})"


def minutes_text(minutes: float) -> str:
    """A time in words: minutes up to two hours, then hours, then days."""
    if minutes < 1:
        return "less than a minute"
    if minutes < 120:
        return f"about {minutes:.0f} minute{'s' if round(minutes) != 1 else ''}"
    hours = minutes / 60
    return f"about {hours:.0f} hours" if hours < 72 else f"about {hours / 24:,.0f} days"


def _diverged(row: Mapping[str, Any]) -> str:
    cells = "1 diverged cell counts" if row["diverged"] == 1 else f"{row['diverged']} diverged cells count"
    return f"{cells} as {row['metric']} {worst(row['metric']):g}"
