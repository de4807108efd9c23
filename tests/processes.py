"""Other processes, as tests look at them: whether they run, whose children they are, and waiting for what they do."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 300.0
"""Seconds after which what has to happen is taken never to happen, however busy the machine is."""


def is_running(process: int | str) -> bool:
    """Whether the process has not ended. One that has, and that nobody has asked for its exit code, does not run: some
    containers have no process that asks for those of orphans."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):  # The second one where it ends between opening and reading.
        return False


def children_of(process: int) -> list[str]:
    """The processes that the main thread of this one has started and that have not been waited for; none of one that
    has ended."""
    try:
        return Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def until(true: Callable[[], object], what: str = "it") -> None:
    """Waits for something to be true; fails where it never is."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.02)


def killed(process: subprocess.Popen[Any]) -> list[str]:
    """Kills the main process of a run and waits for its workers, which end by themselves; their ids. Until a worker has
    ended, what it was writing is no leftover, and the next run would let it be."""
    workers = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until(lambda: not any(map(is_running, workers)), "the end of the workers")
    return workers
