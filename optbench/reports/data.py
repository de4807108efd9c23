"""The report for programs: strict JSON, and CSV with one row per arm."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from optbench.reports.answer_data import answer_data, number, standings_data
from optbench.reports.escape import cell
from optbench.reports.frame import COUNT, MEAN, OUTCOMES, WIDTH, budgets_of, metrics_of, records_of
from optbench.reports.panels import PanelTable
from optbench.reports.pareto import AXES
from optbench.reports.tuning_data import tuning_columns, tuning_data

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report


def json_text(report: Report) -> str:
    """One object; whatever is infinite or not a number is null. Fractions are fractions, not points."""
    content = {
        "suite": report.suite,
        "question": report.question,
        "ranked_by": report.ranked_by,
        "cells": {"declared": len(report.cells), "missing": report.missing},
        "arms": [
            _arm(row, metrics_of(report.cells), report.ranked_by)
            for row in records_of(report.arms.join(report.compute))
        ],
        "answer": {
            "lines": list(report.answer.lines),
            "tables": [answer_data(table) for table in report.answer.tables],
        },
        "standings": [standings_data(table) for table in report.standings],
        "contrasts": [_contrast(row) for row in records_of(report.contrasts)],
        "panels": [_panel(table) for table in report.panels],
        "tuning": None if report.tuning is None else tuning_data(report.tuning),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def csv_text(report: Report) -> str:
    """One row per arm: the columns of `arms_of`, `front_columns` and `compute_of`, and where trials are recorded those
    of `tuning_columns`. Whatever is infinite or not a number is empty."""
    table = report.arms.join(report.compute)
    if report.tuning is not None:
        table = table.assign(**tuning_columns(report.tuning, table["name"].tolist()))
    table["budget"] = budgets_of(report.cells)
    for name in ("name", "model", "task", "strategy", "optimizer", "budget"):
        table[name] = table[name].map(cell)
    table.columns = pd.Index([cell(name) for name in table.columns])
    numbers = table.select_dtypes("float").columns
    table[numbers] = table[numbers].where(table[numbers].abs() != math.inf)
    return table.to_csv(index=False, lineterminator="\n")


def _arm(row: Mapping[str, Any], metrics: list[str], ranked_by: str) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("name", "model", "task", "strategy", "optimizer", "budget")},
        "seeds": row["seeds"],
        "seeds_declared": row["seeds_declared"],
        "outcomes": {outcome: row[outcome] for outcome in OUTCOMES if row[outcome]},
        "contended": row["contended"],
        "metrics": {
            name: {
                "mean": number(row[name + MEAN]),
                "half_width": number(row[name + WIDTH]),
                "n": int(row[name + COUNT]),
            }
            for name in metrics
            if row[name + COUNT] or name == ranked_by
        },
        "compute": {name: number(row[name]) for name in ("compute", "compute_shared", "over_budget")},
        "fronts": {
            axis: {
                "by_means": bool(row[f"front_{axis}"]),
                "mark": row[f"front_{axis}_mark"] or None,
                "price": row[f"front_{axis}_price"] or None,
            }
            for axis in AXES
        },
    }


def _contrast(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": row["name"],
        "metric": row["metric"],
        "estimate": number(row["estimate"]),
        "half_width": number(row["half_width"]),
        "interval": _interval(row["low"], row["high"]),
        "p_holm": number(row["p_holm"]),
        "n": row["n"],
        "pairs": row["pairs"],
        "pairs_declared": row["pairs_declared"],
        "seeds_declared": row["seeds_declared"],
        "diverged": row["diverged"],
        "question_standard_error": number(row["question_se"]),
        "interval_all_questions": _interval(row["low_all"], row["high_all"]),
        "planned_difference": number(row["planned"]),
        "seeds_needed": int(row["seeds_needed"]) if math.isfinite(row["seeds_needed"]) else None,
        "minutes_per_seed": number(row["minutes_per_seed"]),
        "minutes_needed": number(row["minutes_needed"]),
        "resolved": bool(row["resolved"]),
        "sentence": row["sentence"],
    }


def _panel(table: PanelTable) -> dict[str, Any]:
    frames = {"mean": table.mean, "half_width": table.half_width, "n": table.n}
    return {
        "task": table.standings.task,
        "budget": dict(table.standings.given),
        "family": table.family,
        "minus": None if table.minus is None else dict(zip(("optimizer", "strategy"), table.minus, strict=True)),
        "rows": [
            {
                "optimizer": optimizer,
                "strategy": strategy,
                "values": {
                    name: {word: number(frame[name].iloc[place]) for word, frame in frames.items()}
                    for name in table.mean
                },
            }
            for place, (optimizer, strategy) in enumerate(table.mean.index)
        ],
    }


def _interval(low: float, high: float) -> list[float] | None:
    return [float(low), float(high)] if math.isfinite(low) and math.isfinite(high) else None
