"""Cutting examples into splits so that the same question never stands on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from optbench.errors import UserError
from optbench.tasks.base import Example


def same_question(question: str) -> str:
    """What two questions share that differ only in letter case and white space."""
    return " ".join(question.casefold().split())


def held_out(
    examples: Sequence[Example], fraction: float, *, data_seed: int, name: str
) -> tuple[list[Example], list[Example]]:
    """The examples that remain, and those held out: about `fraction` of the distinct questions, at least one.

    Which questions go is told by a hash of their text and of the seed, so it depends on no order and on no other
    question's neighbours. Raises UserError where nothing would remain.
    """
    if fraction == 0.0:
        return list(examples), []
    ranked = sorted({same_question(e.question) for e in examples}, key=lambda q: _rank(q, data_seed, name))
    count = max(1, round(len(ranked) * fraction))
    if count >= len(ranked):
        raise UserError(f"{len(ranked)} distinct question(s) are too few to hold out {fraction:g} of them for {name}")
    out = set(ranked[:count])
    remaining = [e for e in examples if same_question(e.question) not in out]
    return remaining, [e for e in examples if same_question(e.question) in out]


def without(examples: Sequence[Example], others: Iterable[Example]) -> list[Example]:
    """The examples whose question is not among the others'."""
    known = {same_question(e.question) for e in others}
    return [e for e in examples if same_question(e.question) not in known]


def first_of_each(examples: Sequence[Example]) -> list[Example]:
    """The examples with every question once: what is measured counts each question once."""
    found: dict[str, Example] = {}
    for example in examples:
        found.setdefault(same_question(example.question), example)
    return list(found.values())


def _rank(question: str, data_seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{data_seed}/{name}/{question}".encode()).digest()
