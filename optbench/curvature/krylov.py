"""The algebraically largest eigenvalue of a symmetric matrix that can only be multiplied with.

Lanczos with full reorthogonalisation, started anew from its best vectors whenever the basis is full (thick restart, Wu
and Simon 2000). A basis as long as the number of products is plain Lanczos; a short one keeps the best half of its
vectors at each restart and converges more slowly. Coefficients are float64 on the host; vectors have the type of the
start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Multiply = Callable[["Tensor", float | None], "Tensor"]
"""A unit vector, and the size of the largest eigenvalue known so far (None before the first product), to A v."""


LEAST = 10
"""Products before a residual is believed: a start with little of the top vector in it shows a smaller eigenpair first,
whose residual is small before the true one emerges."""


@dataclass(frozen=True)
class Ritz:
    """The best approximations within a small space, in rising order.

    `values` theta_i = q_i^T A q_i; `vectors` q_i, orthonormal; `residual` is ||A q - theta q|| / |theta| of the last,
    so that an eigenvalue lies within residual * |theta| of it, and much closer than that where it stands apart;
    `products` is what it took.
    """

    values: np.ndarray
    vectors: list[Tensor]
    residual: float
    products: int

    @property
    def top(self) -> float:
        """The largest."""
        return float(self.values[-1])


def top_eigenpairs(multiply: Multiply, start: Tensor, *, products: int, basis: int, tolerance: float) -> Ritz:
    """The Ritz pairs of the last basis; the last one is the top eigenpair.

    Ends with a relative residual of at most `tolerance` and `LEAST` products, or after `products` products. `basis`
    bounds the vectors that are held, at least 3. The start is overwritten.
    """
    from optbench.curvature.vectors import dot, norm, rotate_

    assert basis >= 3 and products >= 1
    space = [start.div_(norm(start))]
    matrix = np.zeros((basis, basis))
    known: float | None = None
    for done in range(1, products + 1):
        size = len(space)
        w = multiply(space[-1], known)
        column = np.zeros(size)
        for _ in range(2):
            for i, q in enumerate(space):
                c = dot(q, w)
                w.sub_(q, alpha=c)
                column[i] += c
        matrix[:size, size - 1] = matrix[size - 1, :size] = column
        beta = norm(w)
        values, turn = np.linalg.eigh(matrix[:size, :size])
        known = float(np.abs(values).max())
        residual = beta * abs(turn[-1, -1]) / max(abs(values[-1]), np.finfo(np.float64).tiny)
        # A space that the matrix maps into itself has no next vector but rounding errors.
        exhausted = beta <= 1e-6 * known
        if (residual <= tolerance and done >= LEAST) or exhausted or done == products:
            rotate_(space, turn)
            return Ritz(values, space, residual, done)
        if size == basis:
            kept = max(1, basis // 2)
            rotate_(space, turn)
            space = space[-kept:]
            matrix[:] = 0.0
            matrix[range(kept), range(kept)] = values[-kept:]
        space.append(w.div_(beta))
    raise AssertionError("the loop returns")


def rayleigh(vector: Tensor, product: Tensor) -> tuple[float, float]:
    """theta = v^T A v and ||A v - theta v|| / |theta| of a unit vector v with its product A v."""
    from optbench.curvature.vectors import dot, norm

    theta = dot(vector, product)
    rest = norm(product.sub(vector, alpha=theta))
    return theta, rest / max(abs(theta), np.finfo(np.float64).tiny)
