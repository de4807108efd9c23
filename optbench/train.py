"""The training loop. There is one, and it knows nothing about optimizers, strategies, models or tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from optbench.clock import Clock, clock_of
from optbench.optim.base import Optimizer, StepInfo
from optbench.oracle import Batch, Differentiable, Losses, Oracle

CHECK_EVERY = 16
"""Steps between looks at losses and clock: each look makes the host wait for the device, and nothing else does."""


@dataclass
class History:
    """What happened, one entry per step. `losses` are mean nats per supervised position before the update (for text),
    at the weights or, where `losses_at` says so, at shifted weights;
    `seconds` is the time of the step alone, NaN for an observed one; `tokens` its non-padding inputs, `passes` what the
    oracle counted. `notes` are the observed steps. `diverged_at` is the first step with a loss that is not finite."""

    losses: list[float] = field(default_factory=list)
    losses_at: list[str] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    lr_scales: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    passes: list[float] = field(default_factory=list)
    notes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    diverged_at: int | None = None


Observer = Callable[[int], None]
"""Called after a step with the number of steps done; the clock stands still meanwhile."""


def train(
    model: Differentiable,
    losses: Losses,
    optimizer: Optimizer,
    batches: Iterator[Batch],
    *,
    steps: int,
    schedule: Callable[[float], float],
    observe_at: frozenset[int] = frozenset(),
    observers: Sequence[Observer] = (),
) -> History:
    """Trains for `steps` steps, or until the loss is not finite. `schedule` maps progress in [0, 1) to the factor on
    the learning rate. At the steps in `observe_at` the optimizer is asked for its notes, outside the timing."""
    history = History()
    pending: list[tuple[StepInfo, bool]] = []
    clock = clock_of(next(model.module.parameters()).device)
    for step in range(steps):
        batch = next(batches)
        scale = schedule(step / steps)
        observed = step in observe_at
        clock.start()
        oracle = Oracle(model, losses, batch)
        info = optimizer.step(oracle, scale, observe=observed)
        clock.stop()
        history.lr_scales.append(scale)
        history.tokens.append(batch.num_tokens)
        history.passes.append(oracle.passes)
        if observed:
            history.notes.append((step, dict(info.notes)))
        pending.append((info, observed))
        if len(pending) == CHECK_EVERY or step == steps - 1:
            if not _drain(pending, clock, history):
                break
        for observer in observers:
            observer(step + 1)
    return history


def _drain(pending: list[tuple[StepInfo, bool]], clock: Clock, history: History) -> bool:
    """Moves the losses and times of the steps since the last look into the history; says whether all were finite."""
    # Stacked on their device: one copy to the host for all, where reading one after another would be one each.
    history.losses_at += [info.loss_at for info, _ in pending]
    history.losses += torch.stack([info.loss for info, _ in pending]).tolist()
    history.gradient_norms += torch.stack([info.gradient_norm for info, _ in pending]).tolist()
    for seconds, (_, observed) in zip(clock.read(), pending, strict=True):
        history.seconds.append(float("nan") if observed else seconds)
    pending.clear()
    bad = np.flatnonzero(~np.isfinite(history.losses))
    if bad.size:
        history.diverged_at = int(bad[0])
    return not bad.size
