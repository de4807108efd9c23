"""What a metric is: named numbers, each with a unit and a direction that live nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Column:
    """A named number: its unit, which way is better, and a line of explanation.

    `measured` numbers are times and memory, which no two runs share; all others are equal in every repetition.
    `counted` numbers follow from the spec (passes, say): where no seed moves them, differences are certain.
    `exact` numbers may move with the seed, and training does not (operations, what a model scored before).
    `panel` is the kind of the panel that a suite has to ask for to get this number, empty where every record has it.
    """

    name: str
    unit: str
    direction: Direction
    doc: str
    measured: bool = False
    counted: bool = False
    panel: str = ""
    exact: bool = False

    @property
    def certain(self) -> bool:
        """Whether seeds that agree on the number do so by rule, and not by coincidence."""
        return self.counted or self.exact
