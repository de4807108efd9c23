"""What a strategy is: a plan of what one epoch is made of, and its price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from optbench.tasks.base import Example, Task


@dataclass(frozen=True)
class Trajectories:
    """What a probe leaves behind: losses [n, k], one row per training example in the order of `task.train`, one column
    per look, in units of the mean loss at that look; the steps [k] at which each look was complete; and the price."""

    losses: np.ndarray
    steps: np.ndarray
    key: str
    flops: float
    seconds: float


class Probe(Protocol):
    """A capability, not a stage: a strategy that never calls it costs nothing."""

    def __call__(self) -> Trajectories:
        """Runs the probe, or reads what it left before."""
        ...


@dataclass(frozen=True)
class Plan:
    """One epoch: `examples`, each shown `repeats` times (the order is drawn anew each round by the loop).

    `charged` says whether the probe's price is this strategy's: a control only borrows the size. `notes` states what
    was done in numbers; it goes into the record as it is.
    """

    examples: Sequence[Example]
    repeats: np.ndarray
    charged: bool = True
    notes: dict[str, Any] = field(default_factory=dict)


class Strategy(Protocol):
    """Every strategy spec has this method. `seed` is the seed of the cell: draw through `rng.stream(seed, name)`."""

    kind: str

    def plan(self, task: Task, probe: Probe, *, seed: int) -> Plan:
        """What one epoch is made of."""
        ...
