"""What a run says while it goes on, and what became of its cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from optbench.executors.jobs import Job

Kind = Literal["started", "progress", "retried", "waiting", "done", "shared", "failed", "untracked"]
NO_LOG = Path()
"""Where not even a log could be written."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    `started`; `progress`: steps done of total; `retried`: it is tried again, the reason says why and where; `waiting`:
    nothing is left but the `total` jobs that another run has begun; `done`, with its outcome; `shared`: another run
    into the same folder has done it, with its outcome; `failed`, with a one-line reason and the log file; `untracked`:
    it goes on, but W&B failed for this reason, and no further cell is tracked.
    """

    kind: Kind
    job: Job
    done: int = 0
    total: int = 0
    outcome: str = ""
    reason: str = ""
    log: Path = NO_LOG


@dataclass
class Summary:
    """What became of the cells. `shared` counts those that another run into the same folder did meanwhile; `failed`
    maps the names of cells without a record, or without the findings of a panel, to a reason and a log file."""

    total: int
    already: int
    shared: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    failed: dict[str, tuple[str, Path]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every cell has a record, and what its panels found."""
        return not self.failed


def failure(reason: str, log: Path) -> str:
    """The reason with its log, in one line."""
    return reason if log == NO_LOG else f"{reason} (log: {log})"
