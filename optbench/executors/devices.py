"""Which device each worker has, and how many workers there are."""

from __future__ import annotations

from collections.abc import Sequence


def visible_gpus() -> int:
    """The CUDA devices that this process may use: CUDA_VISIBLE_DEVICES is respected, and none of them is touched."""
    import torch

    return torch.cuda.device_count()


def worker_count(asked: int | None, said: int, gpus: int) -> int:
    """How many cells run at a time: as many as were asked for on the command line; else, where there are GPUs, one on
    each; else as many as the suite said."""
    if asked is not None:
        return asked
    return gpus or said


def devices_of(workers: int, gpus: int, device: str = "auto") -> list[str]:
    """The device of each of the workers. With `auto` the GPUs in turn, or the CPU where there are none."""
    if device != "auto":
        return [device] * workers
    return [f"cuda:{index % gpus}" if gpus else "cpu" for index in range(workers)]


def has_neighbours(device: str, devices: Sequence[str]) -> bool:
    """Whether several of the workers share this device, so that times on it mean little."""
    return devices.count(device) > 1
