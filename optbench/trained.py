"""A cell's training: from its spec to a trained model, and everything that went into it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optbench.cell import CellSpec
from optbench.checkpointing import Checkpoints, Part, Weights
from optbench.distributed.ranks import ALONE, Ranks
from optbench.metrics import cost as cost_metrics
from optbench.models.options import deterministic, with_options
from optbench.noted import Noted, Notes
from optbench.order import rows_of_batches
from optbench.panels.base import Subject, panel_key
from optbench.panels.watch import Watch
from optbench.rng import TorchState, seed_torch, stream_seed
from optbench.strategies.base import Plan, Trajectories
from optbench.strategies.probe import ProbeRun
from optbench.strategies.rewrites import Rewriting
from optbench.tasks.base import Prepared, Task
from optbench.tasks.grouping import Cut, PartCost, cut, part_cost
from optbench.untrained import scores_before

if TYPE_CHECKING:
    from optbench.models.language_model import LanguageModel
    from optbench.optim.base import Optimizer
    from optbench.train import History

OBSERVED_STEPS = 8


def observed_steps(steps: int) -> frozenset[int]:
    """The steps whose shift is looked at closely: evenly spread, and few enough that most steps remain to be timed."""
    count = min(OBSERVED_STEPS, max(1, steps // 4))
    return frozenset(np.linspace(0, steps - 1, count + 2).round().astype(int)[1:-1].tolist())


Progress = Callable[[int, int], None]
"""Told the steps done and the steps in all."""


def probe_of(cell: CellSpec) -> ProbeRun | None:
    """The probe that the cell's strategy may ask for, or None for a strategy without one."""
    if "probe" not in type(cell.strategy).model_fields:
        return None
    training = cell.training
    return ProbeRun(cell.strategy.probe, cell.model, cell.task.identity(), training.precision, training.attention)


@dataclass(frozen=True)
class Run:
    """A model after its training, and everything that went into it."""

    task: Task
    plan: Plan
    price: Price
    model: LanguageModel
    optimizer: Optimizer
    prepared: Prepared
    batches: Batches
    history: History
    watch: Watch
    before: Mapping[str, float]
    """What the model scored before, in columns of the record: see `untrained.scores_before`."""
    peak_bytes: int


def trained(
    cell: CellSpec,
    panels: Sequence[Any],
    root: Path,
    *,
    device: str,
    progress: Progress | None,
    notes: Notes | None = None,
    checkpoints: Checkpoints | None = None,
    ranks: Ranks = ALONE,
) -> Run:
    """Trains as the cell says, the panels looking along; nothing is recorded. `root` is the folder of records, where
    probes and new examples are kept; `notes` are told of each step. With `checkpoints` it goes on where an earlier
    session was interrupted, and writes them. `ranks` are the processes that each have a share of every batch; the first
    of them is watched. Raises UserError where a part cannot be had or a panel does not apply."""
    from optbench.models.roles import parameters_of
    from optbench.optim.schedules import schedule_of
    from optbench.train import History, train

    training, seed = cell.training, cell.seed
    task: Task = cell.task.build()
    ranks.check(cell)
    minutes = 0.0 if checkpoints is None else checkpoints.minutes
    plan, price = ranks.first(lambda: _planned(cell, task, root, device, minutes))
    model = built(cell, device)
    before = ranks.first(lambda: scores_before(cell, task, model, root))
    optimizer = cell.optimizer.build(parameters_of(model.module))
    watch = Watch(Subject(cell, task, model, root, device), optimizer.rule.evaluating)
    watch.start(panels if ranks.rank == 0 else ())
    cost_metrics.reset_peak(device)  # Probes that happened to run in this process are not this cell's memory.
    prepared = task.prepare(plan.examples, model)
    cost = part_cost(cell.model.dimensions(), device) if training.parts == "by_length" else None
    batches = Batches(prepared, plan, training.batch_size, training.micro_batch, seed, cost, ranks.cut)
    seed_torch(stream_seed(seed, "dropout"))
    history = History()
    if checkpoints is not None:
        parts: dict[str, Part] = {"weights": Weights(model.module), "optimizer": optimizer, "watch": watch}
        parts["random"] = TorchState(device)
        along = [panel_key(panel) for panel in panels if panel.along_training]
        batches.skip(checkpoints.resume(history, parts, panels=watch.seconds, needed=along))
    ranks.compare(model.module, plan.repeats, prepared.lengths, prepared.supervised, np.array(history.steps))
    if history.steps == 0:
        watch.observe(0)
    schedule = training.schedule
    observers: list[Callable[[int], None]] = [watch.observe]
    if progress is not None:
        observers.append(lambda done: progress(done, training.steps))
    if notes is not None:
        notes.resume(history)
        observers.append(notes.observe)
    if checkpoints is not None:
        observers.append(checkpoints.observe)
    with deterministic(training.deterministic):
        train(
            model,
            task.losses,
            optimizer if notes is None else Noted(optimizer, notes),
            iter(batches),
            oracle_of=ranks.oracle_for(cell, history),
            steps=training.steps,
            schedule=schedule_of(schedule.kind, warmup=schedule.warmup, final=schedule.final, steps=training.steps),
            observe_at=observed_steps(training.steps),
            observers=observers,
            history=history,
        )
    ranks.agree(model.module)
    peak = max(watch.peak_bytes, cost_metrics.peak_bytes(device))
    return Run(task, plan, price, model, optimizer, prepared, batches, history, watch, before, peak)


