"""When the last of several workers is done."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def wall_seconds(probes: Sequence[float], cells: Sequence[float], *, workers: int, startup: float) -> float:
    """Seconds from the start to the last record: probes first, then cells, the longest first, each to the worker that
    is free next; `startup` is what each worker takes before its first job."""
    if not probes and not cells:
        return 0.0
    free = [startup] * max(1, min(workers, len(probes) + len(cells)))
    for seconds in [*probes, *sorted(cells, reverse=True)]:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)
