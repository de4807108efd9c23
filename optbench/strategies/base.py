"""What a strategy is: a plan of what one epoch is made of, and its price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

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


class Rewrite(Protocol):
    """A capability like the probe: new examples, for strategies that declare `rewrites`."""

    def __call__(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """A new, verified example of the same kind for each one given; see `Task.rewrite`."""
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
    """What every strategy spec has.

    `rewrites` says whether its plan needs new examples, which not every task can write.
    """

    kind: str
    rewrites: ClassVar[bool]

    def plan(self, task: Task, probe: Probe, rewrite: Rewrite, *, seed: int) -> Plan:
        """What one epoch is made of; `seed` is the cell's, to be drawn from through `rng.stream(seed, name)`."""
        ...
