"""The training loop. There is one, and it knows nothing about optimizers, strategies, models or tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch

from optbench.clock import Clock, HostClock, clock_of
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
    _unread: list[tuple[StepInfo, bool]] = field(default_factory=list, init=False, repr=False, compare=False)
    _clock: Clock = field(default_factory=HostClock, init=False, repr=False, compare=False)

    @property
    def steps(self) -> int:
        """The steps done."""
        return len(self.lr_scales)

    @property
    def is_finite(self) -> bool:
        """Whether all losses that were read are finite."""
        return bool(np.isfinite(self.losses).all())

    def read(self) -> None:
        """Reads losses and times of the steps since the last look; the host waits for the device. Reading more often
        changes no number."""
        if not self._unread:
            return
        # Stacked on their device: one copy to the host for all, where reading one after another would be one each.
        self.losses_at += [info.loss_at for info, _ in self._unread]
        self.losses += torch.stack([info.loss for info, _ in self._unread]).tolist()
        self.gradient_norms += torch.stack([info.gradient_norm for info, _ in self._unread]).tolist()
        for seconds, (_, observed) in zip(self._clock.read(), self._unread, strict=True):
            self.seconds.append(float("nan") if observed else seconds)
        self._unread.clear()

    def state_dict(self) -> dict[str, Any]:
        """All of it, up to the last step done."""
        self.read()
        return {name: getattr(self, name) for name in _KEPT}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where the history that gave `state` was; `train` takes the steps that it lacks."""
        for name in _KEPT:
            setattr(self, name, state[name])


_KEPT = [entry.name for entry in fields(History) if entry.init]

Observer = Callable[[int], None]
"""Called after a step with the number of steps done; the clock stands still meanwhile."""

OracleOf = Callable[[Differentiable, Losses, Batch], Oracle]
"""What makes the oracle of a step."""


def train(
    model: Differentiable,
    losses: Losses,
    optimizer: Optimizer,
    batches: Iterator[Batch],
    *,
    oracle_of: OracleOf = Oracle,
    steps: int,
    schedule: Callable[[float], float],
    observe_at: frozenset[int] = frozenset(),
    observers: Sequence[Observer] = (),
    history: History | None = None,
) -> History:
    """Trains for `steps` steps, or until the loss is not finite. `schedule` maps progress in [0, 1) to the factor on
    the learning rate. At the steps in `observe_at` the optimizer is asked for its notes, outside the timing.

    A `history` is gone on with: of the `steps` those that it lacks are taken, and `batches` begins with theirs.
    """
    history = History() if history is None else history
    clock = history._clock = clock_of(next(model.module.parameters()).device)
    for step in range(history.steps, steps):
        batch = next(batches)
        scale = schedule(step / steps)
        observed = step in observe_at
        clock.start()
        oracle = oracle_of(model, losses, batch)
        info = optimizer.step(oracle, scale, observe=observed)
        clock.stop()
        history.lr_scales.append(scale)
        history.tokens.append(batch.num_tokens)
        history.passes.append(oracle.passes)
        if observed:
            history.notes.append((step, dict(info.notes)))
        history._unread.append((info, observed))
        # Counted from the first step of all, so that a run diverges at the same step wherever it was interrupted.
        if (step + 1) % CHECK_EVERY == 0 or step == steps - 1:
            history.read()
            if not history.is_finite:
                history.diverged_at = int(np.flatnonzero(~np.isfinite(history.losses))[0])
                break
        for observer in observers:
            observer(step + 1)
    return history
