"""`wandb`: the records of a suite as runs of Weights & Biases, and the words about them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.errors import UserError
from optbench.tracking.boundary import Boundary
from optbench.tracking.target import Mode, Target, target_of

if TYPE_CHECKING:
    from optbench.executors.events import Event
    from optbench.store import Store
    from optbench.suite import Suite
    from optbench.tracking.live import Tracked
    from optbench.tracking.push import Pushed


def wandb(suite: Suite, records: Path, mode: Mode, *, whole: bool) -> tuple[str, bool]:
    """Pushes the records at `records`; returns what to say, and whether everything is there. `whole` says that the
    suite was not narrowed: of some arms alone there is no summary, for it would take the place of the whole one.

    Raises UserError as `target_of` does, for damaged records, and where the suite has no record.
    """
    from optbench.archive import open_store

    store = open_store(records)
    if not any(store.has(cell.key) for cell in suite.cells()):
        raise UserError(
            f"no records of the suite {suite.name} in {records}: run it first with "
            + suite.asked.run(suite.path, records)
        )
    target = target_of(mode, records, os.environ)
    pushed = _pushed(suite, store, target, whole=whole, failed=_told(suite, records, target))
    return pushed_text(target, pushed, told=True), not pushed.failed


@dataclass
class Tracking:
    """W&B beside the cells of a suite: each as it trains, and in the end whatever is not there yet."""

    suite: Suite
    records: Path
    target: Target
    whole: bool
    failed: bool = False

    def cells(self) -> dict[str, Tracked]:
        """The cells by their keys."""
        from optbench.tracking.labels import labels_of, runs_of
        from optbench.tracking.live import Tracked

        return {key: Tracked(self.target, labels_of(self.suite, cell)) for key, cell in runs_of(self.suite).items()}

    def watching(self, view: Callable[[Event], None]) -> Callable[[Event], None]:
        """The view, with a failure of W&B told on the error stream the first time."""

        def seen(event: Event) -> None:
            if event.kind == "untracked":
                self._fail(event.reason)
            view(event)

        return seen

    def finish(self, store: Store) -> list[str]:
        """Pushes what is not there yet, unless W&B has failed already; the lines to end with. Raises nothing that
        tracking could raise: the records are there."""
        if self.failed:
            return []
        boundary = Boundary(self._fail)
        pushed = boundary.attempt(lambda: _pushed(self.suite, store, self.target, whole=self.whole, failed=self._fail))
        return [] if pushed is None else [pushed_text(self.target, pushed, told=False)]

    def _fail(self, reason: str) -> None:
        if not self.failed:
            self.failed = True
            _told(self.suite, self.records, self.target)(reason)


def tracking_of(suite: Suite, records: Path, mode: Mode, *, whole: bool) -> Tracking:
    """What `run` needs to track. Raises UserError as `target_of` does; nothing is written yet."""
    return Tracking(suite, records, target_of(mode, records, os.environ), whole)


def _pushed(suite: Suite, store: Store, target: Target, *, whole: bool, failed: Callable[[str], None]) -> Pushed:
    """Pushes, with a line on a terminal that says where it is."""
    from optbench.tracking.push import push

    if not sys.stderr.isatty():
        return push(suite, store, target, whole=whole, say=failed, on_run=lambda name: None)
    from rich.console import Console
    from rich.markup import escape

    def show(name: str) -> None:
        status.update(f"Weights & Biases: {escape(name)}")

    with Console(stderr=True).status("Weights & Biases") as status:
        return push(suite, store, target, whole=whole, say=failed, on_run=show)


def _told(suite: Suite, records: Path, target: Target) -> Callable[[str], None]:
    return lambda reason: print(failure_text(reason, suite, records, target), file=sys.stderr)


def pushed_text(target: Target, pushed: Pushed, *, told: bool) -> str:
    """What is there now and how offline runs are uploaded; where it is `told`, also how much of it is new."""
    cells = _counted(pushed.cells, "cell")
    lines = [f"W&B: {cells}{' and the summary' if pushed.summary else ''}{_where(target)}."]
    if told:
        lines[0] += f" {_counted(pushed.written, 'run')} written, {pushed.same} there already with the same content."
    if pushed.missing:
        lines.append(f"{pushed.missing} {'cell has' if pushed.missing == 1 else 'cells have'} no record yet.")
    if target.mode == "offline" and not pushed.failed:
        lines.append(f"Upload with: cd {shlex.quote(str(target.folder))} && wandb sync wandb/offline-run-*")
    return "\n".join(lines)


def failure_text(reason: str, suite: Suite, records: Path, target: Target) -> str:
    """What to say of a failure: that no record suffers, and how to push later."""
    again = suite.asked.command("wandb", suite.path, "--results", str(records), "--wandb", target.mode)
    return f"W&B failed: {reason}. No record is lost; to push them later: {again}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _where(target: Target) -> str:
    if target.mode == "offline":
        return f" in {target.runs}"
    return f" in {target.entity + '/' if target.entity else ''}{target.project} at {target.server}"
