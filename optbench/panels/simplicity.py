"""Simplicity bias: which examples are learned when, told along training with a yardstick that all arms share.

Simplicity bias is the tendency to learn simpler features earlier (arXiv 2602.00576). The paper's measure for language
models is not known; these are the ones in use: when an example is first answered right and learned for good, and how
often it is forgotten (arXiv 1812.05159, 2404.17768); how far later-learned examples lag behind early ones; how evenly
sources and examples are learned. Early and late are told apart by one probe, whatever the arm.

Legend: n examples, k looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from optbench.errors import UserError
from optbench.models.families import Nano
from optbench.panels.base import Findings, Subject, looks_at
from optbench.panels.lessons import deciles, first_right, forgotten, gini, right_for_good
from optbench.spec import Spec
from optbench.strategies.clusters import LaterLearned
from optbench.strategies.probe_spec import ProbeSpec, SameModel

if TYPE_CHECKING:
    from optbench.cell import CellSpec
    from optbench.strategies.probe import ProbeRun
    from optbench.tasks.base import Example, Prepared

YARDSTICK = ProbeSpec(model=Nano(family="llama", width=32, layers=1, heads=2, kv_heads=1))
"""The default probe: a small model of one layer, of a family's architecture and with a character tokenizer."""


class Simplicity(Spec):
    """Per-example losses and correctness of `examples` training examples, `looks` times along training.

    An example counts as right where every supervised token is the most likely one given the reference before it, which
    is when greedy decoding writes the reference solution. `probe` and `select` tell early from late; the probe's model
    is named, never `same`, so that all models share the yardstick.
    """

    kind: Literal["simplicity"] = "simplicity"
    medium: ClassVar[str] = "text"
    needs_answers: ClassVar[bool] = True
    looks: Annotated[int, Field(ge=2, le=1000)] = 15
    examples: Annotated[int, Field(ge=20)] = 512
    micro_batch: Annotated[int, Field(ge=1)] = 256
    probe: ProbeSpec = YARDSTICK
    select: LaterLearned = LaterLearned()

    @field_validator("probe")
    @classmethod
    def _one_yardstick(cls, probe: ProbeSpec) -> ProbeSpec:
        if isinstance(probe.model, SameModel):
            raise ValueError("the probe of this panel needs a model of its own: with `same` the yardstick would differ")
        return probe

    @property
    def along_training(self) -> bool:
        """It looks along training."""
        return True

    def probe_run(self, cell: CellSpec) -> ProbeRun:
        """The yardstick, on the cell's task."""
        from optbench.strategies.probe import ProbeRun

        training = cell.training
        return ProbeRun(self.probe, cell.model, cell.task.identity(), training.precision, training.attention)

    def start(self, subject: Subject) -> Lessons:
        """Reads or runs the probe and picks the examples. Raises UserError for a task that is not text."""
        task = subject.task
        if subject.model.tokenizer is None:
            raise UserError("the panel simplicity needs a task of text: an answer is right where every token is")
        found = self.probe_run(subject.cell).run(task, subject.results, device=subject.device)
        late = self.select.find(found.losses, [example.source for example in task.train], seed=0)
        difficulty = found.losses.mean(axis=1)
        rows = np.linspace(0, len(task.train) - 1, min(self.examples, len(task.train))).round().astype(int)
        chosen = [task.train[row] for row in rows.tolist()]
        return Lessons(
            subject=subject,
            spec=self,
            examples=chosen,
            prepared=task.prepare(chosen, subject.model),
            late=late[rows],
            deciles=deciles(difficulty[rows]),
            probe_key=found.key,
        )


