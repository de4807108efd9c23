"""How the failure of one rank ends all, at once, with one message.

A rank that fails leaves the others waiting in a sum that never comes: gloo notices when the connection breaks, NCCL
after its timeout, which has to be long here. So the first to fail says so in the store that the ranks met in, and a
thread in every rank looks there twice a second. Whoever finds an alarm that is not its own ends its process. The first
rank, with which the store may go, leaves last: a rank that finds no store knows neither the message nor the exit code.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Self, TextIO

from optbench.errors import UserError

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

LOOK_SECONDS = 0.5
FAILED = "optbench/failed"
LEAVES = "optbench/leaves"
LAST_SECONDS = 10.0
"""How long the first rank waits for the others; one that was killed, or sums on a GPU, does not answer."""


class Ended(Exception):
    """The run has to end for the reason given, with this exit code; it is no mistake of the user's."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


INTERRUPTED = "interrupted; the same command again continues"


class Alarm:
    """The alarm of one rank, for a block: an error in it ends the processes of all ranks.

    `connect` opens a connection to the store; the thread needs one of its own.
    """

    def __init__(self, rank: int, size: int, connect: Callable[[], Store], stream: TextIO) -> None:
        """One of `size` ranks. `stream` receives the message, if this rank is the first to fail."""
        self._rank, self._size, self._stream = rank, size, stream
        self._store = connect()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(connect(),), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.fail(error)
        self._ended.set()
        self._thread.join()

    def fail(self, error: BaseException) -> NoReturn:
        """Ends this process and, through them, all others: with one message, of whoever was the first to fail."""
        self._ended.set()
        code, text = told(error)
        who = f"rank {self._rank}: " if self._rank else ""
        mine = {"rank": self._rank, "code": code}
        claimed = self._claim(json.dumps(mine))
        # Where the store is gone, so is the rank that held it. A mistake of the user's is found by all ranks alike, and
        # that one has told it; of anything else this rank's words may be all there are.
        known = claimed is not None or not isinstance(error, UserError)
        claimed = claimed or mine
        if known and claimed["rank"] == self._rank:
            print(who + text, file=self._stream, flush=True)
        self._leave(self._store, claimed["code"])

    def _claim(self, mine: str) -> dict[str, Any] | None:
        """What the first to fail has said: `mine`, or another's; None where the store is gone."""
        try:
            found: dict[str, Any] = json.loads(self._store.compare_set(FAILED, "", mine))
        except RuntimeError:
            return None
        return found

    def _watch(self, store: Store) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                if not store.check([FAILED]):
                    continue
                found = json.loads(store.get(FAILED))
            except RuntimeError:
                found = {"rank": -1, "code": 1}
            if not self._ended.is_set() and found["rank"] != self._rank:
                self._leave(store, found["code"])

    def _leave(self, store: Store, code: int) -> NoReturn:
        try:
            store.set(f"{LEAVES}/{self._rank}", "")
            others = [f"{LEAVES}/{rank}" for rank in range(1, self._size)]
            waited_for = time.monotonic() + LAST_SECONDS
            while self._rank == 0 and time.monotonic() < waited_for and not store.check(others):
                time.sleep(LOOK_SECONDS / 10)
        except RuntimeError:
            pass
        # Not an orderly exit: that would wait for sums which the other ranks will never complete.
        os._exit(code)


def told(error: BaseException) -> tuple[int, str]:
    """The exit code for an error, and what is said of it: a user's mistake in its own words, anything else whole."""
    if isinstance(error, UserError):
        return 2, str(error)
    if isinstance(error, Ended):
        return error.code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return 130, INTERRUPTED
    return 1, "".join(traceback.format_exception(error)).rstrip()


def silence() -> None:
    """Nothing more of what this process prints is seen."""
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")
