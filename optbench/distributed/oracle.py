"""The oracle of a batch that several processes share: the same answers on every rank, and those of one process.

Each pass is made on the examples of the rank, and what it gives, a summand of the whole batch's gradient or loss, is
added up over the ranks afterwards. Not by the hooks of DistributedDataParallel, which wrap one forward and one backward
per step: here an optimizer asks several times in a step, with cotangents of its own; the output layer is taken outside
the module's forward; and the ranks differ in their number of parts, or have none, so that a sum which starts inside a
backward would wait for one that never comes. The price is that no gradient travels while the backward is still running.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from optbench.distributed.sharing import SharedBatch
from optbench.oracle import Differentiable, Gradient, Losses, Oracle, PartCotangent


class Adding(Protocol):
    """What adds up over the ranks."""

    def add_up(self, tensors: Sequence[Tensor], /) -> None:
        """Puts the sum over all ranks in the place of each tensor; every rank calls it, with the same shapes."""
        ...


@dataclass(frozen=True, kw_only=True)
class SharedGradient(Gradient):
    """As `Gradient`; `totals` are those of the rank's own parts, `loss` is that of the whole batch.

    Every rank has to ask for the loss, as often as the others.
    """

    group: Adding

    @property
    def loss(self) -> Tensor:
        """The loss of the whole batch, as far as it is known by now."""
        loss = super().loss.clone()
        self.group.add_up([loss])
        return loss


class SharedOracle(Oracle):
    """The loss of a batch of which this process has a share: see `Oracle`.

    All ranks have to ask the same questions in the same order. With `own_ascents` the ascent is that of the rank's own
    share, and the rest is as ever.
    """

    def __init__(
        self, model: Differentiable, losses: Losses, batch: SharedBatch, group: Adding, *, own_ascents: bool
    ) -> None:
        super().__init__(model, losses, batch)
        self._shared, self._group, self._own_ascents = batch, group, own_ascents
        self._adds = True

    def for_ascent(self) -> Oracle:
        """This oracle, or the same without adding up the gradients; its passes count here."""
        if not self._own_ascents:
            return self
        own = copy.copy(self)
        own._adds = False
        own._share, own._whole = Fraction(1), self
        return own

    def of_fraction(self, fraction: float) -> Oracle:
        """See `Oracle.of_fraction`: the examples that one process would take, whoever has them."""
        batch = self._shared.fraction(fraction)
        found = SharedOracle(self.model, self.losses, batch, self._group, own_ascents=self._own_ascents)
        found._adds = self._adds
        found._share, found._whole = Fraction(len(batch.supervised), len(self._shared.supervised)), self
        return found

    def _answer(self, totals: Sequence[Tensor], cotangent: Sequence[PartCotangent] | None) -> Gradient:
        nothing = self.parameters[0].new_zeros(())
        return SharedGradient(totals or [nothing], cotangent, group=self._group)

    def _complete(self) -> None:
        super()._complete()
        if self._adds:
            self._group.add_up(_apart(self.parameters))


def _apart(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradients, each in memory of its own: those of two summands may lie in the same, and would be added up
    twice."""
    seen: set[int] = set()
    found = []
    for p in parameters:
        assert p.grad is not None, "the oracle fills every gradient"
        at = p.grad.untyped_storage().data_ptr()
        if at in seen:
            p.grad = p.grad.clone(memory_format=torch.contiguous_format)
        seen.add(at)
        found.append(p.grad)
    return found
