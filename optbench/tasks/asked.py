"""A text task asked as the papers ask: several sets, strict and flexible extraction, programs with a back-up."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from optbench.tasks.base import Evaluation, Example, Grade
from optbench.tasks.extraction import flexible, strict
from optbench.tasks.programs import program_in, run_programs
from optbench.tasks.text import TextTask

if TYPE_CHECKING:
    from optbench.models.language_model import LanguageModel

STOP = ("### Instruction:", "### Response:", "\nQuestion:")
"""What begins another example, in the papers' evaluation."""
SUFFIX = " Let's write a program."
"""What follows a question that is to be answered by a program, as in MathInstruct."""
SUFFIXES = (
    SUFFIX,
    " Let's write a Python program.",
    " Let's program in Python in the response.",
    " Let's write a Python program to solve it.",
    " Please write a program to solve it",
)
"""How instructions to train on ask for programs: the same question with one of these is the same question."""
PRINTED = "\n\n# The program prints:\n#### "
"""What stands between a program and the first line that it printed, in the text that is kept and graded."""


@dataclass(frozen=True)
class AskedTask(TextTask):
    """A text task whose evaluation says more than accuracy.

    `numbers` names the sources whose answers are numbers: their texts are read strictly and flexibly as well. With
    `programs`, a question is first asked for a program; what that prints is the answer, and where it prints nothing,
    the question is asked again in the plain way. A text ends before the first of `stop`.
    """

    numbers: Collection[str] = ()
    programs: bool = False
    stop: Sequence[str] = ()

    def answer(self, examples: Sequence[Example], model: LanguageModel) -> list[Grade]:
        """Greedy answers, graded, in the order of the examples."""
        texts, _ = self._written(examples, model)
        return [self.grade(text, example) for text, example in zip(texts, examples, strict=True)]

    def evaluate(self, examples: Sequence[Example], model: LanguageModel, *, micro_batch: int) -> Evaluation:
        """Likelihood of the reference solutions and accuracy, over all questions and by source.

        With strict and flexible extraction over the questions of the sources in `numbers`, and with programs the share
        of questions that a program answered. A model without a finite loss is asked nothing.
        """
        from optbench.metrics import accuracy

        nll = accuracy.solution_nll(model, self, examples, micro_batch=micro_batch)
        if not np.isfinite(nll):
            return Evaluation({"test_nll": nll})
        if self.programs:
            examples = with_printed_answers(examples)
        texts, by_program = self._written(examples, model)
        grades = [self.grade(text, example) for text, example in zip(texts, examples, strict=True)]
        result, table = accuracy.graded(examples, grades)
        counts = table["source"].value_counts(sort=False)
        result |= {f"questions/{source}": float(count) for source, count in counts.items()} if len(counts) > 1 else {}
        if self.programs:
            result["by_program"] = float(np.mean(by_program))
            table["by_program"] = by_program
        pairs = zip(texts, examples, strict=True)
        read = [(strict(t, e.answer), flexible(t, e.answer)) if e.source in self.numbers else None for t, e in pairs]
        result |= accuracy.extracted(table, read)
        return Evaluation({"test_nll": nll, **result}, table)

    def _written(self, examples: Sequence[Example], model: LanguageModel) -> tuple[list[str], np.ndarray]:
        """The text for each question, and whether it is a program with what it printed, bool [n]."""
        texts, by_program = [""] * len(examples), np.zeros(len(examples), dtype=bool)
        if self.programs:
            wanted = [replace(example, question=example.question + SUFFIX) for example in examples]
            programs = [program_in(text) for text in self._generated(wanted, model)]
            rows = [row for row, program in enumerate(programs) if program]
            for row, ran in zip(rows, run_programs([programs[row] for row in rows]), strict=True):
                if ran.output:
                    texts[row], by_program[row] = programs[row] + PRINTED + ran.output, True
        again = np.flatnonzero(~by_program).tolist()
        for row, text in zip(again, self._generated([examples[row] for row in again], model), strict=True):
            texts[row] = text
        return texts, by_program

    def _generated(self, examples: Sequence[Example], model: LanguageModel) -> list[str]:
        from optbench.models.generation import generate

        prompts = [self.prompt_of(example) for example in examples]
        texts = generate(model, prompts, max_new_tokens=self.max_new_tokens) if prompts else []
        return [before(text, self.stop) for text in texts]


def in_every_wording(examples: Sequence[Example]) -> list[Example]:
    """The examples as they are, and each with its question as it is put where a program is wanted."""
    worded = [replace(example, question=example.question + suffix) for example in examples for suffix in SUFFIXES]
    return [*examples, *worded]


def before(text: str, stop: Sequence[str]) -> str:
    """The text up to the first of what it stops at."""
    return text[: min((place for place in map(text.find, stop) if place >= 0), default=len(text))]


def with_printed_answers(examples: Sequence[Example]) -> list[Example]:
    """The examples, those whose solution is a program and that have no answer with the first line that it prints."""
    rows = [row for row, example in enumerate(examples) if not example.answer and program_in(example.solution)]
    answered = list(examples)
    for row, ran in zip(rows, run_programs([program_in(examples[row].solution) for row in rows]), strict=True):
        if ran.output:
            answered[row] = replace(examples[row], answer=ran.output.splitlines()[0].strip())
    return answered
