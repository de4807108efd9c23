"""From a configuration of transformers to a model on its device, in float32, ready for the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from optbench.models.head import Head
from optbench.models.language_model import LanguageModel, Precision, Tokenizer
from optbench.rng import seeded_torch

if TYPE_CHECKING:
    from optbench.models.families import Family


def from_config(family: Family, config: dict[str, Any], *, seed: int, attention: str, pad_id: int) -> nn.Module:
    """A model of the family with random weights that depend on `seed` alone; the global generator is left as it was."""
    import transformers

    fields = {name: value for name, value in config.items() if name != "model_type"}
    # Padding never reaches a supervised position, and an embedding with padding_idx has wrong second derivatives.
    built = getattr(transformers, family.config_class)(
        **fields, pad_token_id=None, bos_token_id=None, eos_token_id=None
    )
    built._attn_implementation = attention
    with seeded_torch(seed):
        module: nn.Module = getattr(transformers, family.model_class)(built)
    return module.float()


def finished(module: Any, tokenizer: Tokenizer, *, device: str, precision: Precision) -> LanguageModel:
    """The language model around a module: moved, in evaluation-free training mode, its head found."""
    module.generation_config = type(module.generation_config)(
        pad_token_id=tokenizer.pad_id, eos_token_id=tokenizer.eos_id, do_sample=False
    )
    module.to(device)
    module.train()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    return LanguageModel(module, Head.of(module), tokenizer, precision)
