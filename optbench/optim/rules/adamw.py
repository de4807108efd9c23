"""AdamW (arXiv 1711.05101): torch.optim.AdamW with its fused kernel, and its second moment as a preconditioner."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from optbench.optim.base import Elementwise, Parameter, Rule
from optbench.optim.search import Choice, Range, Space
from optbench.spec import Spec

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class AdamW(Spec, Elementwise):
    """m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; w <- (1 - lr wd) w - lr m^ / (sqrt(v^) + eps), where ^ is the
    bias correction 1 / (1 - b^t)."""

    kind: Literal["adamw"] = "adamw"
    lr: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e-3
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    preconditions: ClassVar[bool] = True
    has_direction: ClassVar[bool] = True
    # Fine-tuning of large models ends at the low rates, training of small ones from scratch at the high ones. The betas
    # are torch's default, that of large language models, and one for noisy gradients.
    SEARCH: ClassVar[Space] = {
        "lr": Range(low=1e-5, high=3e-2),
        "betas": Choice(values=[[0.9, 0.999], [0.9, 0.95], [0.95, 0.99]]),
        "weight_decay": Choice(values=[0.0, 0.01, 0.1]),
    }

    def build(self, parameters: Sequence[Parameter]) -> Rule:
        """torch.optim.AdamW, fused: the baseline must not be a slow one."""
        from optbench.optim import adam
        from optbench.optim.torch_rule import TorchRule

        tensors = [p.tensor for p in parameters]
        engine = adam.engine(tensors, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)
        return TorchRule(
            {self.kind: parameters},
            [engine],
            precondition=partial(adam.precondition, engine, tensors),
            direction=partial(adam.direction, engine, tensors),
        )
