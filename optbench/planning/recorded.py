"""Paces of records that are there: of the same arm, else of the same model and task, else of the whole suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optbench.planning.phases import Phases, cost_signature, subject_of


@dataclass(frozen=True)
class Kind:
    """What tells apart cells of different pace: model with task and batches, and what an optimizer costs; `steps`, and
    the operations of one."""

    subject: str
    signature: str
    steps: int
    flops_per_step: float

    @classmethod
    def of(cls, arm: Any, flops_per_step: float) -> Kind:
        """That of an arm."""
        return cls(subject_of(arm), cost_signature(arm.optimizer_spec), arm.training.steps, flops_per_step)


@dataclass(frozen=True)
class Past:
    """A finished cell: seconds of all steps (None where only the whole was timed), and of the whole."""

    kind: Kind
    training: float | None
    total: float

    @classmethod
    def of(cls, kind: Kind, record: Any) -> Past:
        """From a record. Training takes its tokens at the mean pace of its timed steps."""
        measured, result = record.measured, record.result
        training = None
        if measured.get("tokens_per_second") and result.get("tokens"):
            training = min(float(measured["total_seconds"]), result["tokens"] / measured["tokens_per_second"])
        return cls(kind, training, float(measured["total_seconds"]))

    @property
    def stepping(self) -> float:
        """Seconds of all steps; the whole cell's where only that was timed."""
        return self.total if self.training is None else self.training


def recorded(arm: Any, flops_per_step: float, past: Sequence[Past]) -> Phases | None:
    """What the closest records say of an arm; those of other optimizers are scaled by operations."""
    own = Kind.of(arm, flops_per_step)
    siblings = [p for p in past if p.kind.subject == own.subject]
    for chosen in ([p for p in siblings if p.kind.signature == own.signature], siblings, past):
        if chosen:
            pace = sum(p.stepping for p in chosen) / sum(p.kind.steps * p.kind.flops_per_step for p in chosen)
            rest = sum(p.total - p.stepping for p in chosen) / len(chosen)
            return Phases(0.0, pace * flops_per_step, rest, "records")
    return None
