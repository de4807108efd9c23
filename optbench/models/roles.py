"""What each trainable parameter of a model is for."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from optbench.optim.base import Parameter, Role


@runtime_checkable
class HasOutputLayer(Protocol):
    """What every model of transformers offers; a bare module has no output layer that could be told apart."""

    def get_output_embeddings(self) -> nn.Module | None:
        """The output layer."""
        ...


def parameters_of(model: nn.Module) -> list[Parameter]:
    """The trainable parameters with their roles, each once, in the order of the model.

    The role comes from the module that owns the tensor: a matrix of an adapter, wherever it stands; an embedding layer;
    the output layer (unless it is tied to the embedding, which then counts); any other matrix; or anything with fewer
    than two dimensions.
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    output = model.get_output_embeddings() if isinstance(model, HasOutputLayer) else None
    heads = {id(p) for p in output.parameters()} if output is not None else set()
    return [
        Parameter(name, p, _role(name, p, embeddings=embeddings, heads=heads))
        for name, p in model.named_parameters()
        if p.requires_grad
    ]


def _role(name: str, p: nn.Parameter, *, embeddings: set[int], heads: set[int]) -> Role:
    if p.dim() < 2:
        return "vector"
    if "lora_" in name:
        return "adapter"
    if id(p) in embeddings:
        return "embedding"
    return "head" if id(p) in heads else "hidden"
