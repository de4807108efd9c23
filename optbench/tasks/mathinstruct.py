"""The task MathInstruct (MAmmoTH, arXiv 2309.05653): instructions with worked solutions from thirteen sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from optbench.errors import UserError
from optbench.spec import Spec
from optbench.tasks.asked import STOP, AskedTask, in_every_wording
from optbench.tasks.base import Example
from optbench.tasks.evaluation_sets import (
    EvaluateOn,
    Grader,
    Programs,
    grade_by_set,
    numbers_of,
    questions_of,
    sizes_of,
)
from optbench.tasks.grading import Grading, grader, marked_number
from optbench.tasks.gsm8k_data import Gsm8kData
from optbench.tasks.hub import data_identity, read_rows, texts
from optbench.tasks.rewriter import Rewriter
from optbench.tasks.splits import first_of_each, held_out, without
from optbench.tasks.text import Template, TooLong, token_counts

if TYPE_CHECKING:
    from optbench.models.language_model import Tokenizer

ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    "\n\n### Instruction:\n{question}\n\n### Response:\n"
)


class MathInstructTask(Spec):
    """MathInstruct for training, 95 to 5 for training and validation, and the test split of GSM8K for the report.

    An example's answer is the number that its output marks (`The answer is 72.`), and empty where there is none:
    programs and multiple choice are learned, but never rewritten. With `evaluate_on` the report is on those sets
    instead, and `test` is not read. Programs that a model writes are run with `programs: on` alone: see `asked`.
    """

    kind: Literal["mathinstruct"] = "mathinstruct"
    path: str = "TIGER-Lab/MathInstruct"
    hub_revision: str = "b4fdc323a7be1379c9c7c0b67b1de72dfee2111a"
    test: Gsm8kData = Gsm8kData()
    validation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    data_seed: Annotated[int, Field(ge=0)] = 42
    prompt: Template = ALPACA
    grading: Grading = "number"
    max_length: Annotated[int, Field(ge=2)] = 512
    max_new_tokens: Annotated[int, Field(ge=1)] = 320
    too_long: TooLong = "truncate"
    rewriter: Rewriter = Rewriter()
    evaluate_on: EvaluateOn = ()
    programs: Programs = "off"

    def identity(self) -> dict[str, Any]:
        """The fields, with the data by its content or commit."""
        content = Spec.identity(self)
        content.pop("hub_revision", None)
        return {**content, "path": data_identity(self.path, self.hub_revision)}

    @property
    def can_rewrite(self) -> bool:
        """Whether new solutions can be written: where a model is named that writes them."""
        return bool(self.rewriter.model)

    def build(self) -> AskedTask:
        """The task. Raises UserError where the data is not to be had."""
        test = questions_of(self.evaluate_on) if self.evaluate_on else self._gsm8k()
        everything = self._examples()
        known = in_every_wording(test) if self.evaluate_on else test
        rest, validation = held_out(
            without(everything, known), self.validation_fraction, data_seed=self.data_seed, name="validation"
        )
        grade = grader(self.grading)
        notes: dict[str, Any] = {"left_out_of_training": len(everything) - len(rest) - len(validation)}
        if self.evaluate_on:
            notes["evaluated_on"] = sizes_of(self.evaluate_on, test)
        return AskedTask(
            train=rest,
            validation=first_of_each(validation),
            test=test,
            prompt=self.prompt,
            grade=self.grade,
            rewriter=self.rewriter.function(grade),
            max_new_tokens=self.max_new_tokens,
            max_length=self.max_length,
            too_long=self.too_long,
            notes=notes,
            numbers=numbers_of(self.evaluate_on, "gsm8k"),
            programs=self.programs == "on",
            stop=STOP if self.evaluate_on or self.programs == "on" else (),
        )

    @property
    def grade(self) -> Grader:
        """From a generated text and its question to the verdict."""
        return grade_by_set(self.evaluate_on, grader(self.grading))

    def num_train(self) -> int:
        """The size of the training set; reads the data."""
        return len(self.build().train)

    def token_counts(self, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
        """Input tokens and supervised positions of the training examples."""
        return token_counts(self.build(), tokenizer)

    def _gsm8k(self) -> list[Example]:
        splits = self.test.splits()
        if "test" not in splits:
            raise UserError(f"{self.test.path}: has no test split; there are: {', '.join(splits)}")
        return first_of_each(splits["test"])

    def _examples(self) -> list[Example]:
        rows = read_rows(self.path, name="", hub_revision=self.hub_revision)["train"]
        found = []
        for i, row in enumerate(rows):
            question, solution, source = texts(row, ("instruction", "output", "source"), f"{self.path}: row {i}")
            answer = marked_number(solution) or ""
            found.append(Example(f"mathinstruct-{i}", question, solution, answer, source))
        return found
