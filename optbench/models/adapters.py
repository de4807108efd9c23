"""LoRA (arXiv 2106.09685): all weights frozen, and beside some of the matrices a product of two small ones that learns.

    y = W x + b + (alpha / r) B A dropout(x)        W [out, in] frozen; A [r, in], B [out, r] trained

B starts at zero, so that the first forward pass is the base model's; A is drawn. The layers are those of peft. What an
optimizer is given are A and B alone, in float32 and with the role `adapter`: a sharpness-aware step shifts them and
nothing else, and Muon orthogonalises them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from optbench.errors import UserError, suggestion
from optbench.models.adapted_dimensions import PLACES
from optbench.rng import seeded_torch, stream_seed
from optbench.spec import Spec

if TYPE_CHECKING:
    from torch import nn


class Lora(Spec):
    """Adapters of rank `r` beside the linear layers named in `targets`, in every block; everything else is frozen.

    What the adapters add is scaled by alpha / r. `dropout` is that of their input.
    """

    r: Annotated[int, Field(ge=1, le=1024)] = 8
    alpha: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 16.0
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("q_proj", "v_proj")

    @field_validator("targets")
    @classmethod
    def _are_layers_of_a_block(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for index, name in enumerate(targets):
            if name not in PLACES:
                raise ValueError(f"no linear layer of a block is named {name!r}; {suggestion(name, PLACES)}")
            if name in targets[:index]:
                raise ValueError(f"{name!r} is named twice")
        # The order means nothing, and two suites that differ in it share their cells.
        return tuple(sorted(targets))

    @property
    def rank(self) -> int:
        """The rank of what is added to a matrix."""
        return self.r


def with_adapters(module: Any, lora: Lora | None, *, seed: int) -> nn.Module:
    """The module with its weights frozen and adapters in place; the module as it is where there are none.

    A depends on `seed` alone. Raises UserError where peft is missing, or where the module has no layer of that name.
    """
    if lora is None:
        given: nn.Module = module
        return given
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError('adapters need peft: pip install "optbench[lora]"') from error
    _check_targets(module, lora)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        bias="none",
    )
    with seeded_torch(stream_seed(seed, "adapters")):
        adapted: nn.Module = inject_adapter_in_model(config, module)
    return adapted


def _check_targets(module: nn.Module, lora: Lora) -> None:
    from torch import nn

    linear = {name.rpartition(".")[2] for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    missing = [name for name in lora.targets if name not in linear]
    if missing:
        raise UserError(
            f"lora: {type(module).__name__} has no linear layer {missing[0]!r}; {suggestion(missing[0], linear)}"
        )
