"""One cell to one record: the only module where all parts meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optbench import cost
from optbench.cell import PROTOCOL_REVISION, CellSpec
from optbench.checkpoint import remove as remove_checkpoints
from optbench.checkpointing import Checkpoints, circumstances
from optbench.distributed.ranks import ALONE, Ranks
from optbench.errors import UserError, is_out_of_memory
from optbench.metrics import cost as cost_metrics
from optbench.models.options import deterministic
from optbench.models.stated import heard
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
    checkpoint_minutes: float = 0.0,
    ranks: Ranks = ALONE,
) -> Record:
    """Runs the cell and writes its record with what the panels found; the record of a cell that diverged or ran out of
    memory is a record too. Where the record is there already, only the missing panels look: see `look_again`.

    `contended` says that other cells ran beside it, so that its times mean little. `notes` are told of each step of a
    cell that has no record yet. A run that was interrupted goes on from its newest checkpoint; one is written after
    every `checkpoint_minutes` of work, 0 for never. Where several `ranks` train the cell, this is called by the first,
    and the others `accompany` it. Raises UserError where a part cannot be had (a pretrained model, a data file) or a
    panel does not apply; nothing is written then.
    """

    there = store.record(cell.key)
    if there is not None:
        missing = [panel for panel in panels if not store.has_panel(cell.key, panel_key(panel))]
        look_again(
            cell,
            there,
            store,
            missing,
            device=device,
            progress=progress,
            checkpoint_minutes=checkpoint_minutes,
            ranks=ranks,
        )
        return there
    checkpoints = _checkpoints(cell, store, checkpoint_minutes, device, ranks)
    cost_metrics.reset_peak(device)
    made_with = {**_circumstances_of(cell, device), **ranks.provenance()}
    looked = 0.0
    try:
        run = trained(
            cell,
            panels,
            store.root,
            device=device,
            progress=progress,
            notes=notes,
            checkpoints=checkpoints,
            ranks=ranks,
        )
        made = _measured(cell, run, device)
        looked = sum(run.watch.seconds.values())
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        made = _ran_out(error, panels)
    return _recorded(cell, store, made, checkpoints, looked, contended=contended, made_with=made_with)


def _ran_out(error: BaseException, panels: Sequence[Any]) -> _Made:
    reason = {"reason": (str(error).splitlines() or [type(error).__name__])[0][:300]}
    return _Made("out_of_memory", {}, reason, {}, {}, {}, _unseen(panels, "the run ran out of memory"), {})


def _recorded(
    cell: CellSpec,
    store: Store,
    made: _Made,
    checkpoints: Checkpoints,
    looked: float,
    *,
    contended: bool,
    made_with: Mapping[str, Any],
) -> Record:
    """Writes what was made; `looked` are the seconds that panels took, `made_with` is the provenance of the run."""
    with heard() as named:
        key = cell.key
    record = Record(
        key=key,
        cell=cell.dump(),
        outcome=made.outcome,
        result=made.result,
        plan=made.plan,
        optimizer=made.optimizer,
        measured={
            **made.measured,
            "total_seconds": checkpoints.seconds - looked,
            **({"resumed": checkpoints.resumed} if checkpoints.resumed else {}),
            "contended": contended,
            "provenance": {**made_with, "date": datetime.now(UTC).date().isoformat()},
        },
        checkpoints=named.identities,
    )

    def attach(folder: Path) -> None:
        made.attach(folder)
        written(folder / PANELS, key, made.findings, made.panel_seconds, made_with)

    store.write(record, attach)
    if store.has(key):  # A store may leave out what is to be tried elsewhere.
        checkpoints.remove()
    return record


def look_again(
    cell: CellSpec,
    record: Record,
    store: Store,
    panels: Sequence[Any],
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    checkpoint_minutes: float = 0.0,
    ranks: Ranks = ALONE,
) -> None:
    """Adds what further panels find to a record that is there.

    Panels that look at the end alone take the kept weights. Where there are none, or a panel looks along training, the
    run is repeated without being recorded, and has to end with the loss that was recorded. Raises UserError where it
    does not: other versions, or another machine, and the findings would be those of another run.
    """
    if not panels:
        return
    seconds: Mapping[str, float] = {}
    if record.outcome != "completed":
        found = _unseen(panels, f"the run ended as {record.outcome}")
    elif not has_to_train(cell, record, store, panels):
        model = built(cell, device)
        _load(model, store.folder(cell.key) / WEIGHTS)
        watch = Watch(Subject(cell, cell.task.build(), model, store.root, device), nullcontext)
        watch.start(panels)
        found, seconds = watch.finish(), watch.seconds
    else:
        checkpoints = _checkpoints(cell, store, checkpoint_minutes, device, ranks)
        run = trained(cell, panels, store.root, device=device, progress=progress, checkpoints=checkpoints, ranks=ranks)
        final = _final_loss(run.history).get("final_loss")
        if final != record.result["final_loss"]:
            checkpoints.remove()  # Whatever they are of, it is not the run that was recorded.
            raise UserError(
                f"the run {cell.key} could not be repeated for {', '.join(panel.kind for panel in panels)}: its final "
                f"loss is {final}, recorded is {record.result['final_loss']} (other versions, threads, ranks or "
                f"machine?); delete {store.folder(cell.key)} to run it anew with its panels"
            )
        found, seconds = run.watch.finish(), run.watch.seconds
    made = _circumstances_of(cell, device)
    written(store.folder(cell.key) / PANELS, cell.key, found, seconds, made)
    remove_checkpoints(store.root, cell.key)


def accompany(cell: CellSpec, store: Store, panels: Sequence[Any], *, device: str, ranks: Ranks) -> None:
    """The part of every rank but the first in `run_cell` and, where it has to train, in `look_again`: it trains, and
    writes nothing, unless it runs out of memory: then no other rank can say so. Raises what ended it. The arguments are
    those of the first rank."""

    checkpoints = _checkpoints(cell, store, 0.0, device, ranks)
    made_with = {**_circumstances_of(cell, device), **ranks.provenance()}
    try:
        trained(cell, panels, store.root, device=device, progress=None, checkpoints=checkpoints, ranks=ranks)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        made = _ran_out(error, panels)
        _recorded(cell, store, made, checkpoints, 0.0, contended=False, made_with=made_with)
        raise


def has_to_train(cell: CellSpec, record: Record, store: Store, panels: Sequence[Any]) -> bool:
    """Whether `look_again` has to repeat the run: no weights were kept, or a panel looks along training."""
    kept = (store.folder(cell.key) / WEIGHTS).is_file()
    return record.outcome == "completed" and (not kept or any(panel.along_training for panel in panels))


def _checkpoints(cell: CellSpec, store: Store, minutes: float, device: str, ranks: Ranks) -> Checkpoints:
    made = {**circumstances(device, PROTOCOL_REVISION), **ranks.provenance()}
    return Checkpoints(store.root, cell.key, cell.training.steps, minutes, made, device)


def _circumstances_of(cell: CellSpec, device: str) -> dict[str, Any]:
    import torch

    return _circumstances(device, cell.training.precision, cell.training.attention, torch.get_num_threads())


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
    with deterministic(training.deterministic):
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
            learned = {name: p for name, p in run.model.module.named_parameters() if p.requires_grad}
            files[WEIGHTS] = {name: p.detach().cpu().clone() for name, p in learned.items()}
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
            if p.requires_grad:  # Frozen weights are the base's, and were not kept.
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
