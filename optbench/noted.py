"""A run's steps as they happen, for those who want to see its curves while they grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from optbench.optim.base import Optimizer, StepInfo

if TYPE_CHECKING:
    from optbench.oracle import Oracle
    from optbench.train import History


class Notes(Protocol):
    """Told of each step, and then, between two steps, how many are done."""

    def step(self, info: StepInfo, *, lr_scale: float, tokens: int, passes: float) -> None:
        """A step was taken. Its tensors lie on the device, and may not be ready: who reads them makes the loop wait."""
        ...

    def resume(self, history: History) -> None:
        """Before the first step: what happened in earlier sessions of the run, nothing for one that begins."""
        ...

    def observe(self, done: int) -> None:
        """An observer of the loop: the clock stands still. After each `train.CHECK_EVERY` steps the loop has just read
        its losses, and the device has nothing left to do."""
        ...


class Noted(Optimizer):
    """An optimizer whose steps are noted in passing; the steps are its own."""

    def __init__(self, optimizer: Optimizer, notes: Notes) -> None:
        super().__init__(optimizer.estimator, optimizer.rule, optimizer.parameters, max_norm=optimizer.max_norm)
        self._optimizer, self._notes = optimizer, notes

    def step(self, oracle: Oracle, lr_scale: float = 1.0, *, observe: bool = False) -> StepInfo:
        """One update, by the optimizer itself."""
        info = self._optimizer.step(oracle, lr_scale, observe=observe)
        self._notes.step(info, lr_scale=lr_scale, tokens=oracle.batch.num_tokens, passes=oracle.passes)
        return info
