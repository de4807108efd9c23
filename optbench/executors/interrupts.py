"""Starting processes that Ctrl-C does not end in their first moments."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def interrupts_held() -> Iterator[None]:
    """A process that is started inside has Ctrl-C held back until it decides what to do with it.

    The signal reaches the whole group of processes, and would end a new one with a traceback before its first line.
    """
    # Starting the tracker would let the signal through again.
    resource_tracker.ensure_running()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
