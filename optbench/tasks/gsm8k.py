"""The task GSM8K: grade-school word problems (arXiv 2110.14168)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from optbench.spec import Spec
from optbench.tasks.asked import STOP, AskedTask
from optbench.tasks.evaluation_sets import (
    EvaluateOn,
    Grader,
    Programs,
    grade_by_set,
    numbers_of,
    questions_of,
    sizes_of,
)
from optbench.tasks.grading import Grading, grader
from optbench.tasks.gsm8k_data import Gsm8kData
from optbench.tasks.hub import data_identity
from optbench.tasks.rewriter import Rewriter
from optbench.tasks.splits import first_of_each, held_out, without
from optbench.tasks.text import Template, TooLong, token_counts

if TYPE_CHECKING:
    from optbench.models.language_model import Tokenizer


class Gsm8kTask(Spec):
    """GSM8K with its own test split: see `Gsm8kData` for `path`, `hub_revision` and `calculator`.

    Validation is cut from training by a hash of the question, and so is the test split where the data has none. With
    `evaluate_on` the test split is the questions of those sets instead. `programs: on` asks for a program first: see
    `asked`.
    """

    kind: Literal["gsm8k"] = "gsm8k"
    path: str = Gsm8kData().path
    hub_revision: str = Gsm8kData().hub_revision
    calculator: bool = False
    validation_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    data_seed: Annotated[int, Field(ge=0)] = 0
    prompt: Template = "Question: {question}\nAnswer:\n"
    grading: Grading = "number"
    max_length: Annotated[int, Field(ge=2)] = 512
    max_new_tokens: Annotated[int, Field(ge=1)] = 320
    too_long: TooLong = "error"
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
        splits = self._data.splits()
        train = splits["train"]
        if self.evaluate_on:
            test = questions_of(self.evaluate_on)
            rest = without(train, [*test, *splits.get("test", [])])
        elif "test" in splits:
            test = first_of_each(splits["test"])
            rest = without(train, test)
        else:
            rest, out = held_out(train, self.test_fraction, data_seed=self.data_seed, name="test")
            test = first_of_each(out)
        rest, validation = held_out(rest, self.validation_fraction, data_seed=self.data_seed, name="validation")
        grade = grader(self.grading)
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
            notes={"evaluated_on": sizes_of(self.evaluate_on, test)} if self.evaluate_on else {},
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

    @property
    def _data(self) -> Gsm8kData:
        return Gsm8kData(path=self.path, hub_revision=self.hub_revision, calculator=self.calculator)
