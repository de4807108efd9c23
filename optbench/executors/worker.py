"""A worker process: takes jobs from a pipe, one at a time, and says what becomes of them."""

from __future__ import annotations

import errno
import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.errors import is_out_of_memory
from optbench.executors.jobs import Job, cell_of, panels_of, probe_of_job
from optbench.store import Record, Store

if TYPE_CHECKING:
    from optbench.tracking.live import Tracked

REPORT_SECONDS = 0.25
"""Between two words about the progress of a cell."""
OUT_OF_MEMORY = "out_of_memory"
Say = Callable[[dict[str, Any]], None]


def work(connection: Connection, *, results: str, threads: int, device: str, checkpoint_minutes: float) -> None:
    """The life of a worker, on one device. It ends with its pipe, or at once when the main process is gone."""
    import signal

    # Ctrl-C reaches the whole group of processes; the main process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # The main process held it back until here.
    _end_with_parent()
    try:
        _serve(connection, Path(results), threads=threads, device=device, checkpoint_minutes=checkpoint_minutes)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(0)


def _end_with_parent() -> None:
    """Has this process end as soon as its parent has, though it may be deep in a cell: the next run may begin the same
    one, and two must not go on from one checkpoint."""
    parent = parent_process()
    assert parent is not None, "a worker is started by the main process"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _serve(connection: Connection, results: Path, *, threads: int, device: str, checkpoint_minutes: float) -> None:
    try:
        import torch

        torch.set_num_threads(threads)
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
    except (ImportError, OSError, RuntimeError) as error:
        connection.send({"event": "broken", "reason": f"a worker could not start: {_reason(error)}"})
        return
    connection.send({"event": "ready"})
    while True:
        message: dict[str, Any] = connection.recv()
        job = Job(**message.pop("job"))
        try:
            answer = attempted(
                job, results, device=device, say=connection.send, checkpoint_minutes=checkpoint_minutes, **message
            )
        except BrokenPipeError:
            raise
        except BaseException as error:
            connection.send({"event": "failed", "reason": _reason(error), "trace": traceback.format_exc()})
            if not isinstance(error, Exception):
                raise
        else:
            connection.send(answer)


def attempted(
    job: Job,
    results: Path,
    *,
    device: str,
    contended: bool,
    last: bool,
    tracked: Tracked | None,
    say: Say,
    checkpoint_minutes: float,
) -> dict[str, Any]:
    """Does the job and returns the message about its end: `done` with its outcome or, unless this is the `last`
    attempt, `memory` with a reason where there was not enough. Raises whatever else keeps it from being done."""
    import torch

    try:
        store = Store(results) if last else _Provisional(results)
        how = {"device": device, "contended": contended, "checkpoint_minutes": checkpoint_minutes}
        outcome, reason = _do(job, store, how, tracked=tracked, say=say)
    except (RuntimeError, MemoryError) as error:
        if last or not is_out_of_memory(error):
            raise
        outcome, reason = OUT_OF_MEMORY, _reason(error)
    if outcome == OUT_OF_MEMORY:
        gc.collect()
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
        if not last and not store.has(job.key):
            return {"event": "memory", "reason": f"out of memory on {device} ({reason})"}
    return {"event": "done", "outcome": outcome}


class _Provisional(Store):
    """Leaves out the record of a cell that ran out of memory: it is tried again before that is a result."""

    def write(self, record: Record, attachments: Callable[[Path], None]) -> Path:
        """Writes any other record."""
        return self.folder(record.key) if record.outcome == OUT_OF_MEMORY else super().write(record, attachments)


def _do(job: Job, store: Store, how: Mapping[str, Any], *, tracked: Tracked | None, say: Say) -> tuple[str, str]:
    """Does the job; its outcome, and the reason that the record gives for it. `how` is what `run_cell` is told."""
    from optbench.runner import run_cell

    cell = cell_of(job)
    if job.kind == "probe":
        minutes = how["checkpoint_minutes"]
        probe_of_job(job).run(cell.task.build(), store.root, device=how["device"], checkpoint_minutes=minutes)
        return "probe", ""
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= REPORT_SECONDS or done == total:
            last = now
            say({"event": "progress", "done": done, "total": total})

    panels = panels_of(job)
    if tracked is None:
        made = run_cell(cell, store, panels, progress=progress, **how)
        return made.outcome, str(made.plan.get("reason", ""))
    from optbench.tracking.live import Live

    live = Live(tracked, cell, lambda reason: say({"event": "untracked", "reason": reason}))
    live.begin()
    try:
        made = run_cell(cell, store, panels, progress=progress, notes=live, **how)
        if store.has(cell.key):
            live.complete(store, panels)
    finally:
        live.close()
    return made.outcome, str(made.plan.get("reason", ""))


_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return f"the results folder cannot be written to: {os.strerror(error.errno)}"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
