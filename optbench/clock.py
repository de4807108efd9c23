"""What times the steps: the host's clock, and on a GPU marks in its stream, read later so that the host need not wait.

A GPU works through its stream behind the host. To stop the clock by waiting for it would let it run dry twice per step;
events recorded around the step cost the host microseconds, and their distance is the time the device spent between
them, waiting for launches included.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import torch


class Clock(Protocol):
    """Times spans, one after another."""

    def start(self) -> None:
        """A span begins."""
        ...

    def stop(self) -> None:
        """It ends."""
        ...

    def read(self) -> list[float]:
        """Seconds of each span since the last reading, in order; may wait for the device."""
        ...


class HostClock:
    """Wall time, for work that is done when the call returns."""

    def __init__(self) -> None:
        self._started = 0.0
        self._spans: list[float] = []

    def start(self) -> None:
        """See `Clock.start`."""
        self._started = time.perf_counter()

    def stop(self) -> None:
        """See `Clock.stop`."""
        self._spans.append(time.perf_counter() - self._started)

    def read(self) -> list[float]:
        """See `Clock.read`; there is nothing to wait for."""
        found, self._spans = self._spans, []
        return found


class Event(Protocol):
    """A mark in the stream of a device, as torch.cuda.Event with timing is one."""

    def synchronize(self) -> None:
        """Waits until the device has passed the mark."""
        ...

    def elapsed_time(self, end: Self, /) -> float:
        """Milliseconds from this mark to `end`; the device must have passed both."""
        ...


class EventClock:
    """The device's own time. Only `read` waits for it, and once: for the last mark, which all others precede."""

    def __init__(self, mark: Callable[[], Event]) -> None:
        """`mark` puts an event into the stream of the device, and returns it."""
        self._mark = mark
        self._starts: list[Event] = []
        self._ends: list[Event] = []

    def start(self) -> None:
        """See `Clock.start`."""
        self._starts.append(self._mark())

    def stop(self) -> None:
        """See `Clock.stop`."""
        self._ends.append(self._mark())

    def read(self) -> list[float]:
        """See `Clock.read`."""
        if not self._ends:
            return []
        self._ends[-1].synchronize()
        found = [start.elapsed_time(end) / 1e3 for start, end in zip(self._starts, self._ends, strict=True)]
        self._starts, self._ends = [], []
        return found


def clock_of(device: torch.device) -> Clock:
    """The clock for work on `device`."""
    if device.type != "cuda":
        return HostClock()
    import torch

    def mark() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        return event

    return EventClock(mark)