@dataclass
class Lessons:
    """The panel at work: what each look saw."""

    subject: Subject
    spec: Simplicity
    examples: list[Example]
    prepared: Prepared
    late: np.ndarray
    deciles: np.ndarray
    probe_key: str
    steps: list[int] = field(default_factory=list)
    losses: list[np.ndarray] = field(default_factory=list)
    right: list[np.ndarray] = field(default_factory=list)

    @property
    def observe_at(self) -> frozenset[int]:
        """Before training and evenly along it; the last look is `finish`."""
        steps = self.subject.cell.training.steps
        return looks_at(steps, self.spec.looks, first=True) - {steps}

    def observe(self, step: int) -> None:
        """One forward pass over the examples."""
        losses, right = self._look()
        self.steps.append(step)
        self.losses.append(losses)
        self.right.append(right)

    def state_dict(self) -> dict[str, Any]:
        """The looks so far."""
        return {"steps": self.steps, "losses": self.losses, "right": self.right}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on after those looks."""
        self.steps, self.losses, self.right = state["steps"], state["losses"], state["right"]

    def finish(self) -> Findings:
        """The last look, and what all of them say."""
        import pandas as pd

        total = self.subject.cell.training.steps
        self.observe(total)
        times = np.array(self.steps) / total
        losses, right = np.stack(self.losses, axis=1), np.stack(self.right, axis=1)
        sources = np.array([example.source for example in self.examples])
        first, learned = first_right(right, times), right_for_good(right, times)
        result = {
            "first_learned": float(first.mean()),
            "learned": float(learned.mean()),
            "never_learned": float((~right[:, -1]).mean()),
            "forgetting": float(forgotten(right).mean()),
            "learning_uniformity": 1.0 - gini(learned),
            "loss_cv": float(losses[:, -1].std() / losses[:, -1].mean()),
            **_gap(losses, self.late, times),
            **_by_source(learned, sources),
            **{f"decile_loss/{d}": float(losses[self.deciles == d, -1].mean()) for d in range(1, 11)},
        }
        table = pd.DataFrame(
            {
                "id": [example.id for example in self.examples],
                "source": sources,
                "late": self.late,
                "decile": self.deciles,
                "first_learned": first,
                "learned": learned,
                "forgotten": forgotten(right),
            }
        )
        columns = [f"step {step}" for step in self.steps]
        notes = {
            "probe": self.probe_key,
            "examples": len(self.examples),
            "late_share": float(self.late.mean()),
            "looks": self.steps,
            "learning_time_by_source": {name: float(learned[sources == name].mean()) for name in np.unique(sources)},
        }
        if not 0 < self.late.sum() < len(self.late):
            notes["late_early_gap"] = "left out: the probe tells all of these examples alike"
        return Findings(
            {name: value for name, value in result.items() if np.isfinite(value)},
            notes,
            {
                "examples": table,
                "losses": pd.DataFrame(losses.astype(np.float32), columns=columns),
                "right": pd.DataFrame(right, columns=columns),
            },
        )

    def _look(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean loss per supervised position, and whether all of them are right: float64 [n], bool [n]."""
        import torch

        from optbench.evaluation import mean_by_example

        model, task, supervised = self.subject.model, self.subject.task, self.prepared.supervised
        was_training = model.module.training
        model.module.eval()
        losses, right = [], []
        try:
            with torch.no_grad():
                for start in range(0, len(self.prepared), self.spec.micro_batch):
                    rows = np.arange(start, min(start + self.spec.micro_batch, len(self.prepared)))
                    (part,) = self.prepared.batch(rows, micro_batch=len(rows)).parts
                    outputs_NV = model.outputs(part)
                    losses.append(mean_by_example([task.losses(outputs_NV, part.targets)], supervised[rows]))
                    hits = [(outputs_NV.argmax(dim=1) == part.targets).double()]
                    right.append(mean_by_example(hits, supervised[rows]) == 1.0)
        finally:
            model.module.train(was_training)
        return np.concatenate(losses), np.concatenate(right)


def _gap(losses: np.ndarray, late: np.ndarray, times: np.ndarray) -> dict[str, float]:
    """Later-learned less early-learned losses: at the end, and the trapezoid rule over training; none without both."""
    if not 0 < late.sum() < len(late):
        return {}
    gap = losses[late].mean(axis=0) - losses[~late].mean(axis=0)
    return {"late_early_gap": float(gap[-1]), "late_early_gap_area": float(np.trapezoid(gap, times))}


def _by_source(learned: np.ndarray, sources: np.ndarray) -> dict[str, Any]:
    """Ratio of the last to the first source, and spread over mean; none with a single source, or one learned at 0."""
    means = np.array([learned[sources == name].mean() for name in np.unique(sources)])
    if len(means) < 2 or means.min() == 0:
        return {}
    return {
        "learning_time_ratio": float(means.max() / means.min()),
        "learning_time_spread": float(means.std() / means.mean()),
    }
