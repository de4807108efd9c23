"""The sizes of a transformer from which parameters and operations are counted, without building it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optbench.errors import UserError


@dataclass(frozen=True)
class Dimensions:
    """A decoder-only transformer with `layers` blocks of width `width`.

    `gated` feed-forward layers have three matrices (gate, up, down), others two. `untied` models hold the output layer
    apart from the embedding.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    gated: bool
    untied: bool

    def hidden_matrices(self) -> list[tuple[int, int]]:
        """Rows and columns of every matrix inside the blocks that is trained."""
        query, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = [(query, self.width), (kv, self.width), (kv, self.width), (self.width, query)]
        into = [(self.intermediate, self.width)] * (2 if self.gated else 1)
        return (attention + into + [(self.width, self.intermediate)]) * self.layers

    @property
    def hidden_parameters(self) -> int:
        """Entries of the matrices inside the blocks."""
        return sum(rows * cols for rows, cols in self.hidden_matrices())

    @property
    def matrix_parameters(self) -> int:
        """Entries of all matrices: blocks, embedding, and the output layer where it is not tied."""
        return self.hidden_parameters + self.vocabulary * self.width * (2 if self.untied else 1)

    @property
    def trained_parameters(self) -> int:
        """Entries of the matrices that are trained: all of them."""
        return self.matrix_parameters

    def body_forward_flops(self, *, tokens: float, pairs: float) -> float:
        """Operations of one forward pass through the blocks: 2 per weight and token, and 4 per head, channel and pair
        of positions for attention, hidden by the causal mask or not. `pairs` is the sum of squared lengths."""
        attention = 4.0 * self.layers * self.heads * self.head_dim * pairs
        return 2.0 * self.hidden_parameters * tokens + attention

    def head_forward_flops(self, *, supervised: float) -> float:
        """Operations of the output layer at the supervised positions, the only ones where it is needed."""
        return 2.0 * self.vocabulary * self.width * supervised

    def body_backward_flops(self, *, tokens: float, pairs: float) -> float:
        """Operations of one backward pass through the blocks: twice those of the forward, for the gradients of
        activations and of weights."""
        return 2.0 * self.body_forward_flops(tokens=tokens, pairs=pairs)

    def head_backward_flops(self, *, supervised: float) -> float:
        """The same of the output layer."""
        return 2.0 * self.head_forward_flops(supervised=supervised)


def of_config(config: Mapping[str, Any], *, where: str) -> Dimensions:
    """The dimensions from a config.json of transformers. Raises UserError where a size is missing."""
    text = config.get("text_config", config)
    try:
        heads, width = text["num_attention_heads"], text["hidden_size"]
        model_type = text.get("model_type", "")
        return Dimensions(
            layers=text["num_hidden_layers"],
            width=width,
            heads=heads,
            kv_heads=text.get("num_key_value_heads") or heads,
            head_dim=text.get("head_dim") or width // heads,
            intermediate=text.get("intermediate_size") or 4 * width,
            vocabulary=text["vocab_size"],
            gated=model_type not in ("phi", "gpt_neox", "gpt2", "opt", "gptj", "codegen"),
            untied=not text.get("tie_word_embeddings", True),
        )
    except KeyError as error:
        raise UserError(f"{where}: config.json has no {error}; optbench trains decoder-only transformers") from error
