"""What is tried again, where, and how often: a cell that ran out of memory once, one whose worker died a few times."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from optbench.executors.jobs import Job


@dataclass(frozen=True)
class Attempt:
    """A job that is to run, and what happened to it before.

    `deaths`: workers that died over it. `short`: whether it ran out of memory once. `avoid`: the devices where that
    happened. `alone`: whether nothing is to run beside it.
    """

    job: Job
    deaths: int = 0
    short: bool = False
    avoid: frozenset[str] = frozenset()
    alone: bool = False

    def fits(self, device: str, devices: Sequence[str]) -> bool:
        """Whether it may run on `device`: on any but those it avoids, as long as `devices` has another."""
        return device not in self.avoid or self.avoid.issuperset(devices)

    def is_last(self, device: str, devices: Sequence[str]) -> bool:
        """Whether running out of memory on `device`, one of the workers' `devices`, is final: it happened before, or
        there is neither another device nor a neighbour on this one."""
        return self.short or again(self, device, devices, memory=True) == self


def again(attempt: Attempt, device: str, devices: Sequence[str], *, memory: bool) -> Attempt:
    """The next attempt after one failed on `device`, one of the workers' `devices`.

    On another device where there is one. Else, where `memory` is what it lacked or may have lacked and it had
    neighbours, alone. Else once more in the same way.
    """
    if not attempt.avoid.union([device]).issuperset(devices):
        return replace(attempt, avoid=attempt.avoid | {device})
    if memory and len(devices) > 1:
        return replace(attempt, alone=True)
    return attempt


def where(attempt: Attempt, before: Attempt) -> str:
    """How an attempt differs from the one `before`, in words."""
    if attempt.avoid != before.avoid:
        return "again on another device"
    if attempt.alone and not before.alone:
        return "again alone, when the others have ended"
    return "again on a fresh worker"


def death(exit_code: int | None) -> dict[str, Any]:
    """The message about a worker that died: its reason, and whether lack of memory may have been the cause."""
    words = "" if exit_code is None else f" (exit code {exit_code}{_signal(exit_code)})"
    return {"event": "died", "reason": f"the worker process died{words}", "memory": exit_code == -signal.SIGKILL}


def _signal(exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return ": killed by signal 9, possibly out of memory"
    known = {-each.value: each.name for each in signal.Signals}
    return f": {known[exit_code]}" if exit_code in known else ""
