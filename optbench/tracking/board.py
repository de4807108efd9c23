"""The one run that shows what a suite says: the answer, the report, its contrasts, figures and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from optbench.tracking.content import Content, Table, portable, table_of, titled

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report
    from optbench.store import Store
    from optbench.suite import Suite


def board_mark(report: Report, cells: Mapping[str, str]) -> str:
    """A hash of what the board is made from: the report, and the fingerprints of all cells by their keys."""
    from optbench.reports.data import json_text

    return sha256(json.dumps([json_text(report), sorted(cells.items())]).encode()).hexdigest()


def board_of(suite: Suite, store: Store, report: Report) -> Content:
    """The board. Paths of this machine are left out of it. Raises UserError for damaged records."""
    from optbench.charts.charts import caption_of, draw
    from optbench.charts.files import rendered
    from optbench.page.page import FILE, page_text
    from optbench.page.pictures import pictures_of
    from optbench.panels.base import panel_key
    from optbench.reports.data import csv_text, json_text
    from optbench.reports.documents import markdown_text

    report = _without_paths(report)
    figures = draw(report, store)
    page = page_text(
        report, store, panels=[panel_key(panel) for panel in suite.panels], pictures=pictures_of(figures, report)
    )
    texts = {
        "report.md": markdown_text(report),
        "report.csv": csv_text(report),
        "report.json": json_text(report),
        FILE: page,
    }
    files = {name: text.encode() for name, text in texts.items()}
    pictures = {f"{name}.png": name for name in figures}
    files |= {file: rendered(figures[name], "png") for file, name in pictures.items()}
    return Content(
        config={"suite": suite.name, "question": suite.question, "seeds": len(suite.seeds), "arms": len(suite.arms)},
        summary={"cells": len(report.cells), "cells_missing": report.missing},
        tables={
            "answer": _lines("answer", report.answer.lines),
            "report": _arms(report),
            "contrasts": table_of(report.contrasts),
        },
        files=files,
        captions={file: caption_of(name, report) for file, name in pictures.items()},
        artifact="board",
        notes="\n\n".join([suite.question, *report.answer.lines]),
    )


def _without_paths(report: Report) -> Report:
    """The report as if it had been called from the folder of its suite and records, where they are named absolutely."""
    names = {path: portable(path) for path in (report.path, report.results)}

    def hidden(lines: Sequence[str]) -> tuple[str, ...]:
        found = tuple(lines)
        for path, name in names.items():
            found = tuple(line.replace(path, name) for line in found)
        return found

    tables = tuple(replace(table, lines=hidden(table.lines)) for table in report.answer.tables)
    answer = replace(report.answer, tables=tables, lines=hidden(report.answer.lines))
    return replace(report, path=names[report.path], results=names[report.results], answer=answer)


def _arms(report: Report) -> Table:
    """A row for each arm: means and half-widths of what was measured, with units; columns without a value are left
    out."""
    from optbench.reports.frame import MEAN, WIDTH, budgets_of, metrics_of

    frame = report.arms.join(report.compute)
    frame["budget"] = budgets_of(report.cells)
    names = {name: name for name in ("name", "model", "task", "strategy", "optimizer", "budget", "seeds")}
    for metric in metrics_of(report.cells):
        names |= {metric + MEAN: titled(metric), metric + WIDTH: f"{titled(metric)}, half-width"}
    names |= {str(name): str(name) for name in report.compute.columns}
    table = table_of(frame[list(names)].rename(columns=names))
    kept = [place for place in range(len(names)) if any(row[place] is not None for row in table.rows)]
    return Table([table.columns[place] for place in kept], [[row[place] for place in kept] for row in table.rows])


def _lines(title: str, lines: Sequence[str]) -> Table:
    return Table([title], [[line] for line in lines])
