"""A rule of optbench as an optimizer of torch: what a trainer steps, schedules, saves and loads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from optbench.optim.base import Optimizer


class RuleOptimizer(torch.optim.Optimizer):
    """Applies the rule to the gradients that the estimator left in `p.grad`, after the trainer has clipped them.

    There is one parameter group. Its `lr` is what a scheduler sets and a trainer logs: the base rate times the
    scheduler's factor; the rule is given the factor, which scales every rate that it has.
    """

    def __init__(self, optimizer: Optimizer, *, lr: float) -> None:
        super().__init__([p.tensor for p in optimizer.parameters], {"lr": lr})
        self.optimizer = optimizer
        self._lr = lr
        self._evaluating = ExitStack()
        self._evaluates = False

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of the rule."""
        with torch.no_grad():
            self.optimizer.rule.apply(self.param_groups[0]["lr"] / self._lr)

    def eval(self) -> None:
        """From now on the parameters hold what is to be evaluated: the averages, for rules that average."""
        if not self._evaluates:
            self._evaluating.enter_context(self.optimizer.rule.evaluating())
            self._evaluates = True

    def train(self) -> None:
        """The parameters hold what is trained."""
        if self._evaluates:
            self._evaluating.close()
            self._evaluates = False

    def state_dict(self) -> dict[str, Any]:
        """The states of rule and estimator, plain tensors and numbers; the parameters are those of training afterwards.

        For a rule that averages the parameters are in it: a trainer has saved the averages, from which training would
        not go on as it does.
        """
        saved = _fingerprint(self.optimizer)
        self.train()
        state = {**super().state_dict(), "state": {}, "optbench": self.optimizer.state_dict()}
        if _fingerprint(self.optimizer) != saved:
            state["weights"] = [p.tensor.detach().clone() for p in self.optimizer.parameters]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues as the optimizer that gave `state_dict` would have, bit for bit."""
        self.train()
        super().load_state_dict({"state": {}, "param_groups": state_dict["param_groups"]})
        self.optimizer.load_state_dict(state_dict["optbench"])
        with torch.no_grad():
            for p, weight in zip(self.optimizer.parameters, state_dict.get("weights", ()), strict=False):
                p.tensor.copy_(weight)


def _fingerprint(optimizer: Optimizer) -> list[float]:
    """Tells weights from their averages without a copy of the model."""
    with torch.no_grad():
        return torch.stack([p.tensor.sum(dtype=torch.float64) for p in optimizer.parameters]).tolist()
