"""Rows of a local file whose fields may be text in one row and a number in the next, which columns cannot hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from optbench.errors import UserError
from optbench.tasks.hub import Rows

FILES = (".json", ".jsonl", ".parquet", ".txt")


def read_file(path: str) -> Rows:
    """The rows of a .json file (a list of objects, or one object a line), a .jsonl file, a .parquet file, or a .txt
    file with a question and its answer on alternate lines.

    Numbers in JSON are kept as they are written: 0.10 is the text "0.10". Raises UserError, naming file and line.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise UserError(f"{path}: there is no such file (looked from {Path.cwd()})")
    if place.suffix == ".parquet":
        return _parquet(place)
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if place.suffix == ".txt":
        return _pairs(path, text)
    if place.suffix == ".json" and text.lstrip().startswith("["):
        return _objects(path, _parsed(text, path))
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return [row for number, line in lines for row in _objects(f"{path}:{number}", [_parsed(line, f"{path}:{number}")])]


def _parquet(place: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: Rows = pyarrow.parquet.read_table(place).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{place}: not a parquet file that can be read ({error})") from error
    return rows


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_float=str, parse_int=str)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error})") from error


def _objects(where: str, found: Any) -> Rows:
    for number, row in enumerate(found):
        if not isinstance(row, dict):
            raise UserError(f"{where}: item {number} is no JSON object")
    return list(found)


def _pairs(path: str, text: str) -> Rows:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) % 2:
        raise UserError(f"{path}: {len(lines)} lines, so that the last question has no answer")
    return [{"question": q, "answer": a} for q, a in zip(lines[::2], lines[1::2], strict=True)]
