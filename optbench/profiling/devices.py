"""The device: its name, its memory, and the rate that its data sheet promises."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.errors import UserError

if TYPE_CHECKING:
    from optbench.optim.specs import OptimizerSpec
    from optbench.profiling.settings import Settings

PEAK_FLOPS: dict[str, dict[str, float]] = {
    r"NVIDIA H100 80GB HBM3|NVIDIA H200": {"bf16": 989e12, "tf32": 494.7e12, "float32": 67e12},
    r"NVIDIA A100-\S+": {"bf16": 312e12, "tf32": 156e12, "float32": 19.5e12},
    r"NVIDIA L40S": {"bf16": 362e12, "tf32": 183e12, "float32": 91.6e12},
    r"NVIDIA L4": {"bf16": 121e12, "tf32": 60e12, "float32": 30.3e12},
    r"NVIDIA GeForce RTX 4090": {"bf16": 165.2e12, "tf32": 82.6e12, "float32": 82.6e12},
    r"NVIDIA GeForce RTX 5090": {"bf16": 209.5e12, "tf32": 104.8e12, "float32": 104.8e12},
    r"NVIDIA B200": {"bf16": 2.25e15},
    r"Tesla T4": {"float32": 8.1e12},
}
"""Dense operations per second by the whole name of a device and the precision of products, from the makers' data sheets
(rates without sparsity). A part of a device (MIG) has another name than the whole, and no entry."""


def peak_flops(device_name: str, precision: str) -> float | None:
    """The promised rate, or None for what is not in the table: no number rather than a wrong one."""
    for pattern, rates in PEAK_FLOPS.items():
        if re.fullmatch(pattern, device_name):
            return rates.get(precision)
    return None


def chosen_device(asked: str) -> str:
    """`auto` resolved. Raises UserError where there is no GPU to be had."""
    import torch

    there = torch.cuda.is_available()
    if asked == "auto":
        return "cuda" if there else "cpu"
    if asked == "cuda" and not there:
        raise UserError("--device cuda: torch sees no CUDA device here; allowed: cpu, auto")
    return asked


def device_name(device: str) -> str:
    """The name of the GPU, or of the processor."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def usable_memory(device: str) -> int | None:
    """Bytes that a profile may fill: of a GPU all that is there, of a machine what is free now, or what its container
    allows; None where nobody knows."""
    if device == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    found = [size for size in (_free(), _container()) if size is not None]
    return min(found) if found else None


def resident_bytes() -> int:
    """Bytes of this process that lie in memory; 0 where the platform does not say."""
    with suppress(OSError, IndexError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def versions() -> dict[str, str]:
    """Of Python and of what a number depends on."""
    packages = ("optbench", "torch", "transformers")
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"  # Run from a checkout, as on a machine that is lent for an hour.
    return found


def _free() -> int | None:
    with suppress(OSError, IndexError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return _free_on_windows()
    with suppress(ValueError, OSError, AttributeError):
        # No word about what is free: all there is, which is a laptop's answer, not a shared server's.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _container() -> int | None:
    """What is left of the limit of a control group, version 2."""
    with suppress(OSError, ValueError):
        folder = Path("/sys/fs/cgroup")
        limit = (folder / "memory.max").read_text(encoding="utf-8").strip()
        if limit != "max":
            return int(limit) - int((folder / "memory.current").read_text(encoding="utf-8"))
    return None


def _free_on_windows() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ("total", "free", "total_page", "free_page", "total_virtual", "free_virtual", "extended")
        ]

    status = Status(length=ctypes.sizeof(Status))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - exists on Windows alone
    return int(status.free) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def conditions_of(
    chosen: Settings, specs: Mapping[str, OptimizerSpec], *, threads: int, usable: int | None
) -> dict[str, Any]:
    """What a profile says of how it was measured."""
    return {
        "device": chosen.device,
        "device_name": device_name(chosen.device),
        "usable_bytes": usable,
        "precision": chosen.precision,
        "threads": threads,
        "tokens": chosen.tokens,
        "batch": chosen.batch,
        "length": chosen.length,
        "supervised": chosen.supervised,
        "positions": chosen.positions,
        "steps": chosen.steps,
        "rounds": chosen.rounds,
        "layers": chosen.layers,
        "step_limit": chosen.step_limit,
        "seed": chosen.seed,
        "optimizers": {name: spec.dump() for name, spec in specs.items()},
        "versions": versions(),
    }
