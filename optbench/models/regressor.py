"""Linear attention as the harness sees it: a function of the sufficient statistic of each sequence.

Of a sequence of pairs (x_n, y_n) and a query x_q linear attention sees beta = (1/N) sum_n y_n x_n and x_q alone, so
that tasks hand over those two: exactly the same function, without the N pairs.

Legend: B sequences, D dimensions, H heads, R rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from optbench.oracle import Part, ThroughOutputs
from optbench.rng import stream


class SelfAttention(nn.Module):
    """Heads of linear attention: `value` [H]; `key` and `query` [H * R, D], or both merged, `key_query` [H * D, D]."""

    value: nn.Parameter

    def __init__(self, **weights: np.ndarray) -> None:
        super().__init__()
        for name, array in weights.items():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(array.astype(np.float32))))

    @classmethod
    def drawn(cls, *, dims: int, heads: int, rank: int | None, init: float, seed: int) -> SelfAttention:
        """Normal weights from the streams of `seed`: see `LinearAttention`. No `rank` means merged key and query."""

        def normal(name: str, std: float, *shape: int) -> np.ndarray:
            return np.asarray(std * stream(seed, f"linear attention/{name}").standard_normal(shape))

        if rank is None:
            key_query = normal("key_query", init, heads * dims, dims)
            return cls(value=normal("value", init, heads), key_query=key_query)
        std = init / (heads * rank * dims) ** 0.5
        return cls(
            value=normal("value", init / heads**0.5, heads),
            key=normal("key", std, heads * rank, dims),
            query=normal("query", std, heads * rank, dims),
        )

    def forward(self, beta: Tensor, query: Tensor) -> Tensor:
        """Predictions [B, 1] at the queries: beta [B, D], query [B, D]."""
        return ((beta @ effective_matrix(self._parameters)) * query).sum(dim=1, keepdim=True)


def effective_matrix(weights: Mapping[str, Any]) -> Tensor:
    """W [D, D] with yhat = beta^T W x_q: sum_i v_i U_i, or sum_i v_i sum_r k_ir q_ir^T."""
    value = weights["value"]
    heads = len(value)
    if "key_query" in weights:
        merged: Tensor = torch.tensordot(value, weights["key_query"].unflatten(0, (heads, -1)), dims=1)
        return merged
    key, query = weights["key"], weights["query"]
    separate: Tensor = (key.view(heads, -1) * value[:, None]).view_as(key).T @ query
    return separate


@dataclass(frozen=True)
class Regressor(ThroughOutputs):
    """Self-attention behind the oracle. Every sequence has one supervised position, its query: outputs are [B, 1].

    It has no tokenizer, and no output layer that could be told apart.
    """

    module: SelfAttention
    tokenizer: None = None

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.module.value.device

    def rounded(self, weight: Tensor, role: str) -> Tensor:
        """The weight as products see it: as it is."""
        return weight

    def outputs(self, part: Part) -> Tensor:
        """The predictions [B, 1]."""
        found: Tensor = self.module(**part.inputs)
        return found

    def pullback(self, part: Part, cotangent: Tensor) -> Tensor:
        """A scalar whose gradient is J^T C, for a cotangent [B, 1]: the predictions are linear in W, so that it is
        <W, sum_b C_b beta_b x_b^T>, and no prediction is needed."""
        outer = (part.inputs["beta"] * cotangent).T @ part.inputs["query"]
        return (effective_matrix(self.module._parameters) * outer).sum()

    @torch.no_grad()
    def effective_matrix(self) -> np.ndarray:
        """W as it is now, float64 [D, D]."""
        weights = {name: p.detach().cpu().double() for name, p in self.module.named_parameters()}
        return effective_matrix(weights).numpy()
