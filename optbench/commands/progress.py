"""What a run shows while it runs: live bars on a terminal, a line for each cell that ends elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from optbench.commands.tables import duration
from optbench.executors.events import failure

if TYPE_CHECKING:
    from optbench.executors.events import Event

View = Callable[["Event"], None]


@contextmanager
def progress(total: int, already: int) -> Iterator[View]:
    """A view of `total` cells, `already` of which have records. Everything goes to the error stream."""
    if sys.stderr.isatty():
        with _bars(total, already) as view:
            yield view
    else:
        yield _Lines(total, already)


class _Lines:
    """A line for each cell that ends, with the time that the rest will take at the pace so far."""

    def __init__(self, total: int, already: int) -> None:
        self._total, self._already, self._ended = total, already, 0
        self._start = time.monotonic()

    def __call__(self, event: Event) -> None:
        if aside := _aside(event):
            print(aside, file=sys.stderr)
        said = _said(event)
        if not said:
            return
        if event.job.kind == "probe":
            print(f"{event.job.name}: {said}", file=sys.stderr)
            return
        self._ended += 1
        left = self._total - self._already - self._ended
        pace = (time.monotonic() - self._start) / self._ended
        rest = f", about {duration(left * pace)} left" if left else ""
        print(f"{self._already + self._ended}/{self._total} {event.job.name}: {said}{rest}", file=sys.stderr)


@contextmanager
def _bars(total: int, already: int) -> Iterator[View]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    start, ended = time.monotonic(), 0
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TextColumn("{task.fields[rest]}"), console=Console(stderr=True), transient=True) as bars:
        whole = bars.add_task("cells", total=total, completed=already, rest="")
        running = {}

        def view(event: Event) -> None:
            nonlocal ended
            key = event.job.key
            if event.kind == "started":
                running[key] = bars.add_task(escape(event.job.name), total=event.job.steps or None, rest="steps")
            elif event.kind == "progress":
                bars.update(running[key], completed=event.done, total=event.total)
            if aside := _aside(event):
                bars.console.print(escape(aside))
            said = _said(event)
            if key in running and (said or event.kind == "retried"):
                bars.remove_task(running.pop(key))
            if not said:
                return
            if event.kind == "failed" or event.outcome in ("diverged", "out_of_memory"):
                bars.console.print(f"{escape(event.job.name)}: {escape(said)}")
            if event.job.kind != "probe":
                ended += 1
                left = total - already - ended
                pace = (time.monotonic() - start) / ended
                bars.update(whole, advance=1, rest=f"about {duration(left * pace)} left" if left else "")

        yield view


def _aside(event: Event) -> str:
    """What is worth a line though the job goes on."""
    if event.kind == "retried":
        return f"{event.job.name}: {event.reason}"
    if event.kind == "waiting":
        return f"nothing is left but {event.total} that another run into this folder has begun; waiting for it"
    return ""


def _said(event: Event) -> str:
    """How the job ended; empty while it goes on."""
    if event.kind == "failed":
        return f"FAILED: {failure(event.reason, event.log)}"
    if event.kind not in ("done", "shared"):
        return ""
    by = " (by another run into this folder)" if event.kind == "shared" else ""
    if event.job.kind == "panels":
        return f"panels added, the record stays as it is{by}"
    return ("done" if event.job.kind == "probe" else event.outcome) + by
