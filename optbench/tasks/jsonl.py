"""The user's own data: one JSON object a line, with a question and a worked solution, a prompt and a completion, or the
messages of a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from optbench.errors import UserError
from optbench.spec import LocalPath, Spec
from optbench.tasks.base import Example
from optbench.tasks.grading import Grading, grader, marked, same_number
from optbench.tasks.layouts import Fields, Layout, Line, Said, Turn, layout_of, lines_of, said
from optbench.tasks.own_text import PLAIN, OwnText
from optbench.tasks.rewriter import Rewriter
from optbench.tasks.splits import first_of_each, held_out, without
from optbench.tasks.text import Template, TextTask, TooLong, refuse_rewriting, token_counts

if TYPE_CHECKING:
    from optbench.models.language_model import Tokenizer

PROMPT = "{question}\n"


class JsonlTask(Spec):
    """Examples from JSON lines, in one of three layouts, told by the fields of the first line.

    `question` is text; `solution` is text, and without it the answer is what is learned. `prompt` and `completion` are
    text, put together as they are. `messages` is a list of `role` and `content`, of which the assistant's last turn is
    learned, written by the model's chat template where there is one. In each, a solution that does not end in
    `#### answer` is given that line, so that the answer can be found; `answer` is text or a number, and may be left out
    where the solution has `####`. `grading: nll` needs no answers and adds nothing: there is no accuracy then, and
    `test_nll` is what a suite is ranked by. `source` names the kind of problem ("data" where there is none). An empty
    `validation` or `test` is cut from the training file, by a hash of the question.
    """

    kind: Literal["jsonl"] = "jsonl"
    path: LocalPath
    validation: LocalPath = ""
    test: LocalPath = ""
    validation_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    data_seed: Annotated[int, Field(ge=0)] = 0
    fields: Fields = Fields()
    prompt: Template = PROMPT
    grading: Literal[Grading, "nll"] = "number"
    max_length: Annotated[int, Field(ge=2)] = 512
    max_new_tokens: Annotated[int, Field(ge=1)] = 256
    too_long: TooLong = "error"
    rewriter: Rewriter = Rewriter()

    @field_validator("path", "validation", "test")
    @classmethod
    def _is_a_file(cls, path: str) -> str:
        if path and not Path(path).is_file():
            raise ValueError(f"there is no file {path!r} (looked from {Path.cwd()})")
        return path

    @property
    def can_rewrite(self) -> bool:
        """Whether new solutions can be written: where a model is named that writes them, and answers that check it."""
        return bool(self.rewriter.model) and self.asks_questions

    @property
    def asks_questions(self) -> bool:
        """Whether there are answers that can be right or wrong."""
        return self.grading != "nll"

    def build(self) -> TextTask | OwnText:
        """The task. Raises UserError naming file and line for what cannot be read."""
        graded = self.grading != "nll"
        whole = read_jsonl(self.path, self.fields, name="train", graded=graded)
        files = {
            split: read_jsonl(path, self.fields, name=split, graded=graded) if path else None
            for split, path in (("validation", self.validation), ("test", self.test))
        }
        for split, file in files.items():
            if file is not None and file.layout != whole.layout:
                raise UserError(f"the {split} file has the layout {file.layout}, and {self.path} has {whole.layout}")
        given = {split: first_of_each(file.examples) if file else [] for split, file in files.items()}
        train = whole.examples
        rest = without(train, [*given["validation"], *given["test"]])
        given["validation"] = without(given["validation"], given["test"])
        overlapping = len(train) - len(rest)
        if not self.test:
            rest, out = held_out(rest, self.test_fraction, data_seed=self.data_seed, name="test")
            given["test"] = first_of_each(out)
        if not self.validation:
            rest, out = held_out(rest, self.validation_fraction, data_seed=self.data_seed, name="validation")
            given["validation"] = first_of_each(out)
        if not rest:
            raise UserError(f"{self.path}: every question is also in the validation or test file")
        grade = grader("exact" if self.grading == "nll" else self.grading)
        text = TextTask(
            train=rest,
            validation=given["validation"],
            test=given["test"],
            prompt=self._prompt_of(whole.layout),
            grade=grade,
            rewriter=self.rewriter.function(grade) if graded else refuse_rewriting("nothing is graded"),
            max_new_tokens=self.max_new_tokens,
            max_length=self.max_length,
            too_long=self.too_long,
            notes={"left_out_of_training": overlapping},
        )
        if graded and whole.layout != "messages":
            return text
        turns = [file.turns for file in (whole, *files.values()) if file is not None]
        return OwnText(text, {question: own for found in turns for question, own in found.items()}, graded)

    def num_train(self) -> int:
        """The size of the training set; reads the data."""
        return len(self.build().train)

    def token_counts(self, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
        """Input tokens and supervised positions of the training examples."""
        task: Any = self.build()
        return token_counts(task, tokenizer)

    def _prompt_of(self, layout: Layout) -> str:
        if layout == "question":
            return self.prompt
        if self.prompt != PROMPT:
            raise UserError(
                f"{self.path}: `prompt` frames questions; here the {layout} layout says itself what is put to the model"
            )
        return prompt_of(layout)


def prompt_of(layout: Layout) -> str:
    """The frame around what is asked in this layout, where the user gives none."""
    return {"question": PROMPT, "completion": "{question}", "messages": PLAIN}[layout]


@dataclass(frozen=True)
class OwnExamples:
    """The examples of a file, their layout, the lines they stand on, and the turns of conversations by question."""

    layout: Layout
    examples: Sequence[Example]
    lines: Sequence[Line]
    turns: Mapping[str, Sequence[Turn]]


def read_jsonl(path: str, fields: Fields, *, name: str, graded: bool) -> OwnExamples:
    """The examples of a file; their ids are `name` and the number of their line.

    With `graded`, every example has an answer, and its solution ends in it; without, texts are taken as they are, and
    an answer that is not there is empty. Raises UserError for a file that cannot be read or is empty, and for the first
    bad line, named by its number.
    """
    layout: Layout | None = None
    examples: list[Example] = []
    lines: list[Line] = []
    turns: dict[str, Sequence[Turn]] = {}
    for line in lines_of(path):
        layout = layout or layout_of(line, fields)
        content = said(line, layout, fields, graded=graded)
        if turns.setdefault(content.question, content.turns) != content.turns:
            raise UserError(f"{line.where}: reads like a line before it, and has other turns")
        examples.append(_example(content, fields, line.where, f"{name}-{line.number}", graded=graded))
        lines.append(line)
    if layout is None:
        raise UserError(f"{path}: no examples: the file is empty")
    return OwnExamples(layout, examples, lines, turns if layout == "messages" else {})


def _example(content: Said, fields: Fields, where: str, name: str, *, graded: bool) -> Example:
    solution, answer = content.solution, content.answer
    written = marked(solution) if "####" in solution else None
    source = content.source or "data"
    if not graded:
        return Example(name, content.question, solution or answer or "", answer or written or "", source)
    if answer is None:
        if written is None:
            raise UserError(
                f"{where}: the field {fields.answer!r} is missing, and the solution has no '#### answer'; without "
                "answers that can be checked, set `grading: nll`"
            )
        answer = written
    if written is not None and not same_number(written, answer):
        raise UserError(f"{where}: the solution ends in '#### {written}', but the answer is {answer!r}")
    if not solution or solution.strip() == answer:
        solution = answer
    elif written is None:
        solution = f"{solution.rstrip()}\n#### {answer}"
    return Example(name, content.question, solution, answer, source)
