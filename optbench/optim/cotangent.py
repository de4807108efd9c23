"""Whether Functional-SAM keeps the cotangent of the outputs, or what it can be rebuilt from.

Kept, dloss/doutputs is as large as the logits, N x V numbers. Rebuilt, only the N x D hidden states are held, V / D
times less (63 to 228 times for the vocabularies of real models), and each piece is made anew from them and the
unshifted output layer when it is pulled back: one more product with the output layer, a third of its share of a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Keep = Literal["auto", "kept", "rebuilt"]
IsKept = Callable[[Keep], bool]
"""`is_kept` for sizes that are known already."""
SMALL = 64 << 20
"""Bytes that are kept without a thought."""


def is_kept(keep: Keep, *, entries: float, parameters: int) -> bool:
    """The choice for a batch with N x V = `entries` under a model of so many parameters.

    `auto` keeps up to a quarter of the size of the float32 weights: a sixteenth of what AdamW holds with weights,
    gradients and two moments. It depends on sizes alone, never on what happens to be free, so that a run can be
    repeated.
    """
    return keep == "kept" or (keep == "auto" and 4 * entries <= max(SMALL, parameters))


def always(keep: Keep) -> bool:
    """The choice for small batches: kept, unless told otherwise."""
    return keep != "rebuilt"
