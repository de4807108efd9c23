"""Where the products would be wrong or impossible, and what to do instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from optbench.errors import UserError

if TYPE_CHECKING:
    from optbench.oracle import Oracle

Mode = Literal["exact", "finite_difference"]
TWICE = ("sdpa", "eager")
"""Attention of transformers that can be differentiated twice: the first as plain mathematics, the second always."""


def check(oracle: Oracle, mode: Mode) -> None:
    """Raises UserError where the panel does not apply to the model and batch behind the oracle."""
    module, parameters = oracle.model.module, oracle.parameters
    if not parameters:
        raise UserError("sharpness: no parameter of the model is trainable, so there is no loss surface to look at")
    low = sorted({str(p.dtype) for p in parameters if p.dtype not in (torch.float32, torch.float64)})
    if low:
        raise UserError(f"sharpness: parameters are {', '.join(low)}; curvature needs float32 weights (or float64)")
    attention = getattr(getattr(module, "config", None), "_attn_implementation", None)
    if mode == "exact" and attention is not None and attention not in TWICE:
        raise UserError(
            f"sharpness: attention {attention!r} cannot be differentiated twice; allowed in exact mode: "
            f"{', '.join(TWICE)}. Use mode: finite_difference, or train with attention: sdpa"
        )
    for name, part in module.named_modules():
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            _check_padding(oracle, name, part.padding_idx)


def _check_padding(oracle: Oracle, name: str, pad_id: int) -> None:
    """The gradient of an embedding leaves out the row of `padding_idx`, though the loss depends on it wherever that
    token is seen: gradients are then not those of the loss, and the Hessian is not even symmetric."""
    for part in oracle.batch.parts:
        for value in part.inputs.values():
            if isinstance(value, torch.Tensor) and value.dtype == torch.int64 and bool((value == pad_id).any()):
                raise UserError(
                    f"sharpness: the embedding {name!r} has padding_idx {pad_id}, and token {pad_id} occurs in the "
                    "probe batch: its second derivatives are wrong. Set padding_idx to None; padding on the right of "
                    "a causal model needs no exception"
                )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Every submodule in evaluation mode and matrix products in full float32 inside the block; afterwards as before,
    submodule by submodule, with `p.grad` emptied."""
    training = [part for part in module.modules() if part.training]
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
        torch.set_float32_matmul_precision(precision)
        for p in module.parameters():
            p.grad = None
