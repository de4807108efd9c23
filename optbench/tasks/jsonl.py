"""The user's own data: one JSON object a line, with a question, a worked solution, an answer and a source."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from optbench.errors import UserError
from optbench.spec import LocalPath, Spec
from optbench.tasks.base import Example
from optbench.tasks.grading import Grading, grader, marked, same_number
from optbench.tasks.rewriter import Rewriter
from optbench.tasks.splits import first_of_each, held_out, without
from optbench.tasks.text import Template, TextTask, TooLong, token_counts

if TYPE_CHECKING:
    from optbench.models.language_model import Tokenizer


class Fields(Spec):
    """What the file calls the four parts of an example."""

    question: str = "question"
    solution: str = "solution"
    answer: str = "answer"
    source: str = "source"


class JsonlTask(Spec):
    """Examples from JSON lines.

    `question` is text. `solution` is text, and without it the answer is what is learned; a solution that does not end
    in `#### answer` is given that line, so that the answer can be found. `answer` is text or a number, and may be left
    out where the solution has `####`. `source` names the kind of problem ("data" where there is none). An empty
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
    prompt: Template = "{question}\n"
    grading: Grading = "number"
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
        """Whether new solutions can be written: where a model is named that writes them."""
        return bool(self.rewriter.model)

    def build(self) -> TextTask:
        """The task. Raises UserError naming file and line for what cannot be read."""
        train = read_jsonl(self.path, self.fields, name="train")
        given = {
            split: first_of_each(read_jsonl(path, self.fields, name=split)) if path else []
            for split, path in (("validation", self.validation), ("test", self.test))
        }
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
        grade = grader(self.grading)
        return TextTask(
            train=rest,
            validation=given["validation"],
            test=given["test"],
            prompt=self.prompt,
            grade=grade,
            rewriter=self.rewriter.function(grade),
            max_new_tokens=self.max_new_tokens,
            max_length=self.max_length,
            too_long=self.too_long,
            notes={"left_out_of_training": overlapping},
        )

    def num_train(self) -> int:
        """The size of the training set; reads the data."""
        return len(self.build().train)

    def token_counts(self, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
        """Input tokens and supervised positions of the training examples."""
        return token_counts(self.build(), tokenizer)


def read_jsonl(path: str, fields: Fields, *, name: str) -> list[Example]:
    """The examples of a file; their ids are `name` and the number of their line.

    Raises UserError for a file that cannot be read or is empty, and for the first bad line, named by its number.
    """
    examples = [_example(row, fields, where, f"{name}-{number}") for number, where, row in _rows(path)]
    if not examples:
        raise UserError(f"{path}: no examples: the file is empty")
    return examples


def _rows(path: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: not UTF-8 (byte 0x{line[error.start]:02x} at {error.start + 1})") from error
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: not JSON ({error.msg} at character {error.pos + 1})") from error
        if not isinstance(row, dict):
            raise UserError(f"{where}: not a JSON object but {_type(row)}")
        yield number, where, row


def _example(row: dict[str, Any], fields: Fields, where: str, name: str) -> Example:
    question = _text(row, fields.question, where)
    if question is None or not question.strip():
        raise UserError(f"{where}: the field {fields.question!r} is missing or empty; there are: {_names(row)}")
    solution, answer = _text(row, fields.solution, where), _text(row, fields.answer, where, _number_as_text)
    if not solution and not answer:
        raise UserError(
            f"{where}: neither {fields.solution!r} nor {fields.answer!r} is there; there are: {_names(row)}"
        )
    written = marked(solution) if solution and "####" in solution else None
    if answer is None:
        if written is None:
            raise UserError(f"{where}: the field {fields.answer!r} is missing, and the solution has no '#### answer'")
        answer = written
    if written is not None and not same_number(written, answer):
        raise UserError(f"{where}: the solution ends in '#### {written}', but the answer is {answer!r}")
    if not solution or solution.strip() == answer:
        solution = answer
    elif written is None:
        solution = f"{solution.rstrip()}\n#### {answer}"
    return Example(name, question, solution, answer, _text(row, fields.source, where) or "data")


def _text(
    row: dict[str, Any], field: str, where: str, convert: Callable[[Any], Any] = lambda value: value
) -> str | None:
    value = convert(row.get(field))
    if value is None:
        return None
    if not isinstance(value, str):
        raise UserError(f"{where}: the field {field!r} is not text but {_type(value)}")
    return value


def _number_as_text(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value.strip() if isinstance(value, str) else value
    return str(value)


def _type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _names(row: dict[str, Any]) -> str:
    return ", ".join(map(repr, row)) or "none"
