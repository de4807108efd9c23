"""The seconds of a cell by phase, and whether two optimizers cost the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from optbench.spec import canonical

Basis = Literal["records", "measured", "nominal"]
CHANGES_NO_COST = ("rho",)
"""Fractional fields of estimators that change what is computed, but not how much of it; those of rules never do."""


@dataclass(frozen=True)
class Phases:
    """Seconds of one cell: before the first step (`setup`), of one step, and of what follows the last (`evaluation`,
    the record written). `basis` says where they come from."""

    setup: float
    step: float
    evaluation: float
    basis: Basis

    def total(self, steps: int) -> float:
        """Seconds of a cell of so many steps, without its panels."""
        return self.setup + steps * self.step + self.evaluation


def subject_of(arm: Any) -> str:
    """What arms share that are measured on the same model with the same batches: not the steps, nor the optimizer."""
    training = {
        name: value for name, value in arm.training.dump().items() if name not in ("steps", "schedule", "evaluate")
    }
    return canonical([arm.model_spec.dump(), arm.task_spec.dump(), training])


def cost_signature(optimizer: Any) -> str:
    """Equal for optimizers whose steps cost the same: rates, decays and radii are left out."""
    estimator = {k: v for k, v in optimizer.estimator.dump().items() if k not in CHANGES_NO_COST}
    return canonical([estimator, _without_fractions(optimizer.rule.dump())])


def _without_fractions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_fractions(item) for key, item in value.items() if not isinstance(item, float | list)}
    return value
