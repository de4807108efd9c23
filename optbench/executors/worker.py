"""A worker process: takes jobs from a pipe, one at a time, and says what becomes of them."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optbench.tracking.live import Tracked

REPORT_SECONDS = 0.25
"""Between two words about the progress of a cell."""


def work(connection: Connection, *, results: str, threads: int, device: str, index: int) -> None:
    """The life of a worker. It ends with its pipe: when the main process is gone, so is the reader of its answers."""
    import signal

    # Ctrl-C reaches the whole group of processes; the main process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _serve(connection, Path(results), threads=threads, device=device, index=index)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(0)


def _serve(connection: Connection, results: Path, *, threads: int, device: str, index: int) -> None:
    import torch

    from optbench.executors.jobs import Job

    torch.set_num_threads(threads)
    place = _place(device, index)
    connection.send({"event": "ready"})
    while True:
        message: dict[str, Any] = connection.recv()
        job = Job(**message["job"])
        try:
            outcome = _do(
                job,
                results,
                device=place,
                contended=message["contended"],
                tracked=message["tracked"],
                say=connection.send,
            )
        except BrokenPipeError:
            raise
        except BaseException as error:
            connection.send({"event": "failed", "reason": _reason(error), "trace": traceback.format_exc()})
            if not isinstance(error, Exception):
                raise
        else:
            connection.send({"event": "done", "outcome": outcome})


def _do(
    job: Any, results: Path, *, device: str, contended: bool, tracked: Tracked | None, say: Callable[[Any], None]
) -> str:
    from optbench.executors.jobs import cell_of, panels_of, probe_of_job
    from optbench.runner import run_cell
    from optbench.store import Store

    cell = cell_of(job)
    if job.kind == "probe":
        probe_of_job(job).run(cell.task.build(), results, device=device)
        return "probe"
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= REPORT_SECONDS or done == total:
            last = now
            say({"event": "progress", "done": done, "total": total})

    store, panels = Store(results), panels_of(job)
    if tracked is None:
        return run_cell(cell, store, panels, device=device, contended=contended, progress=progress).outcome
    from optbench.tracking.live import Live

    live = Live(tracked, cell, lambda reason: say({"event": "untracked", "reason": reason}))
    live.begin()
    try:
        made = run_cell(cell, store, panels, device=device, contended=contended, progress=progress, notes=live)
        live.complete(store, panels)
    finally:
        live.close()
    return made.outcome


def _place(device: str, index: int) -> str:
    import torch

    if device != "auto":
        return device
    if torch.cuda.is_available():
        place = f"cuda:{index % torch.cuda.device_count()}"
        torch.cuda.set_device(place)
        return place
    return "cpu"


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
