"""A comparison for programs: strict JSON, and CSV with one row per shared name."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from optbench.boards.comparison import Comparison, Line
from optbench.boards.sentences import notes_of, sentences_of
from optbench.metrics.columns import column
from optbench.reports.escape import cell


def json_text(found: Comparison) -> str:
    """One object: see `content_of`."""
    return json.dumps(content_of(found), indent=1, allow_nan=False) + "\n"


def csv_text(found: Comparison) -> str:
    """One row per shared name; whatever is infinite or not known is empty."""
    file = io.StringIO()
    rows = [_flat(line) for line in content_of(found)["lines"]]
    writer = csv.writer(file, lineterminator="\n")
    header = [
        *("name", "verdict", "ours", "ours_value", "ours_n", "ours_diverged", "ours_gain", "ours_gain_low"),
        *("ours_gain_high", "ours_relative_gain", "ours_resolved", "method", "theirs_value", "bound", "state", "grade"),
        *("theirs_n", "theirs_gain", "theirs_relative_gain", "theirs_resolved"),
    ]
    writer.writerow(header)
    for row in rows:
        writer.writerow([_entry(row[name]) for name in header])
    return file.getvalue()


def _entry(value: Any) -> Any:
    return "" if value is None else cell(value) if isinstance(value, str) else value


def _flat(line: dict[str, Any]) -> dict[str, Any]:
    ours, theirs = line["ours"], line["theirs"]
    gain, other = ours["gain"] or {}, theirs["gain"] or {}
    low, high = gain.get("interval") or (None, None)
    return {
        "name": line["name"],
        "verdict": line["verdict"],
        "ours": ours["optimizer"],
        "ours_value": ours["value"],
        "ours_n": ours["n"],
        "ours_diverged": ours["diverged"],
        "ours_gain": gain.get("absolute"),
        "ours_gain_low": low,
        "ours_gain_high": high,
        "ours_relative_gain": gain.get("relative"),
        "ours_resolved": gain.get("resolved"),
        "method": theirs["method"],
        "theirs_value": theirs["value"],
        "bound": theirs["bound"],
        "state": theirs["state"],
        "grade": theirs["grade"],
        "theirs_n": theirs["n"],
        "theirs_gain": other.get("absolute"),
        "theirs_relative_gain": other.get("relative"),
        "theirs_resolved": other.get("resolved"),
    }


def content_of(found: Comparison) -> dict[str, Any]:
    """Everything as JSON data; what is infinite or not known is null. Fractions are fractions, not points."""
    ours, theirs, rank = found.ours, found.theirs, found.rank
    setting = theirs.setting
    return {
        "suite": found.suite,
        "board": theirs.board.name,
        "source": theirs.board.fields.source.model_dump(),
        "column": setting.name,
        "reference": found.reference,
        "ours": {
            "metric": ours.metric,
            "direction": column(ours.metric).direction,
            "strategy": ours.strategy,
            "models": list(ours.models),
            "task": ours.task,
            "budget": ours.budget,
            "has_reference": ours.reference in ours.sides,
            "scale": {
                "parameters": [_number(value) for value in found.scale.parameters],
                "tokens": _number(found.scale.tokens),
                "batch_tokens": _number(found.scale.batch_tokens),
                "devices": list(found.scale.devices),
            },
        },
        "theirs": {
            "metric": setting.metric,
            "unit": setting.unit,
            "direction": setting.direction,
            "form": setting.form,
            "has_reference": theirs.has_reference,
            "scale": setting.scale.model_dump(),
        },
        "lines": [_line(line) for line in found.lines],
        "rank": None
        if rank is None
        else {
            "names": list(rank.names),
            "tau_b": _number(rank.tau),
            "p": _number(rank.p),
            "concordant": rank.concordant,
            "discordant": rank.discordant,
            "tied": rank.tied,
            "within_error_of_reading": rank.blurred,
        },
        "only_ours": list(found.only_ours),
        "only_theirs": list(found.only_theirs),
        "sentences": sentences_of(found),
        "notes": notes_of(found),
    }


def _line(line: Line) -> dict[str, Any]:
    ours, theirs, gain, other = line.ours, line.theirs, line.ours.gain, line.theirs.gain
    return {
        "name": line.name,
        "verdict": line.verdict,
        "why": line.why,
        "ours": {
            "optimizer": ours.optimizer,
            "value": _number(ours.mean),
            "half_width": _number(ours.half_width),
            "n": ours.n,
            "cells": ours.cells,
            "diverged": ours.diverged,
            "gain": None
            if gain is None
            else {
                "absolute": _number(gain.absolute),
                "interval": _interval(gain.absolute, gain.absolute_half_width),
                "relative": _number(gain.relative),
                "relative_interval": _interval(gain.relative, gain.relative_half_width),
                "p": _number(gain.p),
                "p_holm": _number(gain.p_holm),
                "n": gain.n,
                "models": gain.models,
                "models_declared": gain.models_declared,
                "resolved": gain.resolved,
            },
        },
        "theirs": {
            "method": theirs.row.method,
            "because": theirs.row.because,
            "value": _number(theirs.figure.value),
            "bound": theirs.figure.bound,
            "state": theirs.figure.state,
            "grade": theirs.figure.grade,
            "uncertainty": theirs.figure.uncertainty,
            "n": theirs.figure.n,
            "sigma": theirs.figure.sigma,
            "flags": [*theirs.row.flags, *theirs.figure.flags],
            "gain": None
            if other is None
            else {
                "absolute": _number(other.absolute),
                "relative": _number(other.relative),
                "sign": other.sign,
                "half_width": _number(other.half_width),
                "resolved": other.resolved,
            },
        },
    }


def _interval(middle: float, width: float) -> list[float] | None:
    return [middle - width, middle + width] if math.isfinite(middle) and math.isfinite(width) else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
