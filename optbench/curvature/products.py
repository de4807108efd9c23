"""What is asked of a batch loss: products with its Hessian and with the two parts of which the Hessian is made.

For a loss L(F(w)) of outputs F with Jacobian J

    H v = J^T (d2L/dF2) J v  +  sum_c dL/dF_c  d2F_c/dw2 v
          GGN v: logit part     functional part

(arXiv 2401.10809, 2502.02407). Each of the three is computed on its own, so that their sum can be checked. Vectors are
flat [P]. Cost is in gradient-equivalents: a forward of the batch is 1/3, a backward 2/3.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.oracle import Oracle


class Product(Protocol):
    """A symmetric matrix that can be multiplied with."""

    def __call__(
        self, vectors: Sequence[Tensor], *, curvature: float | None = None, fine: bool = False
    ) -> list[Tensor]:
        """The products with the vectors [P], each of norm of the order of 1 unless said otherwise.

        The rest matters to finite differences only: `curvature` is the size of v^T H v / v^T v that is to be expected,
        None for a random direction, in which hardly anything happens; `fine` asks for central differences.
        """
        ...


class Products(Protocol):
    """The three products of one batch loss at the weights as they are. Inside each context graphs may be kept."""

    @property
    def oracle(self) -> Oracle:
        """The batch loss."""
        ...

    @property
    def cost(self) -> float:
        """Gradient-equivalents spent so far, those of the oracle included."""
        ...

    def hessian(self) -> AbstractContextManager[Product]:
        """H v."""
        ...

    def ggn(self) -> AbstractContextManager[Product]:
        """J^T (d2L/dF2) J v."""
        ...

    def functional(self) -> AbstractContextManager[Product]:
        """sum_c dL/dF_c d2F_c/dw2 v: the derivative of J^T C along v, with the cotangent C = dL/dF held fixed."""
        ...