def built(cell: CellSpec, device: str) -> LanguageModel:
    """The cell's model before training, on its device and in its precision."""
    training = cell.training
    model: LanguageModel = cell.model.build(
        seed=stream_seed(cell.seed, "init"), device=device, precision=training.precision, attention=training.attention
    )
    found: LanguageModel = with_options(model, training)
    return found


@dataclass(frozen=True)
class Price:
    """What a plan cost before training: operations and seconds of its probe, seconds of writing new examples."""

    flops: float
    probe_seconds: float
    rewrite_seconds: float


def _planned(cell: CellSpec, task: Task, root: Path, device: str, minutes: float) -> tuple[Plan, Price]:
    """The plan and its price; what a control borrows is not charged to it."""
    used: list[Trajectories] = []

    def probe() -> Trajectories:
        run = probe_of(cell)
        assert run is not None, "a strategy that probes has a probe in its spec"
        used.append(run.run(task, root, device=device, checkpoint_minutes=minutes))
        return used[-1]

    rewrite = Rewriting(task, cell.task.identity(), root)
    plan = cell.strategy.plan(task, probe, rewrite, seed=cell.seed)
    charged = used[:1] if plan.charged else []
    flops, seconds = sum(p.flops for p in charged), sum(p.seconds for p in charged)
    return plan, Price(flops, seconds, rewrite.seconds)


class Batches:
    """The batches of a run, remembering which examples were seen. With the `cost` of parts they are cut by length."""

    def __init__(
        self,
        prepared: Prepared,
        plan: Plan,
        batch_size: int,
        micro_batch: int,
        seed: int,
        cost: PartCost | None = None,
        cut: Cut = cut,
    ) -> None:
        self._prepared, self._micro_batch, self._cost, self._cut = prepared, micro_batch, cost, cut
        self._rows = rows_of_batches(plan.repeats, batch_size, seed=seed)
        self._seen: list[np.ndarray] = []

    def skip(self, steps: int) -> None:
        """Passes over the batches of this many steps: they were seen in an earlier session."""
        self._seen += itertools.islice(self._rows, steps)

    def __iter__(self) -> Iterator[Any]:
        for rows in self._rows:
            self._seen.append(rows)
            yield self._cut(self._prepared, rows, self._cost, micro_batch=self._micro_batch)

    def rows_seen(self) -> np.ndarray:
        """The rows of all batches so far, as often as they were seen."""
        return np.concatenate(self._seen)
