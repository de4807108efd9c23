"""Small models and batches in float64 that tests share."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from optbench.models.language_model import batch_of_labels, cross_entropy
from optbench.optim.base import Parameter
from optbench.oracle import Batch, Oracle, Part, ThroughOutputs

VOCABULARY, WIDTH = 11, 6


class TinyLM(nn.Module):
    """Embedding, one tanh layer that mixes neighbours, head: a causal language model in a few lines, nonlinear in every
    parameter but the head."""

    def __init__(self, *, tied: bool = False, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter(0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64))

        self.embedding = nn.Embedding(VOCABULARY, WIDTH, dtype=torch.float64)
        self.embedding.weight = draw(VOCABULARY, WIDTH)
        self.mix, self.gain = draw(WIDTH, WIDTH), draw(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, dtype=torch.float64)
        self.head.weight = self.embedding.weight if tied else draw(VOCABULARY, WIDTH)
        self.head.bias = draw(VOCABULARY)

    def hidden(self, ids_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(ids_BT)
        before_BTD = torch.cat([torch.zeros_like(x_BTD[:, :1]), x_BTD[:, :-1]], dim=1)
        return torch.tanh((x_BTD + 0.5 * before_BTD) @ self.mix) * self.gain

    def forward(self, ids_BT: Tensor) -> Tensor:
        return self.head(self.hidden(ids_BT))


@dataclass
class Plainly(ThroughOutputs):
    """A module behind the oracle by the plainest of means: outputs, and their inner product with a cotangent."""

    module: nn.Module

    def outputs(self, part: Part) -> Tensor:
        return self.module(**part.inputs).flatten(0, 1)[part.positions]

    def rounded(self, weight: Tensor, role: str) -> Tensor:
        return weight

    def pullback(self, part: Part, cotangent: Tensor) -> Tensor:
        return (self.outputs(part) * cotangent).sum()


def ids(seed: int = 1, *, examples: int = 5, length: int = 7, vocabulary: int = VOCABULARY) -> Tensor:
    return torch.randint(0, vocabulary, (examples, length), generator=torch.Generator().manual_seed(seed))


def batch(ids_BT: Tensor | None = None, *, name: str = "ids_BT") -> Batch:
    """Labels on a ragged part of each row, so that examples differ in their number of supervised positions."""
    ids_BT = ids() if ids_BT is None else ids_BT
    labels_BT = ids_BT.clone()
    for row in range(len(labels_BT)):
        labels_BT[row, : 1 + row % 4] = -100
    found = batch_of_labels({"input_ids": ids_BT, "labels": labels_BT})
    parts = [Part({name: ids_BT}, part.positions, part.targets) for part in found.parts]
    return Batch(parts, found.num_tokens, found.num_supervised)


def oracle(module: nn.Module, of: Batch | None = None) -> Oracle:
    return Oracle(Plainly(module), cross_entropy, batch() if of is None else of)


def parameters(module: nn.Module) -> list[Parameter]:
    def role(name: str, p: Tensor) -> str:
        if p.dim() < 2:
            return "vector"
        return {"embedding": "embedding", "head": "head"}.get(name.split(".")[0], "hidden")

    return [Parameter(name, p, role(name, p)) for name, p in module.named_parameters()]


def gradients(module: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in module.parameters()]


@dataclass
class Recorder:
    """A rule that updates nothing and remembers the gradients it was given."""

    given: list[Parameter]
    seen: list[list[Tensor]] = field(default_factory=list)

    def apply(self, lr_scale: float) -> None:
        self.seen.append([p.tensor.grad.clone() for p in self.given])

    def claims(self) -> dict[str, list[str]]:
        return {"recorder": [p.name for p in self.given]}
