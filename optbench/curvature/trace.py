"""The trace of a symmetric matrix that can only be multiplied with, with its standard error.

    tr A = tr Q^T A Q  +  tr (I - Q Q^T) A (I - Q Q^T)

The first term is known from a Krylov space Q; the second is the mean of z^T A z over random z = (I - Q Q^T) s with
independent signs s. That is Hutch++ (arXiv 2010.09649) with the space that the search for the top eigenvalue leaves
behind (arXiv 2205.01736) in place of one of its own: half the products. Q does not depend on the signs, so the estimate
is unbiased and the standard error of the mean is an honest one. Without Q it is Hutchinson's estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.curvature.krylov import Ritz


def trace(
    multiply: Callable[[Sequence[Tensor]], list[Tensor]],
    known: Ritz | None,
    draw: Callable[[int], Tensor],
    *,
    probes: int,
    at_once: int,
) -> tuple[float, float]:
    """The estimate and its standard error, from `probes` (at least 2) products, `at_once` vectors at a time.

    `draw(i)` gives the i-th vector of signs. With m probes the error has m - 1 degrees of freedom.
    """
    from optbench.curvature.vectors import dot

    assert probes >= 2
    samples: list[float] = []
    for start in range(0, probes, at_once):
        block = []
        for i in range(start, min(start + at_once, probes)):
            z = draw(i)
            for q in known.vectors if known else []:
                z.sub_(q, alpha=dot(q, z))
            block.append(z)
        samples += [dot(z, product) for z, product in zip(block, multiply(block), strict=True)]
    inside = float(known.values.sum()) if known else 0.0
    return inside + float(np.mean(samples)), float(np.std(samples, ddof=1) / math.sqrt(probes))
