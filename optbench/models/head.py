"""The output layer: found in a model, and the loss and its gradient through it without the logits.

Legend: D width, V classes, N supervised positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from optbench.models.functional_head import Kept, Point, Rebuilt, chunk_rows, head_gradient, product_dtype, widened
from optbench.optim.cotangent import Keep, is_kept
from optbench.oracle import Evaluated, Losses, PartCotangent, of_outputs
from optbench.shifts import now


@dataclass(frozen=True)
class Head:
    """A linear head on top of a backbone: logits = hidden @ weight^T + bias. The weight may be the input embedding."""

    backbone: nn.Module
    linear: nn.Linear
    parameters: int = 0
    """Of the whole model."""

    @property
    def weight_VD(self) -> Tensor:
        """The head's weight as it is now."""
        return self.linear.weight

    @property
    def bias_V(self) -> Tensor | None:
        """The head's bias, for the few models that have one (Phi-2)."""
        return self.linear.bias

    @classmethod
    def of(cls, module: Any) -> Head | None:
        """The head of a causal model of transformers, or None where head(hidden) is not the model's logits.

        Found by a forward pass of a few tokens: the head must be given the backbone's last hidden states, and what it
        returns must come out untouched, whatever it is (a cap on logits does not show on small ones).
        """
        linear = module.get_output_embeddings()
        backbone = module.base_model
        if not isinstance(linear, nn.Linear) or backbone is module:
            return None
        ids_BT = torch.arange(8, device=linear.weight.device).remainder(linear.out_features).reshape(2, 4)
        given: list[Tensor] = []
        ramp = torch.linspace(-1e4, 1e4, ids_BT.numel() * linear.out_features, device=ids_BT.device)
        ramp_BTV = ramp.to(linear.weight.dtype).view(*ids_BT.shape, -1)

        def swap(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            given.append(inputs[0])
            return ramp_BTV

        was_training = module.training
        module.eval()
        hook = linear.register_forward_hook(swap)
        try:
            with torch.no_grad():
                logits = module(input_ids=ids_BT, use_cache=False).logits
                hidden = backbone(input_ids=ids_BT, use_cache=False).last_hidden_state
        finally:
            hook.remove()
            module.train(was_training)
        untouched = logits.shape == ramp_BTV.shape and torch.equal(logits, ramp_BTV.to(logits.dtype))
        same = len(given) == 1 and given[0].shape == hidden.shape and torch.allclose(given[0], hidden, rtol=1e-4)
        return cls(backbone, linear, sum(p.numel() for p in module.parameters())) if untouched and same else None

    def evaluate(
        self,
        hidden_ND: Tensor,
        targets_N: Tensor,
        losses: Losses,
        count: int,
        keep: Keep | None,
        *,
        rows: int | None = None,
    ) -> Evaluated:
        """The loss of N positions over `count`: see `Differentiable.evaluate`.

        Up to `rows` positions go through the output layer at once, by default as many as make 64 MiB of logits on a
        CPU and 512 MiB on a GPU. A batch below that takes the plain way.
        """
        classes, positions = len(self.weight_VD), len(hidden_ND)
        rows = chunk_rows(classes, hidden_ND.device) if rows is None else rows
        dtype = product_dtype(hidden_ND)
        kept = keep is not None and is_kept(keep, entries=float(count) * classes, parameters=self.parameters)
        point = Point(hidden_ND.detach(), self.weight_VD, self.bias_V, targets_N, losses, count, rows, dtype, now())
        forward_only = not torch.is_grad_enabled()
        if keep is not None and not kept and forward_only:
            # The pull-back makes the logits anyway, and the loss with them.
            total = widened(hidden_ND).new_zeros(())
            rebuilt = Rebuilt(point, total)
            return Evaluated(total, lambda: rebuilt)
        if positions <= rows:
            plain = of_outputs(self.outputs(hidden_ND), targets_N, losses, count, keep if kept else None)
            return plain if kept or keep is None else Evaluated(plain.total, lambda: Rebuilt(point))
        if keep is None and forward_only:
            return Evaluated(point.loss(), _nothing)
        if not kept:
            total = head_gradient(hidden_ND, self.weight_VD, self.bias_V, point)
            return Evaluated(total, lambda: Rebuilt(point))
        cotangent_NV = hidden_ND.new_empty((positions, classes), dtype=dtype)
        weight_VD, bias_V = self.weight_VD, self.bias_V
        if forward_only:
            # A function of autograd is told that weights want a gradient, also where none is taken.
            weight_VD, bias_V = weight_VD.detach(), None if bias_V is None else bias_V.detach()
        total = head_gradient(
            hidden_ND.detach() if forward_only else hidden_ND, weight_VD, bias_V, point, kept_NV=cotangent_NV
        )
        return Evaluated(total, lambda: cotangent_NV)

    def outputs(self, hidden_ND: Tensor) -> Tensor:
        """The logits [N, V], float32 at least."""
        return widened(nn.functional.linear(hidden_ND, self.weight_VD, self.bias_V))

    @torch.no_grad()
    def by_position(self, hidden_ND: Tensor, targets_N: Tensor, losses: Losses) -> Tensor:
        """The losses [N], forward only, in the pieces of `evaluate`."""
        rows = chunk_rows(len(self.weight_VD), hidden_ND.device)
        dtype = product_dtype(hidden_ND)
        return Point(hidden_ND, self.weight_VD, self.bias_V, targets_N, losses, 1, rows, dtype, now()).by_position()

    def pullback(self, hidden_ND: Tensor, cotangent: PartCotangent) -> Tensor:
        """A scalar whose gradient is J^T C at hidden states and weights as they are; their logits are not made."""
        if isinstance(cotangent, Tensor):
            cotangent = Kept(cotangent, product_dtype(hidden_ND))
        return head_gradient(hidden_ND, self.weight_VD, self.bias_V, cotangent)


def _nothing() -> PartCotangent:
    raise AssertionError("no cotangent was asked for")
