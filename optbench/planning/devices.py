"""The devices that a plan can be made for: the one at hand, or one by name from its maker's data sheet."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from optbench.errors import UserError, suggestion
from optbench.profiling.devices import device_name, peak_flops, usable_memory

if TYPE_CHECKING:
    from optbench.suite import Suite

GB, MIB = 1e9, float(1 << 20)
UTILISATION = 0.35
"""The share of the promised rate that is assumed of a GPU. Not measured: trainings with good kernels reach 0.3 to 0.5,
and eager attention of small batches less."""


@dataclass(frozen=True)
class Device:
    """Where cells run. `memory` are bytes that a cell may fill (None: nobody knows), `bandwidth` bytes per second to
    and from memory. `product_name` is what the device calls itself. `nominal` figures come from a data sheet;
    there are `count` such devices."""

    name: str
    kind: Literal["cpu", "cuda"]
    product_name: str
    memory: float | None
    bandwidth: float
    nominal: bool
    at_hand: bool = False
    count: int = 1

    @property
    def is_gpu(self) -> bool:
        """Whether programs wait for it to finish, and its memory is its own."""
        return self.kind == "cuda"

    def rate(self, precision: str) -> float:
        """Operations per second that a training is assumed to reach on this GPU: `UTILISATION` of what is promised. A
        precision that the device has no units for is taken at the rate of float32."""
        promised = peak_flops(self.product_name, precision) or peak_flops(self.product_name, "float32")
        return UTILISATION * (promised or UNKNOWN_RATE)


UNKNOWN_RATE = 20e12
"""Of a GPU that is in no table, dense operations per second."""
CPU_BANDWIDTH = 8e9
"""Bytes per second of one core to and from memory, for work that is done once per parameter."""
NAMED: dict[str, tuple[str, float, float]] = {
    "h100-80gb": ("NVIDIA H100 80GB HBM3", 81559 * MIB, 3350 * GB),
    "h200-141gb": ("NVIDIA H200", 143771 * MIB, 4800 * GB),
    "a100-80gb": ("NVIDIA A100-SXM4-80GB", 81920 * MIB, 2039 * GB),
    "a100-40gb": ("NVIDIA A100-SXM4-40GB", 40960 * MIB, 1555 * GB),
    "l40s": ("NVIDIA L40S", 46068 * MIB, 864 * GB),
    "rtx-4090": ("NVIDIA GeForce RTX 4090", 24564 * MIB, 1008 * GB),
    "t4": ("Tesla T4", 15360 * MIB, 300 * GB),
}
"""By short name: how the device calls itself, bytes of memory as its driver reports them (above the decimal number in
the name, and below the binary one where error correction takes its share), and bytes per second from the makers' data
sheets. Rates are in `profiling.devices`. None of it was measured here."""
HERE = "auto"


def device_of(asked: str) -> Device:
    """`auto` is the device that `run` takes here, `cpu` the processor at hand. Raises UserError for an unknown name."""
    if asked == HERE:
        return _gpu_here() or _cpu_here()
    if asked == "cpu":
        return _cpu_here()
    if asked not in NAMED:
        raise UserError(f"--device: no device is named {asked!r}; {suggestion(asked, [HERE, 'cpu', *NAMED])}")
    product, memory, bandwidth = NAMED[asked]
    return Device(asked, "cuda", product, memory, bandwidth, nominal=True)


def _cpu_here() -> Device:
    return Device("cpu", "cpu", device_name("cpu"), _memory_here(), CPU_BANDWIDTH, False, at_hand=True)


def _memory_here() -> float | None:
    """All memory of the machine, or what its container allows: what is free now says little about tonight."""
    found = []
    with suppress(ValueError, OSError, AttributeError):
        found.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    with suppress(ValueError, OSError):
        found.append(float(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))
    free = usable_memory("cpu") if not found else None
    return min(found) if found else (None if free is None else float(free))


def _gpu_here() -> Device | None:
    # torch takes seconds to import, and a machine without the maker's tool has no such device.
    if shutil.which("nvidia-smi") is None:
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    product, memory = torch.cuda.get_device_name(), usable_memory("cuda")
    known = [bandwidth for name, _, bandwidth in NAMED.values() if name == product]
    bandwidth = known[0] if known else 800 * GB
    size, count = None if memory is None else float(memory), torch.cuda.device_count()
    return Device("cuda", "cuda", product, size, bandwidth, True, at_hand=True, count=count)


def workers_on(device: Device, suite: Suite) -> int:
    """How many cells run at a time: one on each GPU, or as many as the suite says."""
    return device.count if device.is_gpu else int(suite.execution.workers)
