"""The embedded task: arithmetic with worked scratchpads, generated from a seed and split so that nothing leaks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from optbench.errors import UserError, suggestion
from optbench.rng import stream
from optbench.spec import Spec
from optbench.tasks.base import Example, Grade
from optbench.tasks.problems import KINDS, Group, Operands
from optbench.tasks.scratchpad import fault
from optbench.tasks.text import TextTask, token_counts

if TYPE_CHECKING:
    from optbench.models.language_model import Tokenizer

SPLITS = ("test", "validation", "train")
"""In the order in which they take their problems: a larger training set changes no other split while they suffice."""
_ANSWER = re.compile(r"\d+|[<=>]")


class ArithmeticTask(Spec):
    """Problems of several kinds in equal parts, with worked solutions: see `optbench.tasks.problems`.

    No problem, nor the same problem in another order, is in two splits. Where a kind has fewer problems than asked
    for, the splits share them out and training repeats its own; test and validation never repeat one.
    """

    kind: Literal["arithmetic"] = "arithmetic"
    kinds: Annotated[tuple[str, ...], Field(min_length=1)] = tuple(KINDS)
    train: Annotated[int, Field(ge=1)] = 2048
    validation: Annotated[int, Field(ge=1)] = 256
    test: Annotated[int, Field(ge=1)] = 512
    data_seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"{kind!r} is no kind of problem; {suggestion(kind, KINDS)}")
        # In the order of the table: the order of the kinds means nothing and must not make another key.
        return tuple(kind for kind in KINDS if kind in kinds)

    @property
    def can_rewrite(self) -> bool:
        """Whether new examples can be written: they always can."""
        return True

    def build(self) -> TextTask:
        """The task, made once for all cells of a process. Raises UserError where a kind has too few problems for
        validation and test."""
        return _built(self)

    def num_train(self) -> int:
        """The size of the training set."""
        return self.train

    def token_counts(self, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
        """Input tokens and supervised positions of the training examples."""
        return token_counts(self.build(), tokenizer)

    def _pool(self, kind: str, place: int) -> _Pool:
        rng = stream(self.data_seed, f"arithmetic/{kind}")
        groups = KINDS[kind].groups()
        shuffled = [_shuffled(groups[i], rng) for i in rng.permutation(len(groups)).tolist()]
        sizes = {"test": self.test, "validation": self.validation, "train": self.train}
        # What does not divide goes to the first kinds, one each.
        quotas = {split: size // len(self.kinds) + (place < size % len(self.kinds)) for split, size in sizes.items()}
        shares, start = {}, 0
        for split in SPLITS:
            share = _share(split, shuffled[start:], quotas, whole=len(groups))
            shares[split] = shuffled[start : start + share]
            start += share
        possible = sum(map(len, shares["test"])), sum(map(len, shares["validation"]))
        if quotas["test"] > possible[0] or quotas["validation"] > possible[1]:
            raise UserError(
                f"arithmetic: test: {self.test} and validation: {self.validation} ask for {quotas['test']} and "
                f"{quotas['validation']} problems of the kind {kind!r}, but without repeating any, and with half of "
                f"them left for training, only {possible[0]} and {possible[1]} can be had: ask for fewer"
            )
        return _Pool(shares, quotas, shuffled[start:])

    def _examples(self, split: str, pools: dict[str, _Pool]) -> list[Example]:
        columns = []
        for kind, pool in pools.items():
            operands = pool.take(split)
            columns.append([_example(kind, o, f"{split}-{kind}-{i}") for i, o in enumerate(operands)])
        # One of each kind in turn, so that any stretch of a split is balanced.
        return [example for row in zip_longest(*columns) for example in row if example is not None]


@lru_cache(maxsize=8)
def _built(spec: ArithmeticTask) -> TextTask:
    # Nothing in a task changes, so that cells can share one.
    pools = {kind: spec._pool(kind, place) for place, kind in enumerate(spec.kinds)}
    splits = {split: spec._examples(split, pools) for split in SPLITS}
    taken = {example.question for split in splits.values() for example in split}
    for example in (example for split in splits.values() for example in split):
        problem = fault(example.question, example.solution)
        assert not problem, problem
    spare = {kind: pool.spare(taken, kind) for kind, pool in pools.items()}
    repeated = Counter(e.source for e in splits["train"])
    distinct = Counter(source for source, _ in {(e.source, e.question) for e in splits["train"]})
    return TextTask(
        **splits,
        prompt="{question}",
        grade=grade,
        rewriter=_Rewriter(spare, pools).rewrite,
        max_new_tokens=12,
        max_length=32,
        too_long="error",
        notes={"repeated": {kind: count for kind in spec.kinds if (count := repeated[kind] - distinct[kind])}},
    )


@dataclass(frozen=True)
class _Pool:
    """The problems of one kind: whole groups for each split, how many problems it takes, and groups left over."""

    shares: dict[str, list[Group]]
    quotas: dict[str, int]
    rest: list[Group]

    def take(self, split: str) -> list[Operands]:
        """As many problems as the split takes: one of each group first, then other orders, then all again."""
        found = list(_in_rounds(self.shares[split]))
        return [found[i % len(found)] for i in range(self.quotas[split])]

    def spare(self, taken: set[str], kind: str) -> tuple[list[Operands], list[Operands]]:
        """Problems for new examples: those of groups in no split, and other orders of training problems."""
        others = [o for o in _in_rounds(self.shares["train"]) if KINDS[kind].write(*o).question not in taken]
        return list(_in_rounds(self.rest)), others


@dataclass(frozen=True)
class _Rewriter:
    """Writes new problems of the same kinds, as long as there are any; then repeats training ones."""

    spare: dict[str, tuple[list[Operands], list[Operands]]]
    pools: dict[str, _Pool]

    def rewrite(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """See `Task.rewrite`. The new problems of one call differ from each other until a kind runs out."""
        rng = stream(seed, "arithmetic/rewrite")
        queues = {}
        for kind in sorted({example.source for example in examples}):
            known = self.pools[kind].take("train")
            order = [fresh[i] for fresh in self.spare[kind] for i in rng.permutation(len(fresh)).tolist()]
            needed = sum(example.source == kind for example in examples) - len(order)
            order += [known[i] for i in rng.integers(len(known), size=max(0, needed)).tolist()]
            queues[kind] = iter(order)
        made = []
        for i, example in enumerate(examples):
            new = _example(example.source, next(queues[example.source]), f"rewritten-{seed}-{i}")
            problem = fault(new.question, new.solution)
            assert not problem, problem
            made.append(new)
        return made


def grade(text: str, example: Example) -> Grade:
    """The verdict: what stands after the last `:` must equal the answer. What cannot be an answer of this kind (a
    number for a number, a sign for a sign) is a format error."""
    _, colon, tail = text.rpartition(":")
    answer = tail.strip()
    readable = bool(colon) and _ANSWER.fullmatch(answer) and answer.isdigit() == example.answer.isdigit()
    if not readable:
        return Grade(text, None, correct=False, format_error=True)
    return Grade(text, answer, correct=answer == example.answer, format_error=False)


def _share(split: str, groups: Sequence[Group], quotas: dict[str, int], *, whole: int) -> int:
    """How many of the groups a split gets: one for each of its problems where there are enough for all splits.

    Otherwise validation and test get their part in proportion, more where their quota needs it, and at most a quarter
    of the whole each; training gets the rest and repeats it.
    """
    if sum(quotas.values()) <= whole:
        return quotas[split]
    if split == "train":
        return len(groups)
    needed = int(np.searchsorted(np.cumsum([len(group) for group in groups]), quotas[split])) + 1
    return min(max(needed, whole * quotas[split] // sum(quotas.values())), whole // 4)


def _example(kind: str, operands: Operands, name: str) -> Example:
    written = KINDS[kind].write(*operands)
    return Example(name, written.question, f"{written.scratchpad}:{written.answer}", written.answer, kind)


def _shuffled(group: Group, rng: np.random.Generator) -> Group:
    return tuple(group[i] for i in rng.permutation(len(group)).tolist())


def _in_rounds(groups: Sequence[Group]) -> Iterator[Operands]:
    """The first of each group, then the second of each that has one, and so on."""
    for round_ in zip_longest(*groups):
        yield from (operands for operands in round_ if operands is not None)
