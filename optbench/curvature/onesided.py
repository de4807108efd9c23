"""H v at the price of one gradient: one-sided differences whose step rounding chooses, with buffers that are kept.

    H v ~ ( g(w + s v) - g(w) ) / s

The error is rounding / s + s K with K the third derivative, which is not known and differs from model to model by
orders of magnitude; rounding is known: gradients in float32 are good to about `ROUNDING` of their norm. So the step is
the shortest at which rounding is `WANTED` of the largest curvature, s = ROUNDING ||g|| / (WANTED curvature): what is
left for third derivatives is then the least that this precision allows. The step of `Differences` goes by the rise of
the loss instead and is several times as long, which is what its central differences want.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from optbench.curvature.differences import LARGEST, RANDOM, Differences
from optbench.curvature.vectors import norm, taken, views

if TYPE_CHECKING:
    from optbench.curvature.products import Product

ROUNDING = 1e-6
"""Of a float32 gradient, relative to its norm: 7e-7 was measured on a Llama of 6M parameters with 384 tokens."""
WANTED = 1e-3
"""Rounding in a product along any unit vector, relative to the largest curvature."""
SMALLEST = 1e-7
"""Of a step, relative to the norm of all weights: where the gradient vanishes its rounding does not."""


class OneSided(Differences):
    """`Differences` with cheaper one-sided products of the Hessian. Central differences (`fine`) and the two parts of
    the Hessian are those of `Differences`.

    While a context is open two vectors [P] are held: the gradient at the weights, and their copy during a product.
    """

    @contextmanager
    def hessian(self) -> Iterator[Product]:
        """H v from gradients of the loss at shifted weights."""
        oracle, kept = self.oracle, list[Tensor]()
        parameters = oracle.parameters
        length = 0.0
        with super().hessian() as central:

            def one(vector: Tensor, curvature: float | None) -> Tensor:
                nonlocal length
                if not kept:
                    oracle.gradient()
                    kept.append(taken(parameters))
                    kept.append(torch.empty_like(kept[0]))
                    length = norm(kept[0])
                here, saved = kept
                step = self._short(length, curvature) / (norm(vector) or 1.0)
                places = views(saved, parameters)
                with torch.no_grad():
                    for p, place, along in zip(parameters, places, views(vector, parameters), strict=True):
                        place.copy_(p)
                        p.add_(along, alpha=step)
                try:
                    oracle.gradient()
                finally:
                    with torch.no_grad():
                        for p, place in zip(parameters, places, strict=True):
                            p.copy_(place)
                found = torch.empty_like(vector)
                for p, g, place in zip(parameters, views(here, parameters), views(found, parameters), strict=True):
                    assert p.grad is not None, "the oracle fills every gradient"
                    torch.sub(p.grad, g, out=place)
                    place.div_(step)
                    p.grad = None
                return found

            def product(
                vectors: Sequence[Tensor], *, curvature: float | None = None, fine: bool = False
            ) -> list[Tensor]:
                if fine:
                    return central(vectors, curvature=curvature, fine=True)
                return [one(v, curvature) for v in vectors]

            yield product

    def _short(self, gradient: float, curvature: float | None) -> float:
        """The length of the shift."""
        if curvature is None:
            return RANDOM * self._size
        if not curvature:
            return LARGEST * self._size
        wanted = ROUNDING * gradient / (WANTED * abs(curvature))
        return min(max(wanted, SMALLEST * self._size), LARGEST * self._size)
