"""`run`: the cells that have no record yet, with a line for each that ends."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.commands.progress import progress
from optbench.commands.tables import duration
from optbench.cost import mean_work
from optbench.errors import UserError
from optbench.executors.local import execute
from optbench.spec import canonical
from optbench.store import Store

if TYPE_CHECKING:
    from optbench.commands.wandb import Tracking
    from optbench.suite import Cell, Suite


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and the words for it."""

    complete: bool
    interrupted: bool
    text: str


def run(suite: Suite, results: Path, *, workers: int, tracking: Tracking | None = None) -> Outcome:
    """Runs the suite's missing cells; Ctrl-C ends it early, and loses the running cells alone.

    With `tracking` the cells are shown to W&B while they train, and in the end what is not there yet is pushed. Raises
    UserError, before anything is written, for a checkpoint or data that cannot be had.
    """
    start, store, cells = time.monotonic(), Store(results), suite.cells()
    runs = {cell.key: cell for cell in cells}.values()
    _check_writable(results)
    _check_inputs([cell for cell in runs if not cell.is_done(store)])
    try:
        with progress(len(runs), sum(cell.is_done(store) for cell in runs)) as view:
            ran = execute if tracking is None else partial(execute, tracked=tracking.cells())
            on_event = view if tracking is None else tracking.watching(view)
            summary = ran(cells, results, workers=workers, threads=suite.execution.threads, on_event=on_event)
    except KeyboardInterrupt:
        done = sum(cell.is_done(store) for cell in cells)
        text = f"interrupted: {done} of {len(cells)} cells are done; the same command again continues"
        return Outcome(complete=False, interrupted=True, text=text)
    done = sum(cell.is_done(store) for cell in cells)
    took = duration(time.monotonic() - start)
    panels = " and all panels" if suite.panels else ""
    lines = [f"{done} of {len(cells)} cells have records{panels} after {took}; {summary.already} were there before."]
    if done < len(cells):
        lines.append(f"{len(cells) - done} failed; the same command again tries them once more:")
        lines += [f"  {name}: {reason} (log: {log})" for name, (reason, log) in summary.failed.items()]
    if tracking is not None:
        lines += tracking.finish(store)
    return Outcome(complete=done == len(cells), interrupted=False, text="\n".join(lines))


def _check_inputs(cells: Sequence[Cell]) -> None:
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


def _check_writable(results: Path) -> None:
    folder = results
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise UserError(f"--results {results}: {folder} cannot be written to")
