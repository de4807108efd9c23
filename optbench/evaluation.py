"""Per-example losses of a model as it is, forward only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from optbench.models.language_model import LanguageModel
    from optbench.tasks.base import Prepared, Task

BATCH = 256


@torch.no_grad()
def example_losses(model: LanguageModel, task: Task, prepared: Prepared, *, micro_batch: int = BATCH) -> np.ndarray:
    """The mean loss per supervised position of each example, float64 [n], with dropout off."""
    was_training = model.module.training
    model.module.eval()
    found: list[np.ndarray] = []
    try:
        size = min(BATCH, micro_batch)
        for start in range(0, len(prepared), size):
            rows = np.arange(start, min(start + size, len(prepared)))
            batch = prepared.batch(rows, micro_batch=size)
            losses = [model.by_position(part, task.losses) for part in batch.parts]
            found.append(mean_by_example(losses, prepared.supervised[rows]))
    finally:
        model.module.train(was_training)
    return np.concatenate(found) if found else np.zeros(0)


def mean_by_example(losses: Sequence[Tensor], supervised: np.ndarray) -> np.ndarray:
    """The losses [N] of the parts of one batch, averaged over the positions of each example: -> float64 [examples]."""
    flat = torch.cat([part.detach() for part in losses]).double().cpu().numpy()
    sums: np.ndarray = np.add.reduceat(flat, np.concatenate([[0], np.cumsum(supervised)[:-1]]))
    return np.asarray(sums / supervised)
