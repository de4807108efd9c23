"""One cell to one record: the only module where all parts meet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optbench import cost
from optbench.cell import CellSpec
from optbench.errors import UserError
from optbench.metrics import cost as cost_metrics
from optbench.noted import Notes
from optbench.panels.base import Findings, Subject, panel_key
from optbench.panels.watch import Watch, written
from optbench.provenance import provenance
from optbench.store import CURVES, PANELS, QUESTIONS, WEIGHTS, Record, Store
from optbench.tasks.base import Example
from optbench.trained import Progress, Run, built, trained

if TYPE_CHECKING:
    import pandas as pd

    from optbench.models.language_model import LanguageModel
    from optbench.optim.base import Optimizer
    from optbench.train import History


def run_cell(
    cell: CellSpec,
    store: Store,
    panels: Sequence[Any] = (),
    *,
    device: str = "cpu",
    contended: bool = False,
    progress: Progress | None = None,
    notes: Notes | None = None,
) -> Record:
    """Runs the cell and writes its record with what the panels found; the record of a cell that diverged or ran out of
    memory is a record too. Where the record is there already, only the missing panels look: see `look_again`.

    `contended` says that other cells ran beside it, so that its times mean little. `notes` are told of each step of a
    cell that has no record yet. Raises UserError where a part cannot be had (a checkpoint, a data file) or a panel does
    not apply; nothing is written then.
    """
    import torch

    there = store.record(cell.key)
    if there is not None:
        missing = [panel for panel in panels if not store.has_panel(cell.key, panel_key(panel))]
        look_again(cell, there, store, missing, device=device, progress=progress)
        return there
    start = time.perf_counter()
    cost_metrics.reset_peak(device)
    training = cell.training
    provenance_of_run = _circumstances(device, training.precision, training.attention, torch.get_num_threads())
    looked = 0.0
    try:
        run = trained(cell, panels, store.root, device=device, progress=progress, notes=notes)
        made = _measured(cell, run, device)
        looked = sum(run.watch.seconds.values())
    except (torch.OutOfMemoryError, MemoryError) as error:
        reason = {"reason": str(error).splitlines()[0][:300]}
        made = _Made("out_of_memory", {}, reason, {}, {}, {}, _unseen(panels, "the run ran out of memory"), {})
    record = Record(
        key=cell.key,
        cell=cell.dump(),
        outcome=made.outcome,
        result=made.result,
        plan=made.plan,
        optimizer=made.optimizer,
        measured={
            **made.measured,
            "total_seconds": time.perf_counter() - start - looked,
            "contended": contended,
            "provenance": {**provenance_of_run, "date": datetime.now(UTC).date().isoformat()},
        },
    )

    def attach(folder: Path) -> None:
        made.attach(folder)
        written(folder / PANELS, cell.key, made.findings, made.panel_seconds, provenance_of_run)

    store.write(record, attach)
    return record


def look_again(
    cell: CellSpec,
    record: Record,
    store: Store,
    panels: Sequence[Any],
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> None:
    """Adds what further panels find to a record that is there.

    Panels that look at the end alone take the kept weights. Where there are none, or a panel looks along training, the
    run is repeated without being recorded, and has to end with the loss that was recorded. Raises UserError where it
    does not: other versions, or another machine, and the findings would be those of another run.
    """
    if not panels:
        return
    import torch

    training = cell.training
    weights = store.folder(cell.key) / WEIGHTS
    seconds: Mapping[str, float] = {}
    if record.outcome != "completed":
        found = _unseen(panels, f"the run ended as {record.outcome}")
    elif weights.is_file() and not any(panel.along_training for panel in panels):
        model = built(cell, device)
        _load(model, weights)
        watch = Watch(Subject(cell, cell.task.build(), model, store.root, device), nullcontext)
        watch.start(panels)
        found, seconds = watch.finish(), watch.seconds
    else:
        run = trained(cell, panels, store.root, device=device, progress=progress)
        final = _final_loss(run.history).get("final_loss")
        if final != record.result["final_loss"]:
            raise UserError(
                f"the run {cell.key} could not be repeated for {', '.join(panel.kind for panel in panels)}: its final "
                f"loss is {final}, recorded is {record.result['final_loss']} (other versions, threads or machine?); "
                f"delete {store.folder(cell.key)} to run it anew with its panels"
            )
        found, seconds = run.watch.finish(), run.watch.seconds
    made = _circumstances(device, training.precision, training.attention, torch.get_num_threads())
    written(store.folder(cell.key) / PANELS, cell.key, found, seconds, made)


@lru_cache(maxsize=32)
def _circumstances(device: str, precision: str, attention: str, threads: int) -> dict[str, Any]:
    # Asked once per process: the code that runs is that of the commit at which it was imported, and git is slow to
    # answer. The number of threads is read by `provenance` itself; as an argument it tells when to ask again.
    return provenance(device=device, precision=precision, attention=attention)


Found = Mapping[str, tuple[Any, Findings]]


def _unseen(panels: Sequence[Any], why: str) -> Found:
    return {panel_key(panel): (panel, Findings({}, {"nothing": why})) for panel in panels}


@dataclass(frozen=True)
class _Made:
    """What a run made, before it is a record; `files` are the attachments by name, `findings` those of panels."""

    outcome: str
    result: Mapping[str, float]
    plan: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    measured: Mapping[str, float]
    files: Mapping[str, Any]
    findings: Found
    panel_seconds: Mapping[str, float]

    def attach(self, folder: Path) -> None:
        """Writes the attachments into `folder`."""
        for name, content in self.files.items():
            if name == WEIGHTS:
                from safetensors.torch import save_file

                save_file(content, folder / name)
            else:
                content.to_parquet(folder / name, index=False)


def _measured(cell: CellSpec, run: Run, device: str) -> _Made:
    training, history, price = cell.training, run.history, run.price
    examples = run.task.test if training.evaluate == "test" else run.task.validation
    outcome, result, files = _evaluated(run, examples, training.micro_batch)
    result |= run.before
    work = cost.Work.of(run.prepared, run.batches.rows_seen())
    flops = cost.training_flops(cell.model.dimensions(), cell.optimizer, work, steps=len(history.losses))
    state_bytes = run.optimizer.state_bytes()
    result |= cost_metrics.counted(history, flops=flops, state_bytes=state_bytes, probe_flops=price.flops)
    files[CURVES] = _curves(history)
    if cell.model.is_small:
        # The weights that were evaluated: the averages, for rules that average.
        with run.optimizer.rule.evaluating():
            files[WEIGHTS] = {name: p.detach().cpu().clone() for name, p in run.model.module.named_parameters()}
    measured = {
        **cost_metrics.timed(history, peak_bytes=run.peak_bytes),
        "probe_seconds": price.probe_seconds,
        "rewrite_seconds": price.rewrite_seconds,
    }
    found = run.watch.finish() if outcome == "completed" else run.watch.nothing(f"the run {outcome}")
    about = _about(run.optimizer, history)
    return _Made(outcome, result, run.plan.notes, about, measured, files, found, run.watch.seconds)


def _load(model: LanguageModel, weights: Path) -> None:
    import torch
    from safetensors.torch import load_file

    kept = load_file(weights)
    with torch.no_grad():
        for name, p in model.module.named_parameters():
            p.copy_(kept[name])


def _evaluated(run: Run, examples: Sequence[Example], micro_batch: int) -> tuple[str, dict[str, float], dict[str, Any]]:
    """Outcome, results and question table; a model whose loss is not finite has no accuracy."""
    history = run.history
    if history.diverged_at is None:
        with run.optimizer.rule.evaluating():
            found = run.task.evaluate(examples, run.model, micro_batch=micro_batch)
        if all(np.isfinite(value) for value in found.result.values()):
            files = {} if found.questions is None else {QUESTIONS: found.questions}
            return "completed", {**_final_loss(history), **found.result}, files
    at = len(history.losses) if history.diverged_at is None else history.diverged_at
    return "diverged", {"diverged_at": float(at)}, {}


def _final_loss(history: History) -> dict[str, float]:
    """The mean of the last ten losses that are finite, where there are any: of those at the weights, unless the
    optimizer only ever looked at shifted ones."""
    finite = [(loss, at) for loss, at in zip(history.losses, history.losses_at, strict=True) if np.isfinite(loss)]
    at_weights = [loss for loss, at in finite if at == "weights"]
    last = (at_weights or [loss for loss, _ in finite])[-10:]
    return {"final_loss": float(np.mean(last))} if last else {}


def _curves(history: History) -> pd.DataFrame:
    import pandas as pd

    steps = len(history.losses)
    curves = pd.DataFrame(
        {
            "step": np.arange(steps),
            "loss": history.losses,
            "gradient_norm": history.gradient_norms,
            "lr_scale": history.lr_scales[:steps],
            "tokens": history.tokens[:steps],
            "passes": np.cumsum(history.passes[:steps]),
        }
    )
    # SAM may look at shifted weights alone, always or between two refreshed shifts: another quantity, and said so.
    return curves if set(history.losses_at) == {"weights"} else curves.assign(loss_at=history.losses_at)


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
