"""Matrix products of foreign optimizers whose update is not elementwise, counted from shapes and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def soap(options: Mapping[str, Any], matrices: Sequence[tuple[int, int]]) -> float:
    """SOAP (arXiv 2409.11321) as pytorch_optimizer has it, a mean over steps.

    On each side of a matrix that is no longer than `max_precondition_dim`: the gradient and the momentum are turned
    into the eigenbasis and the update is turned back, the gradient's outer product is added to the statistics, and
    every `precondition_frequency` steps these are multiplied by the basis. The QR decomposition after that is no
    product of matrices and not counted; nor is the eigendecomposition of the first step.
    """
    longest, often = options.get("max_precondition_dim", 10_000), options.get("precondition_frequency", 10)
    return float(
        sum(
            2 * 4 * side * rows * cols + 2 * side**3 / often
            for rows, cols in matrices
            for side in (rows, cols)
            if side <= longest
        )
    )


COUNTED: dict[str, Callable[[Mapping[str, Any], Sequence[tuple[int, int]]], float]] = {
    "pytorch_optimizer:SOAP": soap,
}
"""By target. Those that are not here are elementwise (Lion, MARS, AdEMAMix, Prodigy) or not known."""
