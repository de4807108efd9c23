"""Every example once: the data as they are."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from optbench.spec import Spec
from optbench.strategies.base import Plan, Probe, Rewrite
from optbench.tasks.base import Task


class Uniform(Spec):
    """Every training example once per epoch; no probe, no price."""

    kind: Literal["uniform"] = "uniform"
    rewrites: ClassVar[bool] = False

    def plan(self, task: Task, probe: Probe, rewrite: Rewrite, *, seed: int) -> Plan:
        """The training set."""
        return Plan(task.train, np.ones(len(task.train), dtype=int))
