"""What goes through a model: the sizes of training, of the test and of its answers, without building anything heavy.

Where the data or the tokenizer is not at hand, sizes are assumed, and the assumption is said in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from optbench.cost import Work
from optbench.planning.inputs import not_at_hand
from optbench.tasks.text import TextTask

if TYPE_CHECKING:
    from optbench.arm import Arm

SAMPLE = 512
"""Test examples that are encoded at most."""
ASSUMED_LENGTH, ASSUMED_TEST, ASSUMED_TRAIN = 512, 1319, 100_000
"""Tokens of an example, test questions (those of GSM8K) and training examples where the data is not at hand."""


@dataclass(frozen=True)
class Workload:
    """Sizes of one model on one task.

    `example` is the mean work of a training example, `longest` the tokens of the longest one and `supervised` its
    supervised positions at most. `test` is the work of all test examples together, `prompts` and `answers` the tokens
    of each question and of the answer that is expected to it, int [questions], both empty where nothing is asked.
    `limit` is the number of tokens that an answer may have. `train` counts training examples, `rounds` how often a
    question is asked. `missing` are hub ids that are not at hand, and `assumed` says in words what is taken instead.
    """

    example: Work
    longest: int
    supervised: int
    test: Work
    test_examples: int
    prompts: np.ndarray
    answers: np.ndarray
    limit: int
    train: int
    rounds: int = 1
    missing: tuple[str, ...] = ()
    assumed: str = ""

    def batch(self, size: int) -> Work:
        """The mean work of so many training examples."""
        return times(self.example, size)


def times(work: Work, factor: float) -> Work:
    """The work so many times."""
    return Work(factor * work.tokens, factor * work.pairs, factor * work.supervised)


@lru_cache(maxsize=64)
def workload_of(model: Any, task: Any) -> Workload:
    """The sizes of a task under the tokenizer of a model. Raises UserError where a local file is missing; what would
    have to come from the hub is assumed instead."""
    missing = [*not_at_hand(model), *not_at_hand(task, without="rewriter")]
    if missing:
        return _assumed(task, missing)
    tokenizer = model.tokenizer()
    lengths, supervised = task.token_counts(tokenizer)
    sizes = lengths.astype(np.float64)
    example = Work(float(sizes.mean()), float(np.square(sizes).mean()), float(supervised.mean()))
    built = task.build()
    test = built.test
    rows = np.linspace(0, len(test) - 1, min(len(test), SAMPLE)).round().astype(int).tolist()
    known = {
        "example": example,
        "longest": int(lengths.max()),
        "supervised": int(supervised.max()),
        "test_examples": len(test),
        "train": task.num_train(),
    }
    nothing = np.zeros(0, dtype=np.int64)
    if not isinstance(built, TextTask):
        return Workload(**known, test=times(example, len(test)), prompts=nothing, answers=nothing, limit=0)
    encoded = [built.encode(test[row], tokenizer) for row in rows]
    lengths = np.array([len(ids) - 1 for ids, _ in encoded])
    prompts = np.array([prompt for _, prompt in encoded])
    solutions = lengths + 1 - prompts
    share = len(test) / len(rows)
    own = Work(float(lengths.sum()), float(np.square(lengths, dtype=np.float64).sum()), float(solutions.sum()))
    every = _spread(len(rows), len(test))
    return Workload(
        **known,
        test=times(own, share),
        prompts=prompts[every],
        answers=np.minimum(solutions, built.max_new_tokens)[every],
        limit=built.max_new_tokens,
        rounds=_rounds(task),
    )


def _spread(rows: int, count: int) -> np.ndarray:
    """For each of `count` examples the one of `rows` encoded ones that stands for it."""
    return np.linspace(0, rows - 1, count).round().astype(int)


def _assumed(task: Any, missing: Sequence[str]) -> Workload:
    fields = _fields(task)
    length = int(fields.get("max_length", fields.get("length", ASSUMED_LENGTH)))
    limit = int(fields.get("max_new_tokens", 0))
    sets = fields.get("evaluate_on", ())
    test = sum(one.published.size for one in sets) if sets else ASSUMED_TEST
    # Running text is learned whole, an answer after its question.
    supervised = length // 2 if limit else length
    example = Work(float(length), float(length) ** 2, float(supervised))
    words = f"every example is taken to have {length} tokens"
    if limit:
        words += (
            f", half of them supervised, which is more than most have, and {test:,} test questions to be answered with "
            f"{limit} tokens each"
        )
    questions = test if limit else 0
    return Workload(
        example=example,
        longest=length,
        supervised=supervised,
        test=times(example, test),
        test_examples=test,
        prompts=np.full(questions, length // 2),
        answers=np.full(questions, limit),
        limit=limit,
        train=ASSUMED_TRAIN,
        rounds=_rounds(task),
        missing=tuple(missing),
        assumed=words,
    )


def _fields(task: Any) -> dict[str, Any]:
    return {name: getattr(task, name) for name in type(task).model_fields}


def _rounds(task: Any) -> int:
    """How often a question is asked at most: with programs once more where a program gives nothing."""
    return 2 if _fields(task).get("programs", "off") == "on" else 1


def checked(arm: Arm) -> Workload:
    """`workload_of` of an arm, with the entry to blame before what a UserError says."""
    with arm.blaming("model"):
        if not not_at_hand(arm.model_spec):
            arm.model_spec.tokenizer()
    with arm.blaming("task"):
        return workload_of(arm.model_spec, arm.task_spec)
