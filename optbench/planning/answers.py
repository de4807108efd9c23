"""How long a model takes to answer the questions of a test: groups of prompts, from which those that end are taken out.

This repeats what `models.generation` does, in numbers: which prompts go together, and how many rows each token costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from optbench.planning.memory import POSITIONS, QUESTIONS
from optbench.planning.workload import Workload


@dataclass(frozen=True)
class Decoding:
    """Seconds: a token of a whole group costs `fixed` and `per_row` for each of its rows; a prompt's token
    `per_prompt_token`."""

    fixed: float
    per_row: float
    per_prompt_token: float


def generation_seconds(work: Workload, decoding: Decoding) -> float:
    """All groups, one after another, each question as often as it is asked. In each group one answer is taken to run to
    the limit: few models end all of them."""
    total = 0.0
    for prompts, answers in groups(work):
        total += decoding.per_prompt_token * len(prompts) * float(prompts.max())
        tokens, rows = decoded(answers, work.limit)
        total += decoding.fixed * tokens + decoding.per_row * rows
    return work.rounds * total


def groups(work: Workload) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tokens of prompts and of answers of what is answered together, by the length of prompts."""
    order = np.argsort(work.prompts, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        full = end - start == QUESTIONS or end == len(order)
        longest = 0 if full else int(work.prompts[order[end]])
        if full or (end - start + 1) * (longest + work.limit) > POSITIONS:
            rows = order[start:end]
            yield work.prompts[rows], work.answers[rows]
            start = end


def decoded(answers: np.ndarray, limit: int) -> tuple[int, int]:
    """Tokens of the longest answer, and rows over all of them: rows leave the group where half of it has ended."""
    ends = np.sort(answers)
    ends[-1] = limit
    here, rows = len(ends), 0
    unfinished = (len(ends) - np.searchsorted(ends, np.arange(1, limit + 1), side="right")).tolist()
    for left in unfinished:
        rows += here
        if 2 * left <= here:
            here = left
    return limit, rows
