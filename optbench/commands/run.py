"""`run`: the cells that have no record yet, with a line for each that ends."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from optbench.commands.progress import progress
from optbench.commands.tables import duration
from optbench.cost import mean_work
from optbench.distributed.ranks import ALONE, Ranks
from optbench.errors import UserError
from optbench.executors.devices import visible_gpus, worker_count
from optbench.executors.events import Summary, failure
from optbench.executors.first_step import check_first_steps
from optbench.executors.local import execute
from optbench.panels.base import panel_key
from optbench.planning.fits import check_fits
from optbench.spec import canonical
from optbench.store import Store

if TYPE_CHECKING:
    from optbench.commands.wandb import Tracking
    from optbench.suite import Cell, Suite

SHOWN_DAMAGED = 10


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and the words for it."""

    complete: bool
    interrupted: bool
    text: str


Where = Literal["local", "ray"]


def run(
    suite: Suite,
    results: Path,
    *,
    workers: int | None = None,
    tracking: Tracking | None = None,
    executor: Where = "local",
    address: str = "",
    ranks: Ranks = ALONE,
    device: str = "auto",
    fit_check: bool = True,
    step_check: bool = True,
) -> Outcome:
    """Runs the suite's missing cells; Ctrl-C ends it early, and loses the running cells alone.

    `workers` of them run at a time; by default one on each GPU, or as many as the suite says where there is none. With
    `tracking` the cells are shown to W&B while they train, and in the end what is not there yet is pushed. `executor`
    is where they run: in processes of this machine, or on Ray, on the cluster at `address` where one is given. Several
    `ranks` train every cell together, this one on `device`; each of them calls this.

    Raises UserError, before anything is written, for a checkpoint or data that cannot be had, for records that are
    damaged, for a folder that cannot be written to, with `step_check` for a foreign optimizer that seems to take no
    step and, with `fit_check`, for cells that are estimated to take clearly more memory than there is.
    """
    start, store, cells = time.monotonic(), Store(results), suite.cells()
    runs = {cell.key: cell for cell in cells}.values()
    ran = executor_of(executor, address, workers, suite)
    if ranks.size > 1:
        ran = _together(executor, tracking, suite, ranks, device)
    here = executor == "local"
    fits, steps = fit_check and here, step_check and here
    check_ready(suite, results, workers=workers, ranks=ranks, fit_check=fits, step_check=steps)
    try:
        with progress(len(runs), sum(cell.is_done(store) for cell in runs)) as view:
            ran = ran if tracking is None else partial(ran, tracked=tracking.cells())
            on_event = view if tracking is None else tracking.watching(view)
            said = suite.execution
            summary = ran(
                cells,
                results,
                threads=said.threads,
                checkpoint_minutes=said.checkpoint_minutes,
                on_event=on_event,
            )
    except KeyboardInterrupt:
        done = sum(cell.is_done(store) for cell in cells)
        text = f"interrupted: {done} of {len(cells)} cells are done; the same command again continues"
        return Outcome(complete=False, interrupted=True, text=text)
    done = sum(cell.is_done(store) for cell in cells)
    took = duration(time.monotonic() - start)
    panels = " and all panels" if suite.panels else ""
    shared = f", {summary.shared} came from another run meanwhile" if summary.shared else ""
    lines = [
        f"{done} of {len(cells)} cells have records{panels} after {took}; {summary.already} were there before{shared}."
    ]
    if done < len(cells):
        lines.append(f"{len(cells) - done} failed; the same command again tries them once more:")
        lines += [f"  {name}: {failure(reason, log)}" for name, (reason, log) in summary.failed.items()]
    if tracking is not None:
        lines += tracking.finish(store)
    return Outcome(complete=done == len(cells), interrupted=False, text="\n".join(lines))


