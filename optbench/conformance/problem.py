"""The small problem that an optimizer is examined on: a network with every role, and its batches.

Legend: B examples, T tokens, V vocabulary, D width, H width of the inner layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from optbench.models.language_model import cross_entropy
from optbench.models.roles import parameters_of
from optbench.optim.base import Parameter
from optbench.oracle import Batch, Oracle, Part, ThroughOutputs
from optbench.rng import stream

VOCABULARY, WIDTH, INNER = 11, 6, 9
EXAMPLES, LENGTH = 8, 6


class _Output(nn.Module):
    """The output layer."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x_BTD: Tensor) -> Tensor:
        return x_BTD @ self.weight.T + self.bias


class Network(nn.Module):
    """Embedding, hidden matrices (two square ones of one shape, a tall and a wide one), biases and a gain, and an
    output layer of its own or tied to the embedding; about 300 parameters, nonlinear in each but the output layer.

    A frozen matrix lies behind a trainable one in the same memory, as the parts of a fused projection do: an update
    that reaches beyond its parameter is seen.
    """

    def __init__(self, dtype: torch.dtype, *, tied: bool = False) -> None:
        super().__init__()

        def drawn(name: str, *shape: int) -> Tensor:
            return torch.from_numpy(0.5 * _normal(name, shape)).to(dtype)

        # No module draws weights of its own: torch's generator is the optimizer's alone.
        self.embedding = nn.Embedding(VOCABULARY, WIDTH, _weight=drawn("embedding", VOCABULARY, WIDTH))
        fused = drawn("fused", 2 * WIDTH, WIDTH)
        self.mix = nn.Parameter(fused[:WIDTH])
        self.frozen = nn.Parameter(fused[WIDTH:], requires_grad=False)
        self.mix_bias = nn.Parameter(drawn("mix_bias", WIDTH))
        self.tall = nn.Parameter(drawn("tall", INNER, WIDTH))
        self.wide = nn.Parameter(drawn("wide", WIDTH, INNER))
        self.square = nn.Parameter(drawn("square", WIDTH, WIDTH))
        self.gain = nn.Parameter(drawn("gain", WIDTH))
        weight = self.embedding.weight if tied else nn.Parameter(drawn("head", VOCABULARY, WIDTH))
        self.head = _Output(weight, nn.Parameter(drawn("head_bias", VOCABULARY)))

    def get_output_embeddings(self) -> nn.Module:
        """The output layer, for roles."""
        return self.head

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits [B, T, V]."""
        x_BTD = torch.tanh(self.embedding(ids_BT) @ self.mix.T + self.mix_bias)
        x_BTD = x_BTD + torch.tanh(x_BTD @ self.tall.T) @ self.wide.T
        x_BTD = torch.tanh(x_BTD @ self.square.T) * self.gain
        logits_BTV: Tensor = self.head(x_BTD + torch.tanh(x_BTD @ self.frozen.T))
        return logits_BTV


@dataclass(frozen=True)
class Behind(ThroughOutputs):
    """The network behind the oracle, by its outputs."""

    module: nn.Module

    def outputs(self, part: Part) -> Tensor:
        """The logits [N, V]."""
        found: Tensor = self.module(**part.inputs).flatten(0, 1)[part.positions]
        return found

    def rounded(self, weight: Tensor, role: str) -> Tensor:
        """The weight as products see it: as it is."""
        return weight

    def pullback(self, part: Part, cotangent: Tensor) -> Tensor:
        """A scalar whose gradient is J^T C."""
        return (self.outputs(part) * cotangent).sum()


def oracle(module: nn.Module, step: int, sizes: Sequence[int] = (EXAMPLES,)) -> Oracle:
    """The oracle of the batch of a step, cut into parts of these many examples. Every token is in every batch, so that
    no row of the embedding is without a gradient."""
    numbers = EXAMPLES * LENGTH
    ids, targets = _tokens(step)
    parts, start = [], 0
    for size in sizes:
        end = start + size
        rows = targets[start * LENGTH : end * LENGTH]
        parts.append(Part({"ids_BT": ids[start:end]}, torch.arange(len(rows)), rows))
        start = end
    return Oracle(Behind(module), cross_entropy, Batch(parts, num_tokens=numbers, num_supervised=numbers))


def gradients(parameters: Sequence[Parameter], step: int, size: float = 1.0) -> list[Tensor]:
    """Normal numbers of this standard deviation for every parameter, by its name: whatever the order."""
    return [
        torch.from_numpy(size * _normal(f"gradient/{p.name}", tuple(p.tensor.shape), step)).to(p.tensor.dtype)
        for p in parameters
    ]


@cache
def _normal(name: str, shape: tuple[int, ...], step: int = 0) -> np.ndarray:
    return np.asarray(stream(0, f"conformance/{name}", step).standard_normal(shape))


@cache
def _tokens(step: int) -> tuple[Tensor, Tensor]:
    """Inputs [B, T] and targets [B * T] of a step."""
    numbers = EXAMPLES * LENGTH
    ids = torch.from_numpy(stream(0, "conformance/ids", step).permutation(numbers) % VOCABULARY)
    targets = torch.from_numpy(stream(0, "conformance/targets", step).integers(0, VOCABULARY, numbers))
    return ids.view(EXAMPLES, LENGTH), targets


def quadratic(dtype: torch.dtype) -> tuple[list[Parameter], list[Tensor], list[Tensor]]:
    """Parameters w, their curvatures h and the minimum m of sum h (w - m)^2 / 2: diagonal, with h from 0.1 to 1."""
    shapes = {"embedding": (5, 4), "hidden": (4, 6), "vector": (5,)}
    found, curvatures, minima = [], [], []
    for role, shape in shapes.items():
        draw = stream(0, f"conformance/quadratic/{role}")
        minimum = torch.from_numpy(draw.standard_normal(shape)).to(dtype)
        weight = minimum + torch.from_numpy(draw.standard_normal(shape)).to(dtype)
        found.append(Parameter(role, nn.Parameter(weight), role))  # type: ignore[arg-type]
        curvatures.append(torch.logspace(-1, 0, weight.numel(), dtype=dtype).view(shape))
        minima.append(minimum)
    return found, curvatures, minima


def trainable(module: nn.Module) -> list[Parameter]:
    """The parameters that an optimizer is given."""
    return parameters_of(module)
