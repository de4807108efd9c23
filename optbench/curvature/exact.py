"""Exact products by double backward, with attention as plain mathematics.

Fused attention kernels have no second derivative, neither on CPU nor on CUDA; only the plain one has, and it has to be
chosen for the backward too, for that is when the second graph is made.

    H v            backward through the backward                               2
    functional v   the same of <F, C> with the cotangent C held fixed          2
    GGN v          J v by differentiating u -> J^T u, d2L/dF2 by autograd on   4/3
                   the outputs alone, J^T by a backward

Cost in gradient-equivalents, on top of 1 for making the graph: once for all products where graphs are kept, else once
for each call. Forward-mode differentiation would be no cheaper, and SiLU has none over a backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from optbench.curvature.vectors import views

if TYPE_CHECKING:
    from optbench.curvature.products import Product
    from optbench.oracle import Oracle, Part

BUILD, DOUBLE_BACKWARD, JACOBIAN, BACKWARD = 1.0, 2.0, 2 / 3, 2 / 3
Piece = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""One part's share in a product, with its graph."""


class Exact:
    """The products of the oracle's batch loss: see `optbench.curvature.products.Products`.

    `keep` holds the graphs of all parts while a context is open. They are about three times what a training step
    keeps of the same part.
    """

    def __init__(self, oracle: Oracle, *, keep: bool = True) -> None:
        self.oracle = oracle
        self._keep = keep
        self._spent = 0.0
        self._total = oracle.batch.num_supervised

    @property
    def cost(self) -> float:
        """Gradient-equivalents so far."""
        return self.oracle.passes + self._spent

    @contextmanager
    def hessian(self) -> Iterator[Product]:
        """H v by double backward."""
        with sdpa_kernel([SDPBackend.MATH]):
            yield self._product(self._hessian_of, DOUBLE_BACKWARD)

    @contextmanager
    def functional(self) -> Iterator[Product]:
        """The derivative of J^T C along v, C held fixed, by double backward."""
        with sdpa_kernel([SDPBackend.MATH]):
            yield self._product(self._functional_of, DOUBLE_BACKWARD)

    @contextmanager
    def ggn(self) -> Iterator[Product]:
        """J^T (d2L/dF2) J v."""
        with sdpa_kernel([SDPBackend.MATH]):
            yield self._product(self._ggn_of, JACOBIAN + BACKWARD)

    def _product(self, piece_of: Callable[[Part], Piece], price: float) -> Product:
        parts, parameters = self.oracle.batch.parts, self.oracle.parameters
        pieces: list[Piece] = []

        def product(vectors: Sequence[Tensor], *, curvature: float | None = None, fine: bool = False) -> list[Tensor]:
            found = [torch.zeros_like(v) for v in vectors]
            if self._keep and not pieces:
                pieces.extend(piece_of(part) for part in parts)
                self._spent += BUILD
            elif not self._keep:
                self._spent += BUILD
            for i, part in enumerate(parts):
                piece = pieces[i] if self._keep else piece_of(part)
                for vector, total in zip(vectors, found, strict=True):
                    products = list(piece(views(vector, parameters)))
                    # One by one, and each given back at once: a second copy of all parameters is never held for long.
                    for place in reversed(views(total, parameters)):
                        place.add_(products.pop())
            self._spent += price * len(vectors)
            return found

        return product

    def _hessian_of(self, part: Part) -> Piece:
        with torch.enable_grad():
            loss = self.oracle.losses(self.oracle.model.outputs(part), part.targets).sum() / self._total
            return self._second(loss)

    def _functional_of(self, part: Part) -> Piece:
        with torch.enable_grad():
            outputs = self.oracle.model.outputs(part)
            leaf = outputs.detach().requires_grad_()
            (cotangent,) = torch.autograd.grad(self.oracle.losses(leaf, part.targets).sum() / self._total, leaf)
            return self._second((outputs * cotangent).sum())

    def _second(self, scalar: Tensor) -> Piece:
        parameters = self.oracle.parameters
        first = torch.autograd.grad(scalar, parameters, create_graph=True, materialize_grads=True)
        curved = [(i, g) for i, g in enumerate(first) if g.requires_grad]

        def piece(vectors: Sequence[Tensor]) -> Sequence[Tensor]:
            if not curved:
                return [torch.zeros_like(p) for p in parameters]
            return torch.autograd.grad(
                [g for _, g in curved],
                parameters,
                [vectors[i] for i, _ in curved],
                retain_graph=True,
                materialize_grads=True,
            )

        return piece

    def _ggn_of(self, part: Part) -> Piece:
        parameters = self.oracle.parameters
        with torch.enable_grad():
            outputs = self.oracle.model.outputs(part)
            leaf = outputs.detach().requires_grad_()
            loss = self.oracle.losses(leaf, part.targets).sum() / self._total
            (slope,) = torch.autograd.grad(loss, leaf, create_graph=True)
            u = torch.zeros_like(outputs, requires_grad=True)
            # J^T u is linear in u: its derivative along u, paired with v, is J v, wherever u is.
            pulled = torch.autograd.grad(outputs, parameters, u, create_graph=True, materialize_grads=True)
        touched = [(i, g) for i, g in enumerate(pulled) if g.requires_grad]

        def piece(vectors: Sequence[Tensor]) -> Sequence[Tensor]:
            if not touched or not slope.requires_grad:
                return [torch.zeros_like(p) for p in parameters]
            (along,) = torch.autograd.grad(
                [g for _, g in touched], u, [vectors[i] for i, _ in touched], retain_graph=True
            )
            (curved,) = torch.autograd.grad(slope, leaf, along, retain_graph=True)
            return torch.autograd.grad(outputs, parameters, curved, retain_graph=True, materialize_grads=True)

        return piece
