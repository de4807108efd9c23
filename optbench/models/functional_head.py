"""The loss through the output layer, and its gradient, piece by piece: the logits [N, V] are never there at once.

For logits z = h W^T + b and a loss of each position, with C = dloss/dz the cotangent,

    dh = C W        dW = C^T h        db = sum_n C

Its functional twin pulls the cotangent of one point (h0, W0) back at another, (h', W'): dh = C W', dW = C^T h', where C
was kept, or is rebuilt from h0 and W0. The logits of (h', W') are asked for by nobody, and not computed. To make the
gradient in the forward, piece by piece, is the way of Liger Kernel (arXiv 2410.10989); the loss here is the task's.

Legend: D width, V classes, N supervised positions, K of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from optbench.shifts import Moment, as_of

if TYPE_CHECKING:
    from optbench.oracle import Losses

ENTRIES = {"cpu": 1 << 24, "cuda": 1 << 27}
"""Logits at once, N x V: 64 MiB of float32 on a CPU, half a GiB on a GPU. Batches below are not cut at all."""
ROWS = {"cpu": 256, "cuda": 1024}
"""Positions at once at least: each piece reads and writes the whole of dW, and that has to be little beside its own
products."""


def chunk_rows(classes: int, device: torch.device) -> int:
    """How many positions go through the output layer at once."""
    kind = device.type if device.type in ENTRIES else "cuda"
    return max(ROWS[kind], ENTRIES[kind] // classes)


Piece = tuple[slice, Tensor, Tensor | None]
"""Which positions, their cotangent [K, V] in the dtype of products, and their share of the loss if it is known."""


class Cotangents(Protocol):
    """A cotangent [N, V] that comes in pieces."""

    def pieces(self) -> Iterator[Piece]:
        """The pieces, in order."""
        ...


@dataclass(frozen=True)
class Kept:
    """A cotangent that lies in memory."""

    cotangent_NV: Tensor
    dtype: torch.dtype

    def pieces(self) -> Iterator[Piece]:
        """One piece: what is in memory need not be cut."""
        yield slice(None), self.cotangent_NV.to(self.dtype), None


@dataclass(frozen=True)
class Point:
    """The output layer at one moment: hidden states [N, D] of then, weight [V, D] and bias [V] as they were then,
    and the loss of each position, divided by `count`. Products are taken in `dtype`, `rows` positions at once."""

    hidden_ND: Tensor
    weight_VD: Tensor
    bias_V: Tensor | None
    targets_N: Tensor
    losses: Losses
    count: int
    rows: int
    dtype: torch.dtype
    moment: Moment

    def pieces(self) -> Iterator[Piece]:
        """The cotangent, from logits that are made for one piece at a time."""
        for at, logits_KV in self._logits():
            logits_KV.requires_grad_()
            with torch.enable_grad():
                loss = self.losses(logits_KV, self.targets_N[at]).sum() / self.count
                (cotangent_KV,) = torch.autograd.grad(loss, logits_KV)
            del logits_KV
            yield at, cotangent_KV.to(self.dtype), loss.detach()

    @torch.no_grad()
    def loss(self) -> Tensor:
        """The sum of the losses over `count`; nothing is differentiated."""
        return self.by_position().sum() / self.count

    @torch.no_grad()
    def by_position(self) -> Tensor:
        """The losses [N]; nothing is differentiated."""
        found = [self.losses(logits_KV, self.targets_N[at]) for at, logits_KV in self._logits()]
        return torch.cat(found) if found else widened(self.hidden_ND.new_zeros(0))

    def _logits(self) -> Iterator[tuple[slice, Tensor]]:
        weight_VD = as_of(self.moment, self.weight_VD).detach().to(self.dtype)
        bias_V = None if self.bias_V is None else as_of(self.moment, self.bias_V).detach().to(self.dtype)
        for start in range(0, len(self.hidden_ND), self.rows):
            at = slice(start, start + self.rows)
            with torch.no_grad(), torch.autocast(self.hidden_ND.device.type, enabled=False):
                logits_KV = widened(torch.nn.functional.linear(self.hidden_ND[at].to(self.dtype), weight_VD, bias_V))
            # Outside: a generator that waits inside them would leave its modes to whoever asked.
            yield at, logits_KV


class Rebuilt:
    """A cotangent of which only the hidden states are held: see `Point`.

    `total`, a scalar, receives the loss when the pieces are first made, where it is not known before.
    """

    def __init__(self, point: Point, total: Tensor | None = None) -> None:
        self._point = point
        self._total = total

    def pieces(self) -> Iterator[Piece]:
        """The pieces, made anew."""
        total, self._total = self._total, None
        for at, cotangent_KV, loss in self._point.pieces():
            if total is not None and loss is not None:
                total += loss
            yield at, cotangent_KV, None


def widened(logits: Tensor) -> Tensor:
    """Logits in which a loss is taken: float32 at least."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def product_dtype(like: Tensor) -> torch.dtype:
    """The type in which a linear layer multiplies here: that of autocast inside it, else that of its input."""
    kind = like.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype


