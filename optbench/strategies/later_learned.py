"""More of what is learned later: shown again (upsample), or joined by new examples of the same kind (augment); and the
matched controls, which do the same to as many examples drawn at random."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from optbench.rng import stream, stream_seed
from optbench.spec import Spec
from optbench.strategies.base import Plan, Probe, Rewrite
from optbench.strategies.clusters import LaterLearned, described
from optbench.strategies.probe_spec import ProbeSpec
from optbench.tasks.base import Task

Factor = Annotated[int, Field(ge=2, le=100)]


class Upsample(Spec):
    """Later-learned examples are shown `factor` times per epoch, all others once."""

    kind: Literal["upsample"] = "upsample"
    rewrites: ClassVar[bool] = False
    factor: Factor = 2
    probe: ProbeSpec = ProbeSpec()
    select: LaterLearned = LaterLearned()

    def plan(self, task: Task, probe: Probe, rewrite: Rewrite, *, seed: int) -> Plan:
        """The training set, the later-learned part of it repeated."""
        later, notes = _later(self.select, task, probe)
        return _upsampled(task, later, self.factor, notes, charged=True)


class RandomUpsample(Spec):
    """The control of `upsample`: as many examples, drawn at random, are shown `factor` times."""

    kind: Literal["random_upsample"] = "random_upsample"
    rewrites: ClassVar[bool] = False
    factor: Factor = 2
    probe: ProbeSpec = ProbeSpec()
    select: LaterLearned = LaterLearned()

    def plan(self, task: Task, probe: Probe, rewrite: Rewrite, *, seed: int) -> Plan:
        """The training set, a random part of it repeated."""
        later, notes = _random_as_many(self.select, task, probe, seed)
        return _upsampled(task, later, self.factor, notes, charged=False)


class Augment(Spec):
    """Each later-learned example is joined by `factor` - 1 new, verified examples of the same kind."""

    kind: Literal["augment"] = "augment"
    rewrites: ClassVar[bool] = True
    factor: Factor = 2
    probe: ProbeSpec = ProbeSpec()
    select: LaterLearned = LaterLearned()

    def plan(self, task: Task, probe: Probe, rewrite: Rewrite, *, seed: int) -> Plan:
        """The training set and the new examples."""
        later, notes = _later(self.select, task, probe)
        return _augmented(task, rewrite, later, self.factor, notes, stream_seed(seed, "augment"), charged=True)


class RandomAugment(Spec):
    """The control of `augment`: as many examples, drawn at random, are joined by new ones."""

    kind: Literal["random_augment"] = "random_augment"
    rewrites: ClassVar[bool] = True
    factor: Factor = 2
    probe: ProbeSpec = ProbeSpec()
    select: LaterLearned = LaterLearned()

    def plan(self, task: Task, probe: Probe, rewrite: Rewrite, *, seed: int) -> Plan:
        """The training set and the new examples."""
        later, notes = _random_as_many(self.select, task, probe, seed)
        return _augmented(task, rewrite, later, self.factor, notes, stream_seed(seed, "augment"), charged=False)


def _later(select: LaterLearned, task: Task, probe: Probe) -> tuple[np.ndarray, dict[str, Any]]:
    """Found from the probe alone, at a fixed seed: the same examples for every seed of a cell."""
    found = probe()
    sources = [example.source for example in task.train]
    later = select.find(found.losses, sources, seed=0)
    return later, {"probe": found.key, **described(later, sources)}


def _random_as_many(select: LaterLearned, task: Task, probe: Probe, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    """As many of each source, so that the control differs in which examples, not in which kinds."""
    later, notes = _later(select, task, probe)
    names = np.asarray([example.source for example in task.train])
    rng = stream(seed, "random control")
    chosen = np.zeros_like(later)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        chosen[rng.permutation(rows)[: int(later[rows].sum())]] = True
    overlap = float((chosen & later).sum() / max(1, later.sum()))
    return chosen, {**notes, "control": "random, as many of each source", "overlap_with_later_learned": overlap}


def _upsampled(task: Task, later: np.ndarray, factor: int, notes: dict[str, Any], *, charged: bool) -> Plan:
    repeats = np.where(later, factor, 1)
    return Plan(task.train, repeats, charged, {**notes, "shown_per_epoch": int(repeats.sum())})


def _augmented(
    task: Task, rewrite: Rewrite, later: np.ndarray, factor: int, notes: dict[str, Any], seed: int, *, charged: bool
) -> Plan:
    grown = [task.train[row] for row in np.flatnonzero(later).tolist() for _ in range(factor - 1)]
    added = rewrite(grown, seed)
    held_out = {example.question for split in (task.validation, task.test) for example in split}
    leaked = [example.question for example in added if example.question in held_out]
    assert not leaked, f"augmented examples repeat held-out questions: {leaked[:3]}"
    known = {example.question for example in task.train}
    fresh = {example.question for example in added} - known
    examples = [*task.train, *added]
    extra = {"added": len(added), "added_new_questions": len(fresh), "shown_per_epoch": len(examples)}
    return Plan(examples, np.ones(len(examples), dtype=int), charged, {**notes, **extra})
