"""The engine of Sophia: a torch optimizer that learns a diagonal from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from optbench.optim.base import Parameter
from optbench.optim.torch_rule import TorchRule

AT_ONCE = 1 << 24
"""Entries that are updated together: enough for a GPU to be busy, and little beside a model."""


class ClippedNewton(torch.optim.Optimizer):
    """m <- b1 m + (1 - b1) g; w <- (1 - lr wd) w - lr clip(m / max(gamma h, eps), 1); all parameters in one group."""

    def __init__(
        self,
        tensors: Sequence[Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
        gamma: float,
        eps: float,
        weight_decay: float,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "gamma": gamma, "eps": eps, "weight_decay": weight_decay}
        super().__init__(list(tensors), defaults)

    def learn(self, gradients: Sequence[Tensor], scale: float) -> None:
        """h <- b2 h + (1 - b2) scale g * g, for gradients g in the order of the parameters."""
        (group,) = self.param_groups
        beta2 = group["betas"][1]
        averages = [self._state_of(p)["diagonal"] for p in group["params"]]
        torch._foreach_mul_(averages, beta2)
        torch._foreach_addcmul_(averages, list(gradients), list(gradients), value=(1 - beta2) * scale)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update from the gradients in `p.grad`."""
        (group,) = self.param_groups
        for weights in _several(p for p in group["params"] if p.grad is not None):
            momenta = [self._state_of(p)["momentum"] for p in weights]
            gradients = [p.grad for p in weights if p.grad is not None]
            torch._foreach_lerp_(momenta, gradients, 1 - group["betas"][0])
            newton = torch._foreach_mul([self._state_of(p)["diagonal"] for p in weights], group["gamma"])
            torch._foreach_clamp_min_(newton, group["eps"])
            torch._foreach_reciprocal_(newton)
            torch._foreach_mul_(newton, momenta)
            torch._foreach_clamp_min_(newton, -1.0)
            torch._foreach_clamp_max_(newton, 1.0)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, newton, alpha=-group["lr"])

    def momentum_of(self, tensor: Tensor) -> Tensor:
        """m, zeros before the first step."""
        found: Tensor = self._state_of(tensor)["momentum"]
        return found

    def _state_of(self, tensor: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[tensor]
        if not state:
            state["momentum"] = torch.zeros_like(tensor, memory_format=torch.preserve_format)
            state["diagonal"] = torch.zeros_like(tensor, memory_format=torch.preserve_format)
        return state


def _several(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in groups of `AT_ONCE` entries, or of one that is larger: each has a copy while it is updated."""
    group: list[Tensor] = []
    for tensor in tensors:
        if group and sum(own.numel() for own in group) + tensor.numel() > AT_ONCE:
            yield group
            group = []
        group.append(tensor)
    if group:
        yield group


class ClippedNewtonRule(TorchRule):
    """The engine behind the Rule protocol, with a way in for the diagonal."""

    def __init__(self, parameters: Sequence[Parameter], engine: ClippedNewton, *, name: str) -> None:
        tensors = [p.tensor for p in parameters]
        super().__init__(
            {name: parameters}, [engine], direction=lambda: [engine.momentum_of(tensor) for tensor in tensors]
        )
        self.learn_diagonal = engine.learn
        """See `LearnsDiagonal`."""
