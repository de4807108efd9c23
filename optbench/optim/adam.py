"""The Adam engine that AdamW is, and that Muon gives its other parameters to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from optbench.optim.base import Damping


def engine(
    tensors: Sequence[Tensor], *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> torch.optim.AdamW:
    """torch.optim.AdamW with the fused kernel."""
    return torch.optim.AdamW(list(tensors), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)


def precondition(
    adam: torch.optim.AdamW, tensors: Sequence[Tensor], gradients: Sequence[Tensor], damping: Damping
) -> list[Tensor]:
    """g / (sqrt(v) + damping), v from before this step; g itself before the first step.

    With bias correction v is divided by 1 - b2^t. A tensor whose v is zero everywhere has seen no gradient yet, and its
    damping may be zero with it: its part of the result is zero rather than 0/0.
    """
    result = []
    for p, g in zip(tensors, gradients, strict=True):
        state = adam.state[p]
        if not state:
            result.append(g.clone())
            continue
        scale = state["exp_avg_sq"].sqrt()
        if damping.bias_correction:
            beta2 = adam.param_groups[0]["betas"][1]
            # Torch counts steps in float32, in which 1 - 0.999 is off in the fifth digit.
            scale = scale / torch.sqrt(1 - beta2 ** state["step"].double()).to(scale)
        floor = damping.amount * scale.square().mean().sqrt() if damping.relative else damping.amount
        denominator = scale + floor
        result.append(torch.where(denominator > 0, g / denominator, torch.zeros_like(g)))
    return result


def direction(adam: torch.optim.AdamW, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The first moment; zeros before the first step."""
    states = [adam.state[p] for p in tensors]
    return [s["exp_avg"] if s else torch.zeros_like(p) for p, s in zip(tensors, states, strict=True)]
