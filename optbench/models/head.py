"""The output layer: what turns hidden states into logits, and the pull-back of a cotangent through it.

Legend: D width, V classes, N supervised positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Head:
    """A linear head on top of a backbone: logits = hidden @ weight^T + bias. The weight may be the input embedding."""

    backbone: nn.Module
    linear: nn.Linear

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
        return cls(backbone, linear) if untouched and same else None


class _LinearPullback(torch.autograd.Function):
    """The products are taken in the precision that autocast gives a linear layer, as in the pass this stands for."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, cotangent_NV: Tensor) -> Tensor:
        device = hidden_ND.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_ND.dtype
        ctx.save_for_backward(hidden_ND.to(dtype), weight_VD.to(dtype), cotangent_NV)
        ctx.dtypes = hidden_ND.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype
        return hidden_ND.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *scales: Tensor) -> Any:
        (scale,) = scales
        hidden_ND, weight_VD, cotangent_NV = ctx.saved_tensors
        hidden_dtype, weight_dtype, bias_dtype = ctx.dtypes
        c = (cotangent_NV * scale).to(hidden_ND.dtype)
        bias = None if bias_dtype is None else c.sum(0).to(bias_dtype)
        return (c @ weight_VD).to(hidden_dtype), (c.T @ hidden_ND).to(weight_dtype), bias, None


def linear_pullback(hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, cotangent_NV: Tensor) -> Tensor:
    """A zero whose gradient is J^T C for logits = h W^T + b: dh = C W, dW = C^T h, db = sum_n C.

    The logits themselves are not needed and not computed: at the shifted point of Functional-SAM nobody asks for them.
    """
    result: Tensor = _LinearPullback.apply(hidden_ND, weight_VD, bias_V, cotangent_NV)  # type: ignore[no-untyped-call]
    return result
