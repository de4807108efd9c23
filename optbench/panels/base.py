"""What a panel is: something that looks at a model, along its training or at the end, and returns named numbers.

A panel never changes a cell: it enters no key, draws nothing from the streams of the run, and the clock of the training
stands still while it looks. Its findings lie beside the record, under a key of their own, so that one asked for later
is added to what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from optbench.spec import Spec, key_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from optbench.cell import CellSpec
    from optbench.models.language_model import LanguageModel
    from optbench.strategies.probe import ProbeRun
    from optbench.tasks.base import Task


PROTOCOL_REVISION = 1
"""Raised when the way panels are called changes what they find."""


def panel_key(spec: Spec) -> str:
    """16 hex digits of a panel's content: under it its findings lie beside the record of a cell."""
    return key_of({"protocol": PROTOCOL_REVISION, "panel": spec.identity()})


@dataclass(frozen=True)
class Subject:
    """What a panel looks at: the cell, its task, and the model as it stands at each look.

    `results` is the folder of records, where probes are kept; `device` is where the model is.
    """

    cell: CellSpec
    task: Task
    model: LanguageModel
    results: Path
    device: str


@dataclass(frozen=True)
class Findings:
    """What a panel found. `result` holds its columns, finite numbers only: what does not exist is left out, and
    `notes` says why. `notes` states modes, sizes and keys as JSON data. `tables` are kept as <name>.parquet."""

    result: Mapping[str, float]
    notes: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


class Looking(Protocol):
    """A panel at work on one run."""

    @property
    def observe_at(self) -> frozenset[int]:
        """The numbers of steps done, from 0 (before training) to all of them, after which it wants to look."""
        ...

    def observe(self, step: int) -> None:
        """Looks at the model as it is after `step` steps. Leaves weights and buffers as they were, bit for bit; what
        is in `p.grad` may change. Called with torch's generators forked, and with the weights that the rule would
        be evaluated with."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What it saw so far, as `checkpoint_tree` can keep it: a run may be interrupted between two looks."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on, just begun, where the one that gave `state` was."""
        ...

    def finish(self) -> Findings:
        """Looks at the trained model, as `observe` does, and says what was found."""
        ...


class Panel(Protocol):
    """What every panel spec has, beside `kind` and the key of its own content."""

    kind: str
    medium: ClassVar[str]
    """The tasks that it can look at: those of `text`, of `regression`, or `any`."""
    needs_answers: ClassVar[bool]
    """Whether it tells right answers from wrong ones, so that tasks that ask nothing have nothing to show."""

    @property
    def along_training(self) -> bool:
        """Whether it looks before the end. Otherwise the kept final weights are enough to compute it later."""
        ...

    def start(self, subject: Subject) -> Looking:
        """Begins before the first step (or, at final weights, before the only look).

        Raises UserError where the panel does not apply to the subject, saying why.
        """
        ...

    def probe_run(self, cell: CellSpec) -> ProbeRun | None:
        """The probe that it needs for this cell, or None: executors run probes first and share them."""
        ...


def looks_at(steps: int, looks: int, *, first: bool) -> frozenset[int]:
    """`looks` evenly spaced numbers of steps up to and including the last, and 0 before them where `first`."""
    import numpy

    chosen: np.ndarray = numpy.linspace(0, steps, looks + 1).round().astype(int)
    return frozenset(chosen.tolist()) - (frozenset() if first else frozenset({0}))
