"""A cell: everything that one run depends on, and its key."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from optbench.models.specs import ModelSpec
from optbench.optim.specs import OptimizerSpec
from optbench.spec import Spec, key_of
from optbench.strategies.specs import StrategySpec
from optbench.tasks.specs import TaskSpec

PROTOCOL_REVISION = 1
"""Raised when the oracle, the loop or the random streams change the numbers of every cell."""


class Schedule(Spec):
    """The factor on the learning rate as a function of progress in [0, 1): linear warm-up from near 0 over the first
    `warmup` of the run, then `kind` down to `final` (a fraction of the base rate)."""

    kind: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    final: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


class Training(Spec):
    """How a cell trains, apart from the four axes. `steps` is the budget, already in steps."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Examples of a step."""
    micro_batch: Annotated[int, Field(ge=1)] = 4096
    """Examples per forward pass at most; smaller values save memory and change numbers by rounding only."""
    parts: Literal["by_length", "in_order"] = "by_length"
    """How a batch is cut into forward passes: examples of similar length together where that saves time, which it never
    does for models below a million hidden parameters; or in their order. Rounding aside, the numbers are the same."""
    schedule: Schedule = Schedule()
    """The factor on the learning rate along the run."""
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """That of matrix products; weights are float32."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Torch's fused attention, or one written out."""
    evaluate: Literal["test", "validation"] = "test"
    """The split that accuracy is taken on: hyper-parameters are chosen on validation, and never on test."""
    activation_checkpointing: bool = False
    """Whether layers keep their inputs alone for the backward and run forward again in it: less memory, a third more
    time. Rounding aside, the numbers are the same."""
    compile: bool = False
    """Whether the network below the output layer is compiled by torch. Rounding aside, the numbers are the same."""
    deterministic: bool = False
    """Whether torch may only take kernels that give the same bits every time, which on a GPU are slower ones. A
    repetition is then exact; against other kernels, rounding differs."""
    shift: Literal["global", "per_rank"] = "global"
    """Where several processes train one cell: whether all make the shift of the whole batch's gradient, as one process
    would, or each that of its own share of the batch (the m-sharpness of arXiv 2010.01412)."""
    ranks: Annotated[int, Field(ge=1)] = 1
    """With `shift: per_rank` the number of processes, on which the numbers then depend; otherwise torchrun decides it,
    and nothing depends on it."""

    @model_validator(mode="after")
    def _shares(self) -> Training:
        if self.shift == "per_rank" and self.ranks < 2:
            raise ValueError("shift: per_rank needs `ranks`, the number of processes that each make one: 2 or more")
        if self.shift == "global" and self.ranks > 1:
            raise ValueError("ranks: only `shift: per_rank` depends on them; otherwise torchrun --nproc-per-node says")
        return self

    def identity(self) -> dict[str, Any]:
        """The fields; a micro-batch that holds the whole batch is no micro-batch, whatever its size."""
        content = super().identity()
        if self.micro_batch >= self.batch_size:
            content.pop("micro_batch", None)
        return content


class CellSpec(Spec):
    """One run: arm x seed. Its key is its content."""

    model: ModelSpec
    task: TaskSpec
    strategy: StrategySpec
    optimizer: OptimizerSpec
    training: Training
    seed: Annotated[int, Field(ge=0)]

    @property
    def key(self) -> str:
        """16 hex digits of the content: see `optbench.spec`."""
        return key_of({"protocol": PROTOCOL_REVISION, "cell": self.identity()})


class Budget(Spec):
    """How long a cell trains, in exactly one unit; it becomes a number of steps before the run.

    steps: optimizer steps. epochs: passes over the un-enlarged training set. tokens: non-padding inputs, counted once
    per step. passes: forward + backward evaluations of a batch (a forward alone is 1/3). flops: floating-point
    operations of training, analytic; a strategy's probe is not among them and shows in the column probe_share.
    """

    steps: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[float, Field(gt=0.0)] | None = None
    tokens: Annotated[float, Field(gt=0.0)] | None = None
    passes: Annotated[float, Field(gt=0.0)] | None = None
    flops: Annotated[float, Field(gt=0.0)] | None = None

    @model_validator(mode="after")
    def _one_unit(self) -> Budget:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            words = ", ".join(given) or "none"
            raise ValueError(f"a budget has exactly one unit of steps, epochs, tokens, passes, flops; given: {words}")
        if not math.isfinite(self.amount):
            raise ValueError("a budget is finite")
        return self

    @property
    def unit(self) -> str:
        """The unit in which this budget is given."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def amount(self) -> float:
        """How many of the unit."""
        return float(getattr(self, self.unit))

    @property
    def given(self) -> dict[str, float]:
        """The budget as it was written: {unit: amount}, whole amounts as integers."""
        return {self.unit: int(self.amount) if self.amount.is_integer() else self.amount}

    @property
    def label(self) -> str:
        """The budget as tables call it, such as `300 steps`."""
        return f"{self.amount:,.12g} {self.unit}"
