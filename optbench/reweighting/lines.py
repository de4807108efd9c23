"""The user's file as it is: its examples, its bytes line by line, and the lines that are made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optbench.errors import UserError
from optbench.rng import stream
from optbench.spec import canonical
from optbench.tasks.base import Example
from optbench.tasks.jsonl import OwnExamples, read_jsonl
from optbench.tasks.layouts import Fields, Line, names_of

WEIGHT = "weight"
FEWEST = 8
"""Examples below which nothing is told apart: a training of so few says nothing about any of them."""


@dataclass(frozen=True)
class OwnFile:
    """Examples of a file with their lines. `sources` are their kinds, for counting; an example bears its own only where
    each kind is to be clustered apart. `total` is how many the file has, of which the first may be all there are here;
    `ending` ends a line there."""

    path: str
    own: OwnExamples
    fields: Fields
    sources: Sequence[str]
    total: int
    ending: bytes

    @property
    def hash(self) -> str:
        """SHA-256 of what a model reads of the examples, in their order."""
        rows = [
            [e.question, e.solution, [[turn.role, turn.content] for turn in self.own.turns.get(e.question, ())]]
            for e in self.own.examples
        ]
        return hashlib.sha256(canonical([self.own.layout, rows]).encode()).hexdigest()

    def line(self, row: int) -> bytes:
        """The bytes of a line as it was, without its end."""
        return self.own.lines[row].raw.rstrip(b"\r")


def read_file(path: str, fields: Fields, *, source: str, limit: int) -> OwnFile:
    """The examples of a file, the first `limit` of them where that is not 0.

    `source` names a field that every line has to have; without one, `source` is taken where every line has it as
    text. Raises UserError naming file and line for what cannot be read.
    """
    # What is not there in every line is looked at here: a field called `source` may hold anything.
    own = read_jsonl(path, fields.model_copy(update={"source": ""}), name="line", graded=False)
    total = len(own.examples)
    kept = total if limit == 0 else min(limit, total)
    names = _sources(own.lines, source)[:kept]
    examples = own.examples[:kept]
    if source:
        examples = [replace(e, source=name) for e, name in zip(examples, names, strict=True)]
    if kept < FEWEST:
        raise UserError(f"{path}: {kept} example(s); telling early from late takes {FEWEST} at least")
    ending = b"\r\n" if own.lines[0].raw.endswith(b"\r") else b"\n"
    cut = OwnExamples(own.layout, examples, own.lines[:kept], own.turns)
    return OwnFile(path, cut, fields, names, total, ending)


def repeated(file: OwnFile, repeats: np.ndarray) -> list[bytes]:
    """Every line as it was, `repeats` times one after the other."""
    return [file.line(row) for row, count in enumerate(repeats.tolist()) for _ in range(count)]


def weighted(file: OwnFile, repeats: np.ndarray) -> list[bytes]:
    """Every line once, with a further field that says how often it counts.

    Raises UserError for a line that has such a field already.
    """
    return [_with_weight(file, row, count) for row, count in enumerate(repeats.tolist())]


def check_weights(file: OwnFile) -> None:
    """Raises UserError for a line that has a field of the name of the weight already."""
    for line in file.own.lines:
        if WEIGHT in line.row:
            raise UserError(f"{line.where}: has a field {WEIGHT!r} already; repeat lines instead, or rename it")


def joined(file: OwnFile, rows: Sequence[int], added: Sequence[Example]) -> list[bytes]:
    """Every line as it was, each followed by the new ones that were made of it: `added[i]` of line `rows[i]`."""
    new: dict[int, list[bytes]] = {}
    for row, example in zip(rows, added, strict=True):
        new.setdefault(row, []).append(_with_solution(file, row, example))
    return [line for row in range(len(file.own.lines)) for line in (file.line(row), *new.get(row, []))]


def shuffled(lines: Sequence[bytes], seed: int) -> list[bytes]:
    """The lines in an order drawn by `seed`."""
    return [lines[row] for row in stream(seed, "shuffled lines").permutation(len(lines)).tolist()]


def _with_weight(file: OwnFile, row: int, weight: int) -> bytes:
    # Written into the text of the line, so that everything else in it stays as it was, letter by letter.
    line = file.line(row).rstrip()
    return line[:-1].rstrip() + f', "{WEIGHT}": {weight}}}'.encode()


def _with_solution(file: OwnFile, row: int, example: Example) -> bytes:
    """The line with another solution in the place of its own."""
    fields, line = file.fields, file.own.lines[row]
    content, new = dict(line.row), _styled(example.solution, file.own.examples[row].solution)
    if file.own.layout == "messages":
        turns: list[Any] = list(content[fields.messages])
        last = max(index for index, turn in enumerate(turns) if turn["role"] == "assistant")
        turns[last] = {**turns[last], "content": new}
        content[fields.messages] = turns
    else:
        content[fields.completion if file.own.layout == "completion" else fields.solution] = new
    try:
        # Escapes where the line had nothing else, and letters where it had letters.
        return json.dumps(content, ensure_ascii=line.raw.isascii()).encode()
    except UnicodeEncodeError:
        return json.dumps(content).encode()


def _styled(solution: str, original: str) -> str:
    """A new solution without its line `#### answer`, where the original has none: others would be learned as well."""
    body, mark, _ = solution.rpartition("####")
    return body.rstrip() if mark and body.strip() and "####" not in original else solution


def _sources(lines: Sequence[Line], field: str) -> list[str]:
    if field:
        return [_source(line, field) for line in lines]
    found = [line.row.get("source") for line in lines]
    return [str(name) for name in found] if all(map(_is_name, found)) else ["data"] * len(lines)


def _source(line: Line, field: str) -> str:
    if field not in line.row:
        raise UserError(f"{line.where}: the field {field!r} of --source is missing; there are: {names_of(line.row)}")
    value = line.row[field]
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if not numeric and not _is_name(value):
        raise UserError(f"{line.where}: the field {field!r} of --source is neither text nor a number")
    return str(value)


def _is_name(value: Any) -> bool:
    """Whether this is text that can be written, and not empty."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= c <= "\udfff" for c in value)
