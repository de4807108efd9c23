"""An arm: what a table compares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from optbench.cell import Budget, Training
from optbench.errors import UserError
from optbench.yamlfile import Place


@dataclass(frozen=True)
class Arm:
    """What a table compares: model x task x strategy x optimizer x budget, by display names and as specs.

    `name` is model/task/strategy/optimizer, and /budget where a suite has several. `budget` is the budget as given,
    {unit: amount}; `training.steps` is what it comes to for this arm.
    """

    name: str
    model: str
    task: str
    strategy: str
    optimizer: str
    budget: Mapping[str, float]
    model_spec: Any = field(repr=False)
    task_spec: Any = field(repr=False)
    strategy_spec: Any = field(repr=False)
    optimizer_spec: Any = field(repr=False)
    training: Training = field(repr=False)
    places: Mapping[str, Place] = field(repr=False, compare=False)

    def axes(self) -> dict[str, str]:
        """The display names by axis, the budget as tables call it."""
        names = {"model": self.model, "task": self.task, "strategy": self.strategy, "optimizer": self.optimizer}
        return {**names, "budget": Budget(**self.budget).label}

    def described(self) -> dict[str, Any]:
        """The arm as JSON data: its name, the display names, the budget as given and in steps."""
        names = {axis: name for axis, name in self.axes().items() if axis != "budget"}
        return {"name": self.name, **names, "budget": dict(self.budget), "steps": self.training.steps}

    @contextmanager
    def blaming(self, axis: str) -> Iterator[None]:
        """Puts file, line and entry of an axis before what a UserError raised inside says."""
        try:
            yield
        except (OSError, UserError) as error:
            raise self.places[axis].problem(f": {error}") from error

    def specs(self) -> dict[str, Any]:
        """The specs by axis."""
        return {
            "model": self.model_spec,
            "task": self.task_spec,
            "strategy": self.strategy_spec,
            "optimizer": self.optimizer_spec,
        }
