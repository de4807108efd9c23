"""Flat vectors over all parameters: the algebra of Krylov spaces, with sums in float64 whatever the parameters are.

Legend: P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

CHUNK = 1 << 16
"""Entries that are widened to float64 at once."""


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors end to end, [P]."""
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def taken(parameters: Sequence[Tensor]) -> Tensor:
    """The gradient out of `p.grad`, end to end, [P]; `p.grad` is emptied tensor by tensor, so that one copy is held."""
    found = parameters[0].new_empty(sum(p.numel() for p in parameters))
    for p, place in zip(parameters, views(found, parameters), strict=True):
        assert p.grad is not None, "the oracle fills every gradient"
        place.copy_(p.grad)
        p.grad = None
    return found.detach()


def views(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The pieces of a flat vector in the shapes of `like`; nothing is copied."""
    ends = np.cumsum([t.numel() for t in like]).tolist()
    return [vector[end - t.numel() : end].view(t.shape) for end, t in zip(ends, like, strict=True)]


def dot(a: Tensor, b: Tensor) -> float:
    """The inner product, summed in float64: in float32 a sum of 1e8 products has lost the digits that Lanczos needs."""
    starts = range(0, a.numel(), CHUNK)
    return float(sum(a[i : i + CHUNK].double() @ b[i : i + CHUNK].double() for i in starts))


def norm(a: Tensor) -> float:
    """The Euclidean norm."""
    return math.sqrt(dot(a, a))


def rotate_(vectors: Sequence[Tensor], by: np.ndarray) -> None:
    """Replaces vectors q_i by sum_i q_i by[i, j], in place and piece by piece: no second basis is ever held."""
    length, device = vectors[0].numel(), vectors[0].device
    turn = torch.from_numpy(np.ascontiguousarray(by.T)).to(device)
    for start in range(0, length, CHUNK):
        pieces = [q[start : start + CHUNK] for q in vectors]
        turned = turn @ torch.stack(pieces).double()
        for piece, new in zip(pieces, turned, strict=True):
            piece.copy_(new)


def gaussian(rng: np.random.Generator, like: Tensor) -> Tensor:
    """A vector of independent normal numbers with the length, type and device of `like`."""
    return torch.from_numpy(rng.standard_normal(like.numel(), dtype=np.float32)).to(like)


def signs(rng: np.random.Generator, like: Tensor) -> Tensor:
    """A vector of independent signs, +1 or -1, with the length, type and device of `like`."""
    drawn = rng.integers(0, 2, like.numel(), dtype=np.int8)
    return torch.from_numpy(2 * drawn - 1).to(like)
