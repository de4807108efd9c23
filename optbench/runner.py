"""One cell to one record: the only module where all parts meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optbench import cost
from optbench.cell import CellSpec
from optbench.metrics import accuracy
from optbench.metrics import cost as cost_metrics
from optbench.order import rows_of_batches
from optbench.provenance import provenance
from optbench.rng import seed_torch, stream_seed
from optbench.store import CURVES, QUESTIONS, WEIGHTS, Record, Store
from optbench.strategies.base import Plan, Trajectories
from optbench.strategies.probe import ProbeRun
from optbench.strategies.rewrites import Rewriting
from optbench.tasks.base import Example, Prepared, Task

if TYPE_CHECKING:
    import pandas as pd

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


def run_cell(
    cell: CellSpec, store: Store, *, device: str = "cpu", contended: bool = False, progress: Progress | None = None
) -> Record:
    """Runs the cell and writes its record; the record of a cell that diverged or ran out of memory is a record too.

    `contended` says that other cells ran beside it, so that its times mean little. Raises UserError where a part cannot
    be had (a checkpoint, a data file); nothing is written then.
    """
    import torch

    start = time.perf_counter()
    cost_metrics.reset_peak(device)
    try:
        made = _train_and_measure(cell, store.root, device=device, progress=progress)
    except (torch.OutOfMemoryError, MemoryError) as error:
        made = _Made("out_of_memory", {}, {"reason": str(error).splitlines()[0][:300]}, {}, {}, {})
    training = cell.training
    measured = {
        **made.measured,
        "total_seconds": time.perf_counter() - start,
        "contended": contended,
        "provenance": provenance(device=device, precision=training.precision, attention=training.attention),
    }
    record = Record(
        key=cell.key,
        cell=cell.dump(),
        outcome=made.outcome,
        result=made.result,
        plan=made.plan,
        optimizer=made.optimizer,
        measured=measured,
    )
    store.write(record, made.attach)
    return record


@dataclass(frozen=True)
class _Made:
    """What a run made, before it is a record; `files` are the attachments by name."""

    outcome: str
    result: Mapping[str, float]
    plan: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    measured: Mapping[str, float]
    files: Mapping[str, Any]

    def attach(self, folder: Path) -> None:
        """Writes the attachments into `folder`."""
        for name, content in self.files.items():
            if name == WEIGHTS:
                from safetensors.torch import save_file

                save_file(content, folder / name)
            else:
                content.to_parquet(folder / name, index=False)


def _train_and_measure(cell: CellSpec, root: Path, *, device: str, progress: Progress | None) -> _Made:

    from optbench.models.roles import parameters_of
    from optbench.optim.schedules import schedule_of
    from optbench.train import train

    training, seed = cell.training, cell.seed
    task: Task = cell.task.build()
    plan, price = _planned(cell, task, root, device)
    cost_metrics.reset_peak(device)  # A probe that happened to run in this process is not this cell's memory.
    model = cell.model.build(
        seed=stream_seed(seed, "init"), device=device, precision=training.precision, attention=training.attention
    )
    optimizer = cell.optimizer.build(parameters_of(model.module))
    prepared = task.prepare(plan.examples, model)
    batches = _Batches(prepared, plan, training.batch_size, training.micro_batch, seed)
    seed_torch(stream_seed(seed, "dropout"))
    schedule = training.schedule
    history = train(
        model,
        task.losses,
        optimizer,
        iter(batches),
        steps=training.steps,
        schedule=schedule_of(schedule.kind, warmup=schedule.warmup, final=schedule.final, steps=training.steps),
        observe_at=observed_steps(training.steps),
        observers=[] if progress is None else [lambda done: progress(done, training.steps)],
    )
    peak = cost_metrics.peak_bytes(device)
    examples = task.test if training.evaluate == "test" else task.validation
    outcome, result, files = _evaluated(history, model, task, examples, optimizer, training.micro_batch)
    work = cost.Work.of(prepared, batches.rows_seen())
    flops = cost.training_flops(cell.model.dimensions(), cell.optimizer, work, steps=len(history.losses))
    result |= cost_metrics.counted(
        history, flops=flops, state_bytes=optimizer.rule.state_bytes(), probe_flops=price.flops
    )
    files[CURVES] = _curves(history)
    if cell.model.is_small:
        # The weights that were evaluated: the averages, for rules that average.
        with optimizer.rule.evaluating():
            files[WEIGHTS] = {name: p.detach().cpu().clone() for name, p in model.module.named_parameters()}
    measured = {
        **cost_metrics.timed(history, peak_bytes=peak),
        "probe_seconds": price.probe_seconds,
        "rewrite_seconds": price.rewrite_seconds,
    }
    return _Made(outcome, result, plan.notes, _about(optimizer, history), measured, files)


@dataclass(frozen=True)
class _Price:
    """What a plan cost before training: operations and seconds of its probe, seconds of writing new examples."""

    flops: float
    probe_seconds: float
    rewrite_seconds: float


def _planned(cell: CellSpec, task: Task, root: Path, device: str) -> tuple[Plan, _Price]:
    """The plan and its price; what a control borrows is not charged to it."""
    used: list[Trajectories] = []

    def probe() -> Trajectories:
        run = probe_of(cell)
        assert run is not None, "a strategy that probes has a probe in its spec"
        used.append(run.run(task, root, device=device))
        return used[-1]

    rewrite = Rewriting(task, cell.task.identity(), root)
    plan = cell.strategy.plan(task, probe, rewrite, seed=cell.seed)
    charged = used[:1] if plan.charged else []
    flops, seconds = sum(p.flops for p in charged), sum(p.seconds for p in charged)
    return plan, _Price(flops, seconds, rewrite.seconds)


class _Batches:
    """The batches of a run, remembering which examples were seen."""

    def __init__(self, prepared: Prepared, plan: Plan, batch_size: int, micro_batch: int, seed: int) -> None:
        self._prepared, self._micro_batch = prepared, micro_batch
        self._rows = rows_of_batches(plan.repeats, batch_size, seed=seed)
        self._seen: list[np.ndarray] = []

    def __iter__(self) -> Iterator[Any]:
        for rows in self._rows:
            self._seen.append(rows)
            yield self._prepared.batch(rows, micro_batch=self._micro_batch)

    def rows_seen(self) -> np.ndarray:
        """The rows of all batches so far, as often as they were seen."""
        return np.concatenate(self._seen)


def _evaluated(
    history: History,
    model: LanguageModel,
    task: Task,
    examples: Sequence[Example],
    optimizer: Optimizer,
    micro_batch: int,
) -> tuple[str, dict[str, float], dict[str, Any]]:
    """Outcome, results and question table; a model whose loss is not finite has no accuracy."""
    finite = [loss for loss in history.losses if np.isfinite(loss)]
    result = {"final_loss": float(np.mean(finite[-10:]))} if finite else {}
    if history.diverged_at is None:
        with optimizer.rule.evaluating():
            nll = accuracy.solution_nll(model, task, examples, micro_batch=micro_batch)
            if np.isfinite(nll):
                answered, questions = accuracy.answers(model, task, examples)
                return "completed", {**result, "test_nll": nll, **answered}, {QUESTIONS: questions}
    at = len(history.losses) if history.diverged_at is None else history.diverged_at
    return "diverged", {"diverged_at": float(at)}, {}


def _curves(history: History) -> pd.DataFrame:
    import pandas as pd

    steps = len(history.losses)
    return pd.DataFrame(
        {
            "step": np.arange(steps),
            "loss": history.losses,
            "gradient_norm": history.gradient_norms,
            "lr_scale": history.lr_scales[:steps],
            "tokens": history.tokens[:steps],
            "passes": np.cumsum(history.passes[:steps]),
        }
    )


def _about(optimizer: Optimizer, history: History) -> dict[str, Any]:
    """Who updated what, and what the observed shifts were."""
    size = {p.name: p.tensor.numel() for p in optimizer.parameters}
    claims = {
        rule: {"tensors": len(names), "parameters": sum(size[name] for name in names)}
        for rule, names in optimizer.rule.claims().items()
    }
    observed = [{"step": step, **_finite(notes)} for step, notes in history.notes if notes]
    return {"claims": claims, "observed": observed}


def _finite(notes: Mapping[str, Any]) -> dict[str, Any]:
    # JSON has no NaN; a number that does not exist is left out.
    return {name: value for name, value in notes.items() if not isinstance(value, float) or np.isfinite(value)}
