"""Accuracy on a held-out split: greedy answers, graded, and the loss of the reference solutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from optbench.tasks.base import Example, Grade, Task

if TYPE_CHECKING:
    import pandas as pd

    from optbench.models.language_model import LanguageModel


def answers(model: LanguageModel, task: Task, examples: Sequence[Example]) -> tuple[dict[str, float], pd.DataFrame]:
    """Fractions of the questions answered correctly (over all, and for each source) and in no readable form.

    Beside them the table of questions that they were taken from.
    """
    return graded(examples, task.answer(examples, model))


def graded(examples: Sequence[Example], grades: Sequence[Grade]) -> tuple[dict[str, float], pd.DataFrame]:
    """What `answers` returns, for texts that are graded already."""
    table = questions_table(examples, grades)
    result = {
        "questions": float(len(table)),
        "accuracy": float(table.correct.mean()),
        "format_error": float(table.format_error.mean()),
    }
    for source, own in table.groupby("source"):
        result[f"accuracy/{source}"] = float(own.correct.mean())
    return result, table


def extracted(table: pd.DataFrame, read: Sequence[tuple[bool, bool] | None]) -> dict[str, float]:
    """The verdicts of strict and flexible extraction as columns `strict` and `flexible` of the table, and their means,
    over all questions that were read so and for each source.

    `read` holds both verdicts for each row, and None for a question whose answer is no number, which then counts in
    neither and has no verdict in the table. Where there is no other kind, the table stays as it is.
    """
    import pandas as pd

    result: dict[str, float] = {}
    rows = [row for row, verdicts in enumerate(read) if verdicts is not None]
    for place, name in enumerate(("strict", "flexible") if rows else ()):
        table[name] = pd.array([None if verdicts is None else verdicts[place] for verdicts in read], dtype="boolean")
        asked = table.iloc[rows]
        result[f"accuracy_{name}"] = float(asked[name].astype(float).mean())
        for source, own in asked.groupby("source"):
            result[f"accuracy_{name}/{source}"] = float(own[name].astype(float).mean())
    return result


def questions_table(examples: Sequence[Example], grades: Sequence[Grade]) -> pd.DataFrame:
    """One row per question: id, source, question, reference, text, answer, correct, format_error."""
    import pandas as pd

    return pd.DataFrame(
        {
            "id": [e.id for e in examples],
            "source": [e.source for e in examples],
            "question": [e.question for e in examples],
            "reference": [e.answer for e in examples],
            "text": [g.text for g in grades],
            "answer": pd.array([g.answer for g in grades], dtype="string"),
            "correct": np.array([g.correct for g in grades], dtype=bool),
            "format_error": np.array([g.format_error for g in grades], dtype=bool),
        }
    )


def solution_nll(model: LanguageModel, task: Task, examples: Sequence[Example], *, micro_batch: int) -> float:
    """Mean negative log likelihood of the reference solutions, nats per supervised position.

    `micro_batch` examples go through the model at once, as in training: what fits there fits here.
    """
    from optbench.evaluation import example_losses

    prepared = task.prepare(examples, model)
    losses = example_losses(model, task, prepared, micro_batch=micro_batch)
    return float((losses * prepared.supervised).sum() / prepared.supervised.sum())
