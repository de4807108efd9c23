"""The sizes of a transformer whose weights are frozen beside adapters: what is trained, and what a backward costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from optbench.models.dimensions import Dimensions

if TYPE_CHECKING:
    from optbench.models.adapters import Lora

Place = Literal["query", "key", "value", "fused", "out", "into", "from"]
PLACES: Mapping[str, Place] = {
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "query_key_value": "fused",
    "o_proj": "out",
    "dense": "out",
    "gate_proj": "into",
    "up_proj": "into",
    "fc1": "into",
    "dense_h_to_4h": "into",
    "down_proj": "from",
    "fc2": "from",
    "dense_4h_to_h": "from",
}
"""What the linear layers of a block are called by transformers, and where they stand: attention, its output, and into
and out of the feed-forward layer."""
PARALLEL = ("phi", "gptj", "gpt_neox")
"""Architectures whose feed-forward layer reads the input of the block, as attention does."""


@dataclass(frozen=True)
class AdaptedDimensions(Dimensions):
    """A frozen transformer of these sizes with adapters of `rank` beside the layers named in `targets`.

    Operations are counted as they run: a forward pass goes through weights and adapters, which are not merged; a
    backward pass makes the gradients of the adapters, and carries the gradient of activations (through weights and
    adapters) down to the first adapter, below which autograd has nothing to do. Frozen weights get no gradient, so
    that a backward costs about one forward, and not two.
    """

    rank: int = 1
    targets: tuple[str, ...] = ()
    parallel: bool = False

    def hidden_matrices(self) -> list[tuple[int, int]]:
        """Rows and columns of the matrices that are trained: A and B of every adapter."""
        shapes = [self._shape(name) for name in self.targets]
        pairs = [shape for rows, cols in shapes for shape in ((self.rank, cols), (rows, self.rank))]
        return pairs * self.layers

    @property
    def base(self) -> Dimensions:
        """The sizes without adapters."""
        return Dimensions(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Dimensions)})

    @property
    def trained_parameters(self) -> int:
        """Entries of A and B."""
        return sum(rows * cols for rows, cols in self.hidden_matrices())

    @property
    def hidden_parameters(self) -> int:
        """Entries of the matrices inside the blocks, adapters included."""
        return self.base.hidden_parameters + self.trained_parameters

    @property
    def matrix_parameters(self) -> int:
        """Entries of all matrices, frozen and trained."""
        return self.base.matrix_parameters + self.trained_parameters

    def body_backward_flops(self, *, tokens: float, pairs: float) -> float:
        """Operations of one backward pass through the blocks: see the class. `pairs` as for the forward."""
        upper = self.layers - 1
        whole = self._block(tokens, pairs, input_grad=True)
        return upper * whole + self._block(tokens, pairs, input_grad=False)

    def head_backward_flops(self, *, supervised: float) -> float:
        """Operations of a backward pass through the output layer: the gradient of its input, none of its weight."""
        return self.head_forward_flops(supervised=supervised)

    def _block(self, tokens: float, pairs: float, *, input_grad: bool) -> float:
        """A backward through one block, whose input wants a gradient or (in the first) does not."""
        places = {PLACES[name] for name in self.targets}
        fused = "fused" in places
        query, key, value = (input_grad or fused or place in places for place in ("query", "key", "value"))
        attended = input_grad or bool(places & {"query", "key", "value", "fused"})
        wants: dict[Place, bool] = {"query": input_grad, "key": input_grad, "value": input_grad, "fused": input_grad}
        wants["out"] = attended
        # What the feed-forward layer reads has a gradient where attention and its output stand before it, or below.
        wants["into"] = input_grad or (not self.parallel and (attended or "out" in places))
        wants["from"] = wants["into"] or "into" in places
        heads = self.heads * self.head_dim
        weights_of_attention, values = 2.0 * (query or key), 2.0 * value
        attention = heads * pairs * (weights_of_attention + values + 2.0 * query + 2.0 * key)
        frozen = sum(rows * cols for place, rows, cols in self._frozen() if wants[place])
        adapters = 0.0
        for name in self.targets:
            rows, cols = self._shape(name)
            # dA, dB and d(A x) always; dx where it is wanted.
            adapters += self.rank * (cols + 2 * rows + (cols if wants[PLACES[name]] else 0))
        return attention + 2.0 * tokens * (frozen + adapters)

    def _frozen(self) -> list[tuple[Place, int, int]]:
        """Place, rows and columns of the matrices of one block."""
        query, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        into: list[tuple[Place, int, int]] = [("into", self.intermediate, self.width)] * (2 if self.gated else 1)
        return [
            ("query", query, self.width),
            ("key", kv, self.width),
            ("value", kv, self.width),
            ("out", self.width, query),
            *into,
            ("from", self.width, self.intermediate),
        ]

    def _shape(self, name: str) -> tuple[int, int]:
        query, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        rows: dict[Place, tuple[int, int]] = {
            "query": (query, self.width),
            "key": (kv, self.width),
            "value": (kv, self.width),
            "fused": (query + 2 * kv, self.width),
            "out": (self.width, query),
            "into": (self.intermediate, self.width),
            "from": (self.width, self.intermediate),
        }
        return rows[PLACES[name]]


def adapted_dimensions(dimensions: Dimensions, lora: Lora | None, *, model_type: str) -> Dimensions:
    """The sizes with adapters; as they are where there are none."""
    if lora is None:
        return dimensions
    own = {field.name: getattr(dimensions, field.name) for field in dataclasses.fields(Dimensions)}
    return AdaptedDimensions(**own, rank=lora.r, targets=lora.targets, parallel=model_type in PARALLEL)
