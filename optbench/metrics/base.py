"""What a metric is: named numbers, each with a unit and a direction that live nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Column:
    """A named number: its unit, which way is better, a line of explanation, and whether it is a measurement (of time
    or memory, which no two runs share) or a result (equal in every repetition)."""

    name: str
    unit: str
    direction: Direction
    doc: str
    measured: bool = False
