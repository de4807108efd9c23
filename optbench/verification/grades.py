"""The table of questions against the record, and its verdicts graded again from the texts that the model wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype

from optbench.cell import CellSpec
from optbench.metrics.columns import BEFORE
from optbench.tasks import arithmetic
from optbench.tasks.base import Example, Grade
from optbench.tasks.extraction import flexible, strict
from optbench.tasks.grading import grader
from optbench.tasks.gsm8k import Gsm8kTask
from optbench.tasks.mathinstruct import MathInstructTask
from optbench.verification.numbers import mean, number, same

COLUMNS = ("id", "source", "question", "reference", "text", "answer", "correct", "format_error")
READ_OTHERWISE = ("strict", "flexible", "by_program")
"""Columns that a table of questions may have beside those."""
Grader = Callable[[str, Example], Grade]


def wrong_questions(content: Mapping[str, Any], table: pd.DataFrame) -> Iterator[str]:
    """What in the table contradicts the numbers of the record: counts, accuracy by source, format errors."""
    if missing := [name for name in COLUMNS if name not in table.columns]:
        yield f"has no column {', '.join(missing)}"
        return
    if odd := [name for name in ("correct", "format_error") if not is_bool_dtype(table[name])]:
        yield f"its column {', '.join(odd)} holds no truth values"
        return
    result = content["result"]
    correct = [bool(value) for value in table["correct"]]
    sources = [str(value) for value in table["source"]]
    computed = {
        "questions": float(len(table)),
        "accuracy": mean(map(float, correct)),
        "format_error": mean(float(bool(value)) for value in table["format_error"]),
    }
    for source in dict.fromkeys(sources):
        own = [float(value) for value, name in zip(correct, sources, strict=True) if name == source]
        computed[f"accuracy/{source}"] = mean(own)
        if f"questions/{source}" in result:
            computed[f"questions/{source}"] = float(len(own))
    for column in READ_OTHERWISE:
        if column in table.columns:
            told = [
                (source, bool(value)) for source, value in zip(sources, table[column], strict=True) if pd.notna(value)
            ]
            name = column if column == "by_program" else f"accuracy_{column}"
            computed[name] = mean(float(value) for _, value in told)
            for source in dict.fromkeys(source for source, _ in told) if name != column else ():
                computed[f"{name}/{source}"] = mean(float(value) for own, value in told if own == source)
    for name, found in computed.items():
        if not same(result.get(name), found):
            yield f"result.{name} is {result.get(name)!r}, but the table says {found:.12g}"
    # What the model scored before training comes from other answers, which a record does not keep.
    before = result.get("accuracy" + BEFORE, 0.0)
    if not 0.0 <= before <= 1.0:
        yield f"result.accuracy{BEFORE} is {before!r}, which is no fraction"
    told_apart = {*computed, "accuracy" + BEFORE}
    for name in sorted(name for name in result if name.startswith("accuracy") and name not in told_apart):
        yield f"result.{name} is {result[name]!r}, but the table has no such question"
    if table["id"].duplicated().any():
        yield f"asks {table['id'][table['id'].duplicated()].iloc[0]!r} twice"


def grader_of(task: Any) -> Grader | None:
    """The task's own way of grading, where it needs neither data nor a model; None for others (plug-ins)."""
    if isinstance(task, arithmetic.ArithmeticTask):
        return arithmetic.grade
    if isinstance(task, Gsm8kTask | MathInstructTask):
        return task.grade  # the questions of each set in the way of that set
    own = type(task).__module__.startswith("optbench.") and "grading" in type(task).model_fields
    return grader(task.grading) if own else None


def wrong_grades(table: pd.DataFrame, grade: Grader) -> Iterator[str]:
    """Rows whose answer or verdict is not what grading their text gives: the first one, and how many."""
    rows = zip(*(table[name].tolist() for name in COLUMNS), strict=True)
    wrong = []
    verdicts = {
        name: dict(zip(table["id"], table[name], strict=True)) for name in READ_OTHERWISE if name in table.columns
    }
    for id_, source, question, reference, text, answer, correct, format_error in rows:
        if not (isinstance(text, str) and isinstance(reference, str)):
            wrong.append((id_, "its text or reference is missing"))
            continue
        for name, read in (("strict", strict), ("flexible", flexible)):
            if (
                name in verdicts
                and pd.notna(verdicts[name][id_])
                and bool(verdicts[name][id_]) != read(text, reference)
            ):
                wrong.append((id_, f"its column {name} is not what its text says"))
        found = grade(text, Example(str(id_), str(question), "", reference, str(source)))
        recorded = (answer if isinstance(answer, str) else None, bool(correct), bool(format_error))
        if recorded != (found.answer, found.correct, found.format_error):
            wrong.append((id_, f"{text!r} for {reference!r} grades as {_verdict(found.correct, found.format_error)}"))
    if wrong:
        id_, why = wrong[0]
        yield f"{len(wrong)} of {len(table)} rows are graded otherwise than their texts, first {id_!r}: {why}"


def wrong_examples(table: pd.DataFrame, cell: CellSpec) -> Iterator[str]:
    """Questions that are not those that the task asks, where it can be generated here: arithmetic."""
    if not isinstance(cell.task, arithmetic.ArithmeticTask):
        return
    task = cell.task.build()
    asked = task.test if cell.training.evaluate == "test" else task.validation
    expected = [(e.id, e.source, e.question, e.answer) for e in asked]
    found = list(zip(*(table[name].tolist() for name in COLUMNS[:4]), strict=True))
    if len(found) != len(expected):
        yield f"has {len(found)} questions, but the task asks {len(expected)}"
    for row, (own, other) in enumerate(zip(found, expected, strict=False)):
        if own != other:
            yield f"row {row} asks {own[2]!r} with the answer {own[3]!r}, but the task asks {other[2]!r} = {other[3]!r}"
            return


def _verdict(correct: bool, format_error: bool) -> str:
    return "right" if correct else "a format error" if format_error else "wrong"


def is_asked(result: Mapping[str, Any]) -> bool:
    """Whether the record says that questions were answered."""
    return math.isfinite(number(result.get("questions")))
