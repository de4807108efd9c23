"""Products by finite differences: any attention kernel, any precision of the pull-back, one gradient of memory.

    H v            ( g(w + s v) - g(w) ) / s                        1      central 2
    functional v   ( J(w + s v)^T C - J(w)^T C ) / s, C of w        1      central 2
    GGN v          J(w)^T (d2L/dF2) ( F(w + s v) - F(w) ) / s       4/3    central 5/3

Cost in gradient-equivalents, beside, for each context, what is needed at w: a gradient for one-sided differences, a
forward for C and for F(w). J(w)^T C is the gradient g(w)
itself. The step s is chosen so that the loss moves by about `RISE` where the curvature is known, s = sqrt(2 RISE /
curvature), and within bounds relative to ||w||, so that float32 weights can take it. Along a random direction hardly
anything happens, and the step is longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from optbench.curvature.vectors import dot, norm, taken, views
from optbench.oracle import shifted

if TYPE_CHECKING:
    from optbench.curvature.products import Product
    from optbench.oracle import Oracle

RISE = 1e-6
"""By how much the loss moves over a step (nats, for text): large against rounding, small against the loss."""
SMALLEST, LARGEST, RANDOM = 5e-6, 3e-5, 1e-3
"""Bounds of the step, relative to the norm of all weights together, and the step along a random direction. The upper
bound counts in the first products of a search: their curvature is small, but already the second vector points where
the loss bends most."""


class Differences:
    """The products of the oracle's batch loss: see `optbench.curvature.products.Products`."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self._spent = 0.0
        flattened = [p.detach().flatten() for p in oracle.parameters]
        self._size = math.sqrt(sum(dot(p, p) for p in flattened))

    @property
    def cost(self) -> float:
        """Gradient-equivalents so far."""
        return self.oracle.passes + self._spent

    @contextmanager
    def hessian(self) -> Iterator[Product]:
        """H v from gradients of the loss at shifted weights."""
        yield self._product(self.oracle.gradient)

    @contextmanager
    def functional(self) -> Iterator[Product]:
        """The functional part from pull-backs, at shifted weights, of the cotangent of the weights as they are."""
        cotangent = self.oracle.cotangent().cotangent
        yield self._product(lambda: self.oracle.gradient(cotangent=cotangent))

    @contextmanager
    def ggn(self) -> Iterator[Product]:
        """J^T (d2L/dF2) J v, with J v from outputs at shifted weights."""
        here = self._outputs()

        def one(vector: Tensor, curvature: float | None, fine: bool) -> Tensor:
            step = self._step(vector, curvature)
            with self._moved(vector, step):
                along = self._outputs()
            if fine:
                with self._moved(vector, -step):
                    behind = self._outputs()
            else:
                behind = here
            along = [(a - b) / (step * (2 if fine else 1)) for a, b in zip(along, behind, strict=True)]
            self.oracle.gradient(cotangent=self._loss_hessian(here, along))
            return taken(self.oracle.parameters)

        def product(vectors: Sequence[Tensor], *, curvature: float | None = None, fine: bool = False) -> list[Tensor]:
            return [one(v, curvature, fine) for v in vectors]

        yield product

    def _product(self, gradient: Callable[[], object]) -> Product:
        unshifted: list[Tensor] = []

        def one(vector: Tensor, curvature: float | None, fine: bool) -> Tensor:
            step = self._step(vector, curvature)
            if not fine and not unshifted:
                gradient()
                unshifted.append(taken(self.oracle.parameters))
            with self._moved(vector, step):
                gradient()
            found = taken(self.oracle.parameters)
            if not fine:
                return found.sub_(unshifted[0]).div_(step)
            with self._moved(vector, -step):
                gradient()
            return found.sub_(taken(self.oracle.parameters)).div_(2 * step)

        def product(vectors: Sequence[Tensor], *, curvature: float | None = None, fine: bool = False) -> list[Tensor]:
            return [one(v, curvature, fine) for v in vectors]

        return product

    def _step(self, vector: Tensor, curvature: float | None) -> float:
        """What the vector is multiplied with, and the difference divided by."""
        wanted = math.inf if not curvature else math.sqrt(2 * RISE / abs(curvature))
        bounded = min(max(wanted, SMALLEST * self._size), LARGEST * self._size)
        length = RANDOM * self._size if curvature is None else bounded
        return length / (norm(vector) or 1.0)

    @contextmanager
    def _moved(self, vector: Tensor, factor: float) -> Iterator[None]:
        parameters = self.oracle.parameters
        with shifted(parameters, views(vector * factor, parameters)):
            yield

    @torch.no_grad()
    def _outputs(self) -> list[Tensor]:
        self._spent += 1 / 3
        return [self.oracle.model.outputs(part) for part in self.oracle.batch.parts]

    def _loss_hessian(self, outputs: Sequence[Tensor], along: Sequence[Tensor]) -> list[Tensor]:
        """(d2L/dF2) a for each part, by autograd on the outputs alone."""
        found = []
        for part, output, a in zip(self.oracle.batch.parts, outputs, along, strict=True):
            leaf = output.detach().requires_grad_()
            with torch.enable_grad():
                loss = self.oracle.losses(leaf, part.targets).sum() / self.oracle.batch.num_supervised
                (slope,) = torch.autograd.grad(loss, leaf, create_graph=True)
            (curved,) = torch.autograd.grad(slope, leaf, a) if slope.requires_grad else (torch.zeros_like(a),)
            found.append(curved)
        return found
