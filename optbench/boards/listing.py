"""The boards that are there, as a table, as Markdown, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from optbench.boards.board import Board
from optbench.boards.rendering import Format, pipes, wrapped
from optbench.reports.escape import cell


def listing_text(boards: Sequence[Board], format: Format, *, width: int) -> str:
    """The boards as text, ending in a newline; `width` (columns) matters to the format `table` alone."""
    contents = [content_of(board) for board in boards]
    match format:
        case "table":
            lines = [line for content in contents for line in _described(content, width)]
            return "\n".join(lines) + "\n"
        case "markdown":
            header = ("board", "what", "grade", "metric", "settings", "rows", "source")
            return "\n".join(pipes(header, [_row(content) for content in contents])) + "\n"
        case "json":
            return json.dumps({"boards": contents}, indent=1, allow_nan=False) + "\n"
        case "csv":
            file = io.StringIO()
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("board", "title", "grade", "metric", "settings", "rows", "source"))
            writer.writerows([cell(text) for text in _row(content)] for content in contents)
            return file.getvalue()


def content_of(board: Board) -> dict[str, Any]:
    """A board as JSON data: what it is, without its figures."""
    figures = [figure for row in board.rows for figure in row.figures.values()]
    return {
        "board": board.name,
        "path": str(board.path),
        "title": board.fields.title,
        "grades": list(dict.fromkeys(figure.grade for figure in figures)),
        "metric": board.fields.metric,
        "unit": board.fields.unit,
        "direction": board.fields.direction,
        "settings": {name: setting.about for name, setting in board.settings.items()},
        "rows": len(board.rows),
        "figures": len(figures),
        "source": board.fields.source.model_dump(),
    }


def _described(content: dict[str, Any], width: int) -> list[str]:
    counts = f"{content['rows']} rows, {content['figures']} figures, {' and '.join(content['grades'])}"
    settings = "; ".join(f"{name} ({about})" for name, about in content["settings"].items())
    better = "" if content["direction"] == "neither" else f", {content['direction']} is better"
    texts = [
        f"{content['metric']}{better}; {counts}",
        f"columns: {settings}",
        f"source: {_source(content)}",
    ]
    head = wrapped(f"{content['board']}: {content['title']}", width)
    return [head, *(wrapped(text, width, indent="  ") for text in texts)]


def _row(content: dict[str, Any]) -> list[str]:
    names = ("board", "title", "grades", "metric", "settings", "rows")
    values = [content[name] for name in names]
    texts = [", ".join(value) if isinstance(value, list | dict) else str(value) for value in values]
    return [*texts, _source(content)]


def _source(content: dict[str, Any]) -> str:
    source = content["source"]
    through = f"through {source['through']}" if source["through"] else None
    return "; ".join(part for part in (source["paper"], source["repository"], source["where"], through) if part)
