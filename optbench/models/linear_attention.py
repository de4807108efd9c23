"""One layer of multi-head linear self-attention that learns linear regression in context (arXiv 2501.16265)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from optbench.errors import UserError
from optbench.models.dimensions import Dimensions
from optbench.spec import Spec

if TYPE_CHECKING:
    from optbench.models.regressor import Regressor


@dataclass(frozen=True)
class AttentionDimensions(Dimensions):
    """The sizes of linear attention over the sufficient statistic (beta, x_q) of a sequence.

    Operations do not grow with the length of a sequence, and the heads are merged into one matrix before any sequence
    is seen: all that is done per sequence is beta^T W x_q, counted at the one supervised position that it has.
    """

    matrices: tuple[tuple[int, int], ...] = ()

    def hidden_matrices(self) -> list[tuple[int, int]]:
        """Key and query, or both merged, with the heads stacked."""
        return list(self.matrices)

    def body_forward_flops(self, *, tokens: float, pairs: float) -> float:
        """None: nothing is computed per token."""
        return 0.0

    def head_forward_flops(self, *, supervised: float) -> float:
        """2 D^2 + 2 D per sequence."""
        return 2.0 * self.width * (self.width + 1) * supervised


class LinearAttention(Spec):
    """Predicts w^T x_q from a context of pairs (x_n, w^T x_n), with beta = (1/N) sum_n y_n x_n:

        merged     yhat = sum_i v_i beta^T U_i x_q               i: `heads`
        separate   yhat = sum_i v_i sum_r beta^T k_ir q_ir^T x_q  r: `rank`

    The blocks of key, query and value that mix x with y are left out: from zero they never move, in expectation.
    Initial weights are normal; merged: of standard deviation `init`. Separate: `init` / sqrt(entries of the matrix),
    heads stacked: init / sqrt(heads rank D) for key and query, init / sqrt(heads) for the values. That reading of the
    paper is in keeping with the learning times of an independent computation: see docs/theory.md.
    """

    kind: Literal["linear_attention"] = "linear_attention"
    dims: Annotated[int, Field(ge=1, le=256)] = 4
    heads: Annotated[int, Field(ge=1, le=256)] = 5
    rank: Annotated[int, Field(ge=1, le=256)] = 1
    key_query: Literal["separate", "merged"] = "separate"
    init: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.2

    @model_validator(mode="after")
    def _merged_has_no_rank(self) -> Self:
        if self.key_query == "merged" and self.rank != 1:
            raise ValueError("rank is that of separate key and query: leave it out where they are merged")
        return self

    @property
    def medium(self) -> str:
        """What it reads: sequences of regression, in as many dimensions."""
        return f"regression in {self.dims} dimensions"

    @property
    def is_small(self) -> bool:
        """Whether final weights are kept with the record."""
        return True

    @property
    def is_pretrained(self) -> bool:
        """Whether it knows something before it is trained."""
        return False

    def dimensions(self) -> AttentionDimensions:
        """The sizes, without building the model. There is no vocabulary and no feed-forward layer."""
        rows = self.heads * (self.rank if self.key_query == "separate" else self.dims)
        count = 2 if self.key_query == "separate" else 1
        return AttentionDimensions(
            layers=1,
            width=self.dims,
            heads=self.heads,
            kv_heads=self.heads,
            head_dim=rows // self.heads,
            intermediate=0,
            vocabulary=0,
            gated=False,
            untied=False,
            matrices=((rows, self.dims),) * count,
        )

    def tokenizer(self) -> None:
        """It reads numbers, not text."""

    def build(self, *, seed: int, device: str, precision: str, attention: Any) -> Regressor:
        """The model with weights drawn from `seed` alone. Raises UserError for another precision than float32."""
        from optbench.models.regressor import Regressor, SelfAttention

        if precision != "float32":
            raise UserError(f"linear attention is computed in float32; the suite asks for precision {precision}")
        module = SelfAttention.drawn(
            dims=self.dims,
            heads=self.heads,
            rank=self.rank if self.key_query == "separate" else None,
            init=self.init,
            seed=seed,
        )
        return Regressor(module.to(device))
