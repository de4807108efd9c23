"""What a run cost: passes, operations, step times, throughput, memory."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from optbench.train import History

WARM_UP = 10
"""Steps at the start that are left out of step times: allocation and caches are not what a step costs."""


def counted(history: History, *, flops: float, state_bytes: int, probe_flops: float) -> dict[str, float]:
    """What is the same in every repetition: passes, operations of training, bytes of optimizer state, the probe's share
    of the training operations, and the worst observed cosine between the shift asked for and the shift made."""
    result = {
        "steps_done": float(len(history.losses)),
        "tokens": float(sum(history.tokens)),
        "passes": float(sum(history.passes)),
        "flops": flops,
        "state_bytes": float(state_bytes),
        "probe_share": probe_flops / flops if flops else 0.0,
    }
    cosines = [notes["shift_cosine"] for _, notes in history.notes if "shift_cosine" in notes]
    finite = [value for value in cosines if math.isfinite(value)]
    if finite:
        result["shift_cosine"] = min(finite)
    return result


def timed(history: History, *, peak_bytes: int) -> dict[str, float]:
    """What was measured: typical and 95th percentile of the step time, tokens per second, peak memory."""
    skip = min(WARM_UP, len(history.seconds) // 4)
    seconds, tokens = np.asarray(history.seconds[skip:]), np.asarray(history.tokens[skip:])
    # Observed steps carry NaN: what is observed there is not part of a step.
    kept = np.isfinite(seconds)
    result = {"peak_bytes": float(peak_bytes)}
    if kept.any():
        typical = _typical(seconds[kept], np.asarray(history.passes[skip:])[kept], np.asarray(history.passes))
        result["step_seconds"] = typical
        result["step_seconds_p95"] = max(typical, float(np.percentile(seconds[kept], 95)))
        result["tokens_per_second"] = float(tokens[kept].sum() / seconds[kept].sum())
        result["train_seconds"] = typical * len(history.seconds)
    return result


def _typical(seconds: np.ndarray, passes: np.ndarray, of_all: np.ndarray) -> float:
    """The median of the steps; where they make different numbers of passes (`passes` of these steps, `of_all` of every
    step), the medians of each kind, weighted by how many there are of it.

    An optimizer that asks for more at every tenth step has a median that never sees it.
    """
    kinds, counts = np.unique(of_all.round(2), return_counts=True)
    own = [seconds[passes.round(2) == kind] for kind in kinds]
    if any(len(each) == 0 for each in own):
        return float(np.median(seconds))
    return float(np.average([np.median(each) for each in own], weights=counts))


def reset_peak(device: str) -> None:
    """Starts a new measurement of peak memory, where the platform can."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        with suppress(OSError, AttributeError):
            # What the allocator keeps of earlier work in this process is not what comes now.
            ctypes.CDLL(None).malloc_trim(0)
        try:
            clear.write_text("5")
        except OSError:
            return  # Not permitted in some containers: the peak is then that of the whole process so far.


def peak_bytes(device: str) -> int:
    """The peak since `reset_peak`: device memory on a GPU, else resident memory of the whole process."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.exists():
        lines: Sequence[str] = status.read_text().splitlines()
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
