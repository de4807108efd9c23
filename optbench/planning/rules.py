"""What a rule keeps and works in, per trained entry, without torch for the rules that come with the package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

FLOAT32, BFLOAT16 = 4, 2
ONE_MOMENT, TWO_MOMENTS = 4.0, 8.0
"""Bytes per entry of a momentum, and of momentum and squared average."""


def state_per_entry(optimizer: Any) -> tuple[float, float]:
    """Bytes of state for each entry of a hidden matrix, and of any other parameter, by the optimizer's rule. Rules from
    elsewhere, whose code is not run for a plan, are taken to keep two moments."""
    rule = optimizer.rule
    if rule.kind == "gd":
        kept = ONE_MOMENT if rule.momentum else 0.0
        return kept, kept
    if rule.kind in ("adamw", "sophia"):
        return TWO_MOMENTS, TWO_MOMENTS
    if rule.kind == "muon":
        return ONE_MOMENT, TWO_MOMENTS
    # Of a rule from elsewhere nothing is run here: its code may fail, or end the process. Most keep two.
    return TWO_MOMENTS, TWO_MOMENTS


def working_bytes(rule: Any, matrices: Sequence[tuple[int, int]]) -> float:
    """A rule that multiplies matrices (Newton-Schulz) makes the updates of all hidden ones, of these rows and columns,
    in float32, and works on a stack of those of one shape in bfloat16: input, result, and what it is made from."""
    if not rule.update_flops(matrices):
        return 0.0
    stacks = Counter(matrices)
    largest = max(rows * cols * count for (rows, cols), count in stacks.items())
    return float(FLOAT32 * sum(rows * cols for rows, cols in matrices) + 4 * BFLOAT16 * largest)


def update_bytes(optimizer: Any, hidden: float, others: float) -> float:
    """Bytes that an update reads and writes: weights twice, the gradient, and its state twice."""
    own = state_per_entry(optimizer)
    return (3 * FLOAT32 + 2 * own[0]) * hidden + (3 * FLOAT32 + 2 * own[1]) * others
