"""One model at several depths, and what follows for the whole of it.

A step is a sum over equal layers plus what stands around them (embedding, output layer), so that its time is a line in
the number of layers; so are the optimizer's own time and the operations. Two depths give the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optbench.models.language_model import LanguageModel
    from optbench.optim.base import Parameter


def on_the_line(depths: Sequence[int], values: Sequence[float], layers: int) -> float:
    """The value at `layers`, on the line through the first and last of the depths; the value itself where there is one
    depth alone."""
    if len(depths) == 1:
        return values[0]
    slope = (values[-1] - values[0]) / (depths[-1] - depths[0])
    return values[-1] + slope * (layers - depths[-1])


def two_depths(layers: int, upper: int) -> tuple[int, ...]:
    """A shallow depth and `upper`, far enough apart for a slope: a quarter of it, and one layer at least; the whole
    model where `upper` is not below it."""
    if upper >= layers:
        return (layers,)
    return (max(1, upper // 4), upper)


class Stack:
    """A language model whose upper layers can be taken out for a while, so that one model stands for two depths."""

    def __init__(self, model: LanguageModel, layers: int) -> None:
        """Raises ValueError where the layers of the module cannot be told."""
        self.model = model
        self.layers = layers
        self._owner, self._name = _owner_of_layers(model.module, layers)

    @contextmanager
    def at(self, depth: int) -> Iterator[list[Parameter]]:
        """Inside, the model has its first `depth` layers alone; yields the parameters that are left."""
        from torch import nn

        from optbench.models.roles import parameters_of

        whole = getattr(self._owner, self._name)
        setattr(self._owner, self._name, nn.ModuleList(list(whole)[:depth]))
        try:
            yield parameters_of(self.model.module)
        finally:
            setattr(self._owner, self._name, whole)


def _owner_of_layers(module: Any, layers: int) -> tuple[Any, str]:
    from torch import nn

    for owner in module.modules():
        for name, child in owner.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == layers:
                return owner, name
    raise ValueError(f"no list of {layers} layers in this model")
