"""`run`: the cells that have no record yet, with a line for each that ends."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.commands.tables import duration
from optbench.errors import UserError
from optbench.executors.local import execute
from optbench.store import Store

if TYPE_CHECKING:
    from optbench.executors.local import Event
    from optbench.suite import Suite


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and the words for it."""

    complete: bool
    interrupted: bool
    text: str


def run(suite: Suite, results: Path, *, workers: int) -> Outcome:
    """Runs the suite's missing cells; Ctrl-C ends it early, and loses the running cells alone.

    Raises UserError, before anything is written, where a cell's files or checkpoint are not there.
    """
    start, store, cells = time.monotonic(), Store(results), suite.cells()
    keys = {cell.key for cell in cells}
    _check_writable(results)
    view = _Lines(len(keys), sum(store.has(key) for key in keys))
    try:
        summary = execute(cells, results, workers=workers, threads=suite.execution.threads, on_event=view)
    except KeyboardInterrupt:
        done = sum(store.has(cell.key) for cell in cells)
        text = f"interrupted: {done} of {len(cells)} cells are done; the same command again continues"
        print(text, file=sys.stderr)
        return Outcome(complete=False, interrupted=True, text=text)
    done = sum(store.has(cell.key) for cell in cells)
    took = duration(time.monotonic() - start)
    lines = [f"{done} of {len(cells)} cells have records after {took}; {summary.already} were there before."]
    if done < len(cells):
        lines.append(f"{len(cells) - done} failed; the same command again tries them once more:")
        lines += [f"  {name}: {reason} (log: {log})" for name, (reason, log) in summary.failed.items()]
    return Outcome(complete=done == len(cells), interrupted=False, text="\n".join(lines))


class _Lines:
    """A line on the error stream for each cell that ends, with the time that the rest will take."""

    def __init__(self, total: int, already: int) -> None:
        self._total, self._already, self._ended = total, already, 0
        self._start = time.monotonic()

    def __call__(self, event: Event) -> None:
        if event.kind not in ("done", "failed"):
            return
        said = event.outcome if event.kind == "done" else f"FAILED: {event.reason} (log: {event.log})"
        if event.job.kind == "probe":
            print(f"{event.job.name}: {said}", file=sys.stderr)
            return
        self._ended += 1
        left = self._total - self._already - self._ended
        pace = (time.monotonic() - self._start) / self._ended
        rest = f", {duration(left * pace)} left" if left else ""
        print(f"{self._already + self._ended}/{self._total} {event.job.name}: {said}{rest}", file=sys.stderr)


def _check_writable(results: Path) -> None:
    folder = results
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise UserError(f"--results {results}: {folder} cannot be written to")