class _HeadGradient(torch.autograd.Function):
    """The loss of the pieces, its gradient being their pull-back at (hidden, weight, bias).

    Made in the forward, like the pieces: the backward has nothing to do but to hand it on.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        cotangents: Cotangents,
        kept_NV: Tensor | None,
        dtype: torch.dtype,
    ) -> Tensor:
        wanted = ctx.needs_input_grad
        total = hidden_ND.new_zeros((), dtype=torch.promote_types(hidden_ND.dtype, torch.float32))
        hidden, weight = hidden_ND.to(dtype), weight_VD.to(dtype)
        found: list[Tensor | None] = [None, None, None]
        with torch.autocast(hidden_ND.device.type, enabled=False):
            for at, cotangent, loss in cotangents.pieces():
                if loss is not None:
                    total += loss
                if kept_NV is not None:
                    kept_NV[at] = cotangent
                if wanted[0]:
                    pulled_ND = torch.empty_like(hidden) if found[0] is None else found[0]
                    torch.mm(cotangent, weight, out=pulled_ND[at])
                    found[0] = pulled_ND
                if wanted[1]:
                    found[1] = _plus_product(found[1], cotangent, hidden[at], weight_VD.dtype)
                if wanted[2]:
                    assert bias_V is not None
                    added = cotangent.sum(0).to(bias_V.dtype)
                    found[2] = added if found[2] is None else found[2].add_(added)
        if found[0] is not None:
            found[0] = found[0].to(hidden_ND.dtype)
        ctx.found = found
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> Any:
        found, ctx.found = ctx.found, None
        if found is None:
            raise RuntimeError("the gradient through the output layer was made once and has been handed out")
        return (*(None if f is None else f.mul_(scale) for f in found), None, None, None)


def _plus_product(total_VD: Tensor | None, cotangent_KV: Tensor, hidden_KD: Tensor, dtype: torch.dtype) -> Tensor:
    """total + C^T h in `dtype`, in place where there is a total."""
    if total_VD is None:
        return (cotangent_KV.T @ hidden_KD).to(dtype)
    if hidden_KD.dtype == dtype:
        # Not addmm_: torch's counter of operations overlooks the one in place.
        return torch.addmm(total_VD, cotangent_KV.T, hidden_KD, out=total_VD)
    return total_VD.add_(cotangent_KV.T @ hidden_KD)


def head_gradient(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    cotangents: Cotangents,
    *,
    kept_NV: Tensor | None = None,
) -> Tensor:
    """The loss that the pieces know, 0 where they know none; its gradient is J^T C at hidden, weight and bias.

    With `kept_NV` the cotangent is written there. The gradient is made at once: the graph serves one backward.
    """
    dtype = product_dtype(hidden_ND)
    result: Tensor = _HeadGradient.apply(hidden_ND, weight_VD, bias_V, cotangents, kept_NV, dtype)  # type: ignore[no-untyped-call]
    return result
