"""What is known of the papers' evaluation sets: places, sizes, layouts of their rows, and how each is graded.

Sizes and the choice of sets: MAmmoTH (arXiv 2309.05653), whose evaluation the papers use. Places and commits are those
that public code pins; they could not be asked for here (no hub). For three sets no place on the hub is known, and none
is guessed: they come as files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optbench.errors import UserError
from optbench.tasks.base import Example
from optbench.tasks.boxed import boxed
from optbench.tasks.grading import Grading
from optbench.tasks.gsm8k_data import Gsm8kData, gsm8k_example
from optbench.tasks.hub import texts

Read = Callable[[dict[str, Any], str, str], Example]
_PLAIN = '[{"question": ..., "answer": ...}]'


@dataclass(frozen=True)
class Published:
    """A published set: `hub` at `commit` (empty where none is known), the configurations and splits that are asked, the
    number of its questions, how it is graded, and how a row becomes an example.

    `numbers` says that its answers are numbers, so that strict and flexible extraction mean something.
    """

    title: str
    hub: str
    commit: str
    configurations: tuple[str, ...]
    splits: tuple[str, ...]
    size: int
    layout: str
    grading: Grading
    numbers: bool
    read: Read


def _gsm8k(row: dict[str, Any], where: str, name: str) -> Example:
    return gsm8k_example(row, where, name, calculator=False)


def _math(row: dict[str, Any], where: str, name: str) -> Example:
    """`problem` and `solution` with a box, as published; or `question` and `answer`, which may be [text, number]."""
    if "problem" in row:
        question, solution = texts(row, ("problem", "solution"), where)
        answer = boxed(solution)
        if answer is None:
            raise UserError(f"{where}: the field 'solution' has no \\boxed answer")
        return Example(name, question, solution, answer, "")
    given = row.get("answer")
    return _plain({**row, "answer": given[0] if isinstance(given, list) and given else given}, where, name)


def _svamp(row: dict[str, Any], where: str, name: str) -> Example:
    body, question = texts(row, ("Body", "Question"), where)
    return _plain({"question": f"{body.strip()} {question.strip()}", "answer": row.get("Answer")}, where, name)


def _plain(row: dict[str, Any], where: str, name: str) -> Example:
    (question,) = texts(row, ("question",), where)
    answer = _written(row.get("answer"))
    if not answer:
        raise UserError(f"{where}: the field 'answer' is missing or empty; there are: {', '.join(row)}")
    # No worked solution is published: the loss is that of the sentence which MathInstruct's solutions end with.
    return Example(name, question.strip(), f"The answer is {answer}.", answer, "")


def _written(value: Any) -> str:
    """An answer as text; 72.0 is written 72."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return str(value) if isinstance(value, bool) else ""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())


_SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)

PUBLISHED: Mapping[str, Published] = {
    "gsm8k": Published(
        title="GSM8K (arXiv 2110.14168)",
        hub=Gsm8kData().path,
        commit=Gsm8kData().hub_revision,
        configurations=("main",),
        splits=("test",),
        size=1319,
        layout='{"question": ..., "answer": "... #### 72"} a line',
        grading="marked_or_last",
        numbers=True,
        read=_gsm8k,
    ),
    "math": Published(
        title="MATH (arXiv 2103.03874)",
        hub="EleutherAI/hendrycks_math",
        commit="21a5633873b6a120296cce3e2df9d5550074f4a3",
        configurations=_SUBJECTS,
        splits=("test",),
        size=5000,
        layout='{"problem": ..., "solution": "... \\\\boxed{72}"} or {"question": ..., "answer": ...}',
        grading="boxed",
        numbers=False,
        read=_math,
    ),
    "svamp": Published(
        title="SVAMP (arXiv 2103.07191)",
        hub="ChilleD/SVAMP",
        commit="5e0bf1e5e7c0e9c4bc39180d224f41f3f801b7ef",
        configurations=("default",),
        splits=("train", "test"),  # 700 and 300: the thousand problems that are asked
        size=1000,
        layout='[{"Body": ..., "Question": ..., "Answer": 72.0}]',
        grading="marked_or_last",
        numbers=True,
        read=_svamp,
    ),
    "numglue": Published(
        title="NumGLUE (arXiv 2204.05660), MAmmoTH's choice",
        hub="",
        commit="",
        configurations=("",),
        splits=("train",),
        size=1042,
        layout=_PLAIN,
        grading="marked_or_last",
        numbers=True,
        read=_plain,
    ),
    "mathematics": Published(
        title="DeepMind Mathematics (arXiv 1904.01557), MAmmoTH's choice",
        hub="",
        commit="",
        configurations=("",),
        splits=("train",),
        size=1000,
        layout=f"{_PLAIN}, or a .txt file of a line with the question and a line with the answer in turn",
        grading="marked_or_last",
        numbers=False,
        read=_plain,
    ),
    "simuleq": Published(
        title="SimulEq (Koncel-Kedziorski et al. 2016), MAmmoTH's file",
        hub="",
        commit="",
        configurations=("",),
        splits=("train",),
        size=514,
        layout=_PLAIN,
        grading="marked_or_last",
        numbers=True,
        read=_plain,
    ),
}
