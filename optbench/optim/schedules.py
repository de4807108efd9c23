"""The factor on the learning rate as a pure function of progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal


def schedule_of(
    kind: Literal["constant", "linear", "cosine"], *, warmup: float, final: float, steps: int
) -> Callable[[float], float]:
    """The factor at progress p in [0, 1), for a run of `steps` steps.

    Warm-up rises linearly to 1 over the first `warmup` of the run, and is above 0 at the first step, which would
    otherwise be lost. After it, with q the progress through the rest: constant 1; linear 1 - (1 - final) q; cosine
    final + (1 - final) (1 + cos(pi q)) / 2.
    """

    def factor(progress: float) -> float:
        # Half a step is added so that neither the first step of the warm-up nor the last of the decay is at zero.
        p = progress + 0.5 / steps
        if p < warmup:
            return p / warmup
        q = (p - warmup) / (1.0 - warmup)
        if kind == "constant":
            return 1.0
        if kind == "linear":
            return 1.0 - (1.0 - final) * q
        return final + (1.0 - final) * (1.0 + math.cos(math.pi * q)) / 2.0

    return factor