def check_ready(
    suite: Suite,
    results: Path,
    *,
    workers: int | None,
    ranks: Ranks = ALONE,
    fit_check: bool = True,
    step_check: bool = True,
) -> None:
    """Raises UserError for whatever keeps the suite's missing cells from being run: see `run`. Both checks are for runs
    on this machine, for elsewhere there may be other packages and devices; foreign optimizers are not tried for cells
    that several `ranks` train."""
    store, cells = Store(results), suite.cells()
    runs = {cell.key: cell for cell in cells}.values()
    for cell in cells:
        with cell.arm.blaming("optimizer"):
            ranks.check(cell.spec)
    check_writable(results)
    _check_records(runs, store)
    left = [cell for cell in runs if not cell.is_done(store)]
    check_inputs(left)
    if fit_check:
        count = max(ranks.size, worker_count(workers, suite.execution.workers, visible_gpus()))
        check_fits([cell.arm for cell in left], workers=count)
    if step_check and ranks.size == 1:
        check_first_steps(cell.arm for cell in left)


def executor_of(executor: Where, address: str, workers: int | None, suite: Suite) -> Callable[..., Summary]:
    """What runs the cells. Raises UserError where Ray is asked for and not installed."""
    if executor == "local":
        if address:
            raise UserError(f"--address {address}: is for --executor ray; processes of this machine need none")
        return partial(execute, workers=worker_count(workers, suite.execution.workers, visible_gpus()))
    from optbench.executors import cluster

    cluster.check_installed()
    return partial(cluster.execute, workers=workers, said=suite.execution.workers, address=address)


def _together(
    executor: Where, tracking: Tracking | None, suite: Suite, ranks: Any, device: str
) -> Callable[..., Summary]:
    """What runs each cell on all ranks. Raises UserError for what does not go with that."""
    from optbench.executors import together

    if executor != "local":
        raise UserError(f"--executor {executor}: under torchrun its processes are the workers; leave it out")
    if tracking is not None:
        raise UserError("--wandb: not under torchrun; push the records afterwards with `optbench wandb SUITE`")
    minutes = suite.execution.checkpoint_minutes
    return partial(together.execute, group=ranks, device=device, checkpoint_minutes=minutes)


def check_inputs(cells: Sequence[Cell]) -> None:
    """Opens every checkpoint's tokenizer and all data once, so that what is not there is told before the first cell.

    The tokenizer also reads the data, for some tokenizers cannot read everything.
    """
    seen: set[str] = set()
    for arm in (cell.arm for cell in cells):
        model, task = (canonical(spec) for spec in (arm.model_spec, arm.task_spec))
        if model not in seen:
            with arm.blaming("model"):
                arm.model_spec.tokenizer()
        if task not in seen:
            with arm.blaming("task"):
                arm.task_spec.build()
        if model + task not in seen:
            with arm.blaming("task"):
                mean_work(arm.model_spec, arm.task_spec, arm.training.batch_size)
        seen |= {model, task, model + task}


def check_writable(results: Path) -> None:
    """Writes to the folder, or to the nearest one above it that exists, and takes it back: permissions alone say little
    (root may do anything, and a disk can be mounted read-only or be full)."""
    folder = results
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"--results {results}: {folder} cannot be written to ({error.strerror})") from error


def _check_records(cells: Iterable[Cell], store: Store) -> None:
    """Reads all records of the suite and what panels found. Raises UserError, naming each that cannot be read: it is
    neither counted as done nor written over."""
    damaged: dict[str, None] = {}

    def look(read: Callable[[], Any]) -> None:
        try:
            read()
        except UserError as error:
            damaged[str(error)] = None

    for cell in cells:
        key = cell.key
        look(lambda key=key: store.check_place(key))  # type: ignore[misc]
        look(lambda key=key: store.record(key))  # type: ignore[misc]
        for panel in cell.panels:
            look(lambda key=key, panel=panel: store.panel(key, panel_key(panel)))  # type: ignore[misc]
    if damaged:
        shown = list(damaged)[:SHOWN_DAMAGED]
        more = [f"and {len(damaged) - len(shown)} more"] if len(damaged) > len(shown) else []
        raise UserError("\n".join([*shown, *more, "nothing was run"]))
