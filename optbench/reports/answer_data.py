"""The answer and the standings as JSON data; whatever is infinite or not a number is null."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from optbench.metrics.columns import column
from optbench.reports.answer import Bill, Plan, Ranking, TableAnswer
from optbench.reports.standings import Row, Standings, rows_of


def number(value: float) -> float | None:
    """A number for JSON."""
    return float(value) if math.isfinite(value) else None


def answer_data(table: TableAnswer) -> dict[str, Any]:
    """The answer for one task and budget: its sentences, and what they say as data."""
    return {
        "task": table.task,
        "budget": dict(table.given),
        "score": table.score,
        "direction": column(table.score).direction,
        "questions": table.questions,
        "scale": table.scale,
        "lines": list(table.lines),
        "rankings": [_ranking(ranking) for ranking in table.rankings],
        "cost": None if table.bill is None else _bill(table.bill),
        "cheapest_supported": None if table.cheapest is None else _bill(table.cheapest),
        "minutes_per_seed": number(table.minutes_per_seed),
        "diverged_in_part": [
            {**_row(row), "diverged": few, "cells": many} for row, (few, many) in table.partly_diverged.items()
        ],
        "out_of_memory": _rows(table.out_of_memory),
    }


def standings_data(table: Standings) -> dict[str, Any]:
    """The standings of one task and budget: for each row and column the figure, what supports it, and its places."""
    frames = {"mean": table.mean, "half_width": table.half_width}
    flags = {"tied": table.tied, "supported": table.supported, "diverged": table.diverged}
    rows = []
    for place, row in enumerate(rows_of(table.mean)):
        columns: dict[str, Any] = {}
        for name in map(str, table.mean):
            columns[name] = {
                **{word: number(frame[name].iloc[place]) for word, frame in frames.items()},
                "n": int(table.n[name].iloc[place]),
                **{word: bool(frame[name].iloc[place]) for word, frame in flags.items()},
                "fronts": {
                    axis: {
                        "by_means": bool(front.by_means[name].iloc[place]),
                        "mark": front.mark[name].iloc[place] or None,
                        "price": front.price[name] or None,
                    }
                    for axis, front in table.fronts.items()
                },
            }
        rows.append({**_row(row), "columns": columns})
    return {"task": table.task, "budget": dict(table.given), "score": table.score, "rows": rows}


def _ranking(ranking: Ranking) -> dict[str, Any]:
    return {
        "column": ranking.column,
        "best": None if ranking.best is None else _standing(ranking, ranking.best),
        "not_resolved_from_best": [_standing(ranking, row) for row in ranking.tied],
        "supported": _rows(ranking.supported),
        "resolved_as_worse": _rows(ranking.worse),
        "not_at_the_level_of_pairs": _rows(ranking.unsure),
        "without_figure": _rows(ranking.unknown),
        "diverged": _rows(ranking.failed),
        "seeds": ranking.n,
        "half_width_chosen": number(ranking.half_width_chosen),
        "plan": None if ranking.plan is None else _plan(ranking.plan),
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "second": _row(plan.second),
        "difference": number(plan.difference),
        "seeds_needed": number(plan.seeds),
        "seeds_missing": number(plan.missing),
        "minutes_needed": number(plan.minutes),
    }


def _bill(bill: Bill) -> dict[str, Any]:
    ratios = {"compute": bill.compute, "time": bill.time, "peak_memory": bill.peak, "state": bill.state}
    return {
        **_row(bill.row),
        "relative_to": _row(bill.against),
        **{name: number(value) for name, value in ratios.items()},
    }


def _standing(ranking: Ranking, row: Row) -> dict[str, Any]:
    mean, width = ranking.means[row]
    return {**_row(row), "mean": number(mean), "half_width": number(width)}


def _rows(rows: Iterable[Row]) -> list[dict[str, str]]:
    return [_row(row) for row in rows]


def _row(row: Row) -> dict[str, str]:
    return dict(zip(("optimizer", "strategy"), row, strict=True))
