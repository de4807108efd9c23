"""Stored records to W&B: one run per cell and one for the report, each once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from optbench.tracking.board import board_mark, board_of
from optbench.tracking.boundary import Boundary
from optbench.tracking.content import Content, content_of
from optbench.tracking.labels import Labels, labels_of, runs_of, summary_labels
from optbench.tracking.ledger import Ledger

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Suite
    from optbench.tracking.target import Target


@dataclass
class Pushed:
    """How many runs were written, how many were there with the same content, how many of both are cells and whether
    the summary is among them, and how many cells have no record. `failed` says that not all was written."""

    written: int = 0
    same: int = 0
    cells: int = 0
    summary: bool = False
    missing: int = 0
    failed: bool = False

    def count(self, outcome: str) -> bool:
        """Counts a run by what `_Writer.write` said; whether it is there."""
        self.written += outcome == "written"
        self.same += outcome == "same"
        return bool(outcome)


def push(
    suite: Suite,
    store: Store,
    target: Target,
    *,
    whole: bool,
    say: Callable[[str], None],
    on_run: Callable[[str], None],
) -> Pushed:
    """Writes a run for each recorded cell of the suite and, for a `whole` suite, one for its report; runs that are
    there with the same content stay as they are.

    `say` is told the first failure, with which the push ends; `on_run` the name of each run before it is written.
    Raises UserError for damaged records.
    """
    pushed, done = Pushed(), dict[str, str]()
    with ExitStack() as stack:
        writer = _Writer(target, Boundary(say), on_run, stack)
        for key, cell in runs_of(suite).items():
            record = store.record(key)
            if record is None:
                pushed.missing += 1
                continue
            labels = labels_of(suite, cell)
            content = content_of(record, store, cell.panels, labels)
            done[key] = content.fingerprint(labels)
            pushed.cells += pushed.count(writer.write(labels, done[key], partial(_itself, content)))
        if done and whole:
            from optbench.reports.leaderboard import report_of

            report = report_of(suite, store)
            mark = board_mark(report, done)
            outcome = writer.write(summary_labels(suite), mark, lambda: board_of(suite, store, report))
            pushed.summary = pushed.count(outcome)
        pushed.failed = writer.boundary.failed
    return pushed


def _itself(content: Content) -> Content:
    return content


class _Writer:
    """Writes runs one after another; the service of wandb is started with the first, and ended with `stack`."""

    def __init__(self, target: Target, boundary: Boundary, on_run: Callable[[str], None], stack: ExitStack) -> None:
        self.target, self.boundary = target, boundary
        self._ledger, self._on_run, self._stack = Ledger(target), on_run, stack
        self._started = False

    def write(self, labels: Labels, mark: str, make: Callable[[], Content]) -> str:
        """Says `written`, `same`, or nothing where it failed. `mark` is what the content, made where it is needed, is
        known by."""
        if self._ledger.has(labels, mark):
            return "same"
        if self.boundary.failed:
            return ""
        self._on_run(labels.name)
        content = make()
        self.boundary.attempt(lambda: self._write(labels, mark, content))
        return "" if self.boundary.failed else "written"

    def _write(self, labels: Labels, mark: str, content: Content) -> None:
        from optbench.tracking.session import Session, close_service

        if not self._started:
            self._started = True
            self._stack.callback(lambda: self.boundary.cleanup(close_service))
        uploaded = self._ledger.clear(labels)
        session = Session(self.target, labels, content.config, notes=content.notes)
        with ExitStack() as ending:
            ending.callback(lambda: self.boundary.cleanup(session.drop))
            self._ledger.note(labels, folder=session.folder, uploaded=uploaded)
            session.complete(content, logged=len(content.curve) if uploaded else 0)
            self._ledger.note(labels, folder=session.folder, uploaded=uploaded, content=mark)
            ending.pop_all()
