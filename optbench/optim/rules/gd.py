"""Gradient descent: w <- w - lr (g + weight_decay w), with a momentum if asked: torch.optim.SGD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from optbench.optim.base import Elementwise, Parameter, Rule
from optbench.optim.search import Choice, Range, Space
from optbench.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor


class GD(Spec, Elementwise):
    """m <- momentum m + g; w <- w - lr m. With momentum 0, the default, plain gradient descent."""

    kind: Literal["gd"] = "gd"
    lr: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.1
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    preconditions: ClassVar[bool] = False
    # Without a scale of its own the useful rate follows the gradient's, which differs by orders between models. 0 is
    # plain gradient descent; below 0.9 a momentum does little that a higher rate does not.
    SEARCH: ClassVar[Space] = {"lr": Range(low=1e-3, high=3.0), "momentum": Choice(values=[0.0, 0.9, 0.95])}

    @property
    def has_direction(self) -> bool:
        """Whether there is a momentum to ascend along."""
        return self.momentum > 0.0

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def build(self, parameters: Sequence[Parameter]) -> Rule:
        """torch.optim.SGD with its fused kernel."""
        import torch

        from optbench.optim.torch_rule import TorchRule

        tensors = [p.tensor for p in parameters]
        engine = torch.optim.SGD(
            tensors,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=True,
        )

        def direction() -> list[Tensor]:
            states: list[dict[str, Any]] = [engine.state[p] for p in tensors]
            return [s["momentum_buffer"] if s else torch.zeros_like(p) for p, s in zip(tensors, states, strict=True)]

        return TorchRule({self.kind: parameters}, [engine], direction=direction)
