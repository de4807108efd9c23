"""Budgets in any unit come to steps, so that one arm in two units is one cell."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

import optbench.cost
from optbench.cell import Budget
from optbench.errors import UserError
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.steps import steps_of

TASK: Any = SimpleNamespace(num_train=lambda: 640)


def steps(budget: dict[str, float], *, optimizer: str = "adamw", batch_size: int = 64) -> int:
    spec = OptimizerSpec.model_validate(PRESETS[optimizer])
    return steps_of(Budget.model_validate(budget), None, TASK, spec, batch_size=batch_size)


def test_steps_stay_as_they_are() -> None:
    assert steps({"steps": 300}) == 300


@pytest.mark.parametrize(
    ("epochs", "batch_size", "expected"),
    [(1, 64, 10), (3, 64, 30), (1, 63, 11), (0.01, 64, 1), (1.1, 64, 11), (0.3, 64, 3), (2.5, 64, 25), (1, 1000, 1)],
)
def test_epochs_are_rounded_up_to_whole_steps_and_read_as_decimals(
    epochs: float, batch_size: int, expected: int
) -> None:
    assert steps({"epochs": epochs}, batch_size=batch_size) == expected


@pytest.mark.parametrize(
    ("optimizer", "passes", "expected"),
    [("adamw", 300, 300), ("sam", 300, 150), ("sam", 301, 150), ("functional_sam", 2, 1), ("muon", 1.9, 1)],
)
def test_sam_at_equal_passes_runs_half_the_steps(optimizer: str, passes: float, expected: int) -> None:
    assert steps({"passes": passes}, optimizer=optimizer) == expected


def test_passes_of_an_estimator_with_thirds_are_exact() -> None:
    spec = OptimizerSpec.model_validate(
        {
            "estimator": {"kind": "sharpness_aware", "functional": True, "ascent": {"kind": "momentum"}},
            "rule": {"kind": "adamw"},
        }
    )
    assert spec.estimator.passes_per_step == Fraction(4, 3)
    assert steps_of(Budget(passes=400.0), None, TASK, spec, batch_size=64) == 300


def test_tokens_are_rounded_to_the_nearest_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optbench.cost, "tokens_per_step", lambda model, task, batch_size: 10.0 * batch_size)
    assert steps({"tokens": 6400}) == 10
    assert steps({"tokens": 6400 + 319}) == 10
    assert steps({"tokens": 6400 + 321}) == 11


def test_flops_are_rounded_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def per_step(model: Any, task: Any, optimizer: OptimizerSpec, batch_size: int) -> float:
        return 1e9 * float(optimizer.estimator.passes_per_step)

    monkeypatch.setattr(optbench.cost, "flops_per_step", per_step)
    assert steps({"flops": 9.99e9}) == 9
    assert steps({"flops": 9.99e9}, optimizer="sam") == 4


@pytest.mark.parametrize("budget", [{"passes": 1}, {"tokens": 1}, {"flops": 1}])
def test_a_budget_below_one_step_is_refused(budget: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optbench.cost, "tokens_per_step", lambda *parts: 100.0)
    monkeypatch.setattr(optbench.cost, "flops_per_step", lambda *parts: 100.0)
    with pytest.raises(UserError, match="not enough for one step"):
        steps(budget, optimizer="sam")


@pytest.mark.parametrize("budget", [{}, {"steps": 1, "passes": 1}, {"epochs": float("inf")}, {"steps": 0}])
def test_a_budget_has_one_finite_unit(budget: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Budget.model_validate(budget)
