"""transformers' `Trainer` with an optimizer of optbench."""

from __future__ import annotations

from transformers import Trainer

from optbench.trainers.mixin import OptimizerMixin


class OptbenchTrainer(OptimizerMixin, Trainer):  # type: ignore[misc]
    """`Trainer(..., optimizer_spec="functional_sam")`: see `OptimizerMixin`."""
