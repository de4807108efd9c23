"""A repetition in sentences, as a table, as Markdown, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from optbench.boards.rendering import Format, fitting, pipes, wrapped
from optbench.boards.repetition import UNKNOWN, ArmTwice, Repetition
from optbench.boards.words import listed, unit_of
from optbench.reports.escape import cell, markdown
from optbench.reports.figures import NOTHING
from optbench.reports.sentences import difference_text

MOST = 5
"""Cells that differ are named up to this number; the others are counted."""

_HEADER = ("arm", "equal", "differing", "only here", "only there", "difference [95%]", "n", "resolved")


def repetition_text(found: Repetition, format: Format, *, width: int) -> str:
    """The repetition as text, ending in a newline; `width` (columns) matters to the format `table` alone."""
    match format:
        case "table":
            lines = [wrapped(text, width) for text in sentences_of(found)]
            # Arms in which nothing differs and nothing is missing are said in the sentences.
            rows = [_row(arm, found.metric) for arm in found.arms if not arm.is_whole]
            tables = ["", "\n\n".join(fitting(_HEADER, rows, width))] if rows else []
            return "\n".join([*lines, *tables]) + "\n"
        case "markdown":
            lines = [f"## {markdown(found.suite)}, run twice", "", *(f"- {markdown(t)}" for t in sentences_of(found))]
            return "\n".join([*lines, "", *pipes(_HEADER, [_row(arm, found.metric) for arm in found.arms])]) + "\n"
        case "json":
            return json.dumps(content_of(found), indent=1, allow_nan=False) + "\n"
        case "csv":
            return _csv(found)


def sentences_of(found: Repetition) -> list[str]:
    """What the two share, where they differ, and what they were made with."""
    return list(_sentences(found))


def _sentences(found: Repetition) -> Iterator[str]:
    equal, differing, only_this, only_other, outcomes = (
        sum(getattr(arm, name) for arm in found.arms)
        for name in ("equal", "differing", "only_this", "only_other", "outcomes")
    )
    both = equal + differing
    yield f"The suite {found.suite} in {found.this} (here) and in {found.other} (there), paired cell by cell."
    if both == 0:
        yield f"They share no cell: {only_this} are only here and {only_other} only there."
    else:
        text = f"{both} of {found.cells} cells are in both: {equal} equal to the last bit, {differing} differing"
        text += f", {outcomes} of them in their outcome" if outcomes else ""
        one_side = f" {only_this} are only here and {only_other} only there; those are in no difference."
        yield f"{text}.{one_side if only_this or only_other else ''}"
    if found.strangers:
        yield (
            f"{len(found.strangers)} keys hold different cells in the two and were left out, for instance "
            f"{found.strangers[0]}: a record was changed, or another version wrote it."
        )
    yield from _verdicts(found, both, equal)
    if found.cells_unequal:
        shown = [
            f"{arm}, seed {seed} ({key}), {_gap(gap, found.metric)}" for arm, seed, key, gap in found.cells_unequal
        ]
        rest = f"; and {len(shown) - MOST} more" if len(shown) > MOST else ""
        yield f"Cells that differ: {'; '.join(shown[:MOST])}{rest}."
    if found.unexplained:
        cells = "1 cell that differs was" if found.unexplained == 1 else f"{found.unexplained} cells that differ were"
        yield (
            f"{cells} made with the same of everything that is recorded, and a repetition gives the same bits: a "
            "record was changed, or something that no record holds was not the same."
        )
    if both:
        made = [f"{one.name}: {_made(one.this)} here, {_made(one.other)} there" for one in found.provenance]
        same = "Both were made with the same versions, settings and devices."
        yield f"Made with different {'; '.join(made)}." if made else same


def _verdicts(found: Repetition, both: int, equal: int) -> Iterator[str]:
    if both and both == equal:
        yield "A repetition in full: no number of the cells that both have differs."
    resolved = [arm.arm for arm in found.arms if arm.resolved]
    if resolved:
        yield (
            f"Resolved in {found.metric}, by paired differences over seeds and Holm over {len(found.arms)} arms: "
            f"{listed(resolved)}. The same seeds gave other numbers, and not by chance alone."
        )
    elif both != equal:
        yield f"No difference in {found.metric} is resolved. That does not show that the two are alike."


def _row(arm: ArmTwice, metric: str) -> list[str]:
    counts = [str(count) for count in (arm.equal, arm.differing, arm.only_this, arm.only_other)]
    judged = "yes" if arm.resolved else "no" if arm.n else NOTHING
    return [arm.arm, *counts, _difference(arm, metric), str(arm.n), judged]


def _difference(arm: ArmTwice, metric: str) -> str:
    if math.isnan(arm.difference):
        return NOTHING
    text = _gap(arm.difference, metric)
    if math.isinf(arm.half_width) or math.isinf(arm.difference):
        return text
    low, high = arm.difference - arm.half_width, arm.difference + arm.half_width
    return f"{text} [{difference_text(low, metric)}, {difference_text(high, metric)}]"


def _gap(value: float, metric: str) -> str:
    if math.isnan(value):
        return f"{metric} on one side only"
    if math.isinf(value):
        return "one of them diverged"
    return " ".join(part for part in (difference_text(value, metric), unit_of(metric)) if part)


def _made(counts: Mapping[str, int]) -> str:
    return (
        listed(f"{value} ({count} cell{'s' * (count != 1)})" for value, count in counts.items()) if counts else UNKNOWN
    )


def content_of(found: Repetition) -> dict[str, Any]:
    """Everything as JSON data; what is infinite or not known is null. Differences are there minus here."""
    return {
        "suite": found.suite,
        "this": found.this,
        "other": found.other,
        "metric": found.metric,
        "cells": found.cells,
        "arms": [_arm(arm) for arm in found.arms],
        "strangers": list(found.strangers),
        "differing": [
            {"arm": arm, "seed": seed, "key": key, "difference": _number(gap)}
            for arm, seed, key, gap in found.cells_unequal
        ],
        "unexplained": found.unexplained,
        "provenance": [
            {"name": unequal.name, "this": dict(unequal.this), "other": dict(unequal.other)}
            for unequal in found.provenance
        ],
        "sentences": sentences_of(found),
    }


def _arm(arm: ArmTwice) -> dict[str, Any]:
    known = math.isfinite(arm.difference) and math.isfinite(arm.half_width)
    return {
        "arm": arm.arm,
        "equal": arm.equal,
        "differing": arm.differing,
        "outcomes": arm.outcomes,
        "only_this": arm.only_this,
        "only_other": arm.only_other,
        "difference": _number(arm.difference),
        "interval": [arm.difference - arm.half_width, arm.difference + arm.half_width] if known else None,
        "p": _number(arm.p),
        "p_holm": _number(arm.p_holm),
        "n": arm.n,
        "resolved": arm.resolved,
    }


def _csv(found: Repetition) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = "arm equal differing outcomes only_this only_other difference low high p p_holm n resolved".split()
    writer.writerow(names)
    for arm in found.arms:
        row = _arm(arm)
        low, high = row.pop("interval") or (None, None)
        row |= {"low": low, "high": high, "arm": cell(arm.arm)}
        writer.writerow(["" if row[name] is None else row[name] for name in names])
    return file.getvalue()


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
