"""TRL's `SFTTrainer` with an optimizer of optbench; trl is the extra `optbench[trl]`."""

from __future__ import annotations

from typing import Any

from optbench.errors import UserError
from optbench.trainers.mixin import OptimizerMixin

try:
    from trl import SFTTrainer
except ImportError as error:
    raise UserError(f'trl cannot be imported ({error}): pip install "optbench[trl]"') from error


class OptbenchSFTTrainer(OptimizerMixin, SFTTrainer):  # type: ignore[misc]
    """`SFTTrainer(..., optimizer_spec="functional_sam")`: see `OptimizerMixin`."""

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """As `OptimizerMixin.training_step`; counts the tokens, which SFTTrainer does in its own loss."""
        done = self.tokens
        loss = super().training_step(*args, **kwargs)
        self._total_train_tokens += self.tokens - done
        return loss
