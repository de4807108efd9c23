"""One seed, many independent streams, each with a name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np


def stream_seed(seed: int, name: str, step: int = 0) -> int:
    """A 63-bit seed for the stream `name` at `step`: the head of SHA-256(seed, name, step).

    Streams depend on the seed of the cell and on their name, never on the cell's key: two optimizers at one seed see
    the same initial weights and the same batches.
    """
    digest = hashlib.sha256(f"{seed}/{name}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, name: str, step: int = 0) -> np.random.Generator:
    """A numpy generator for the stream `name` at `step`."""
    return np.random.Generator(np.random.PCG64(stream_seed(seed, name, step)))


def seed_torch(seed: int) -> None:
    """Seeds torch's global generators, from which initialisation and dropout draw."""
    import torch

    torch.manual_seed(seed)


@contextmanager
def seeded_torch(seed: int) -> Iterator[None]:
    """Torch's global generator of the CPU seeded inside the block, and as it was afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class TorchState:
    """The state of torch's global generators, of the CPU and, where `device` is a GPU, of that."""

    device: str

    def state_dict(self) -> dict[str, Any]:
        """The states as tensors of bytes."""
        import torch

        cuda = self.device.startswith("cuda")
        found = {"cpu": torch.get_rng_state()}
        return found | ({"cuda": torch.cuda.get_rng_state(self.device)} if cuda else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next draw is the one that came next then."""
        import torch

        torch.set_rng_state(state["cpu"])
        if self.device.startswith("cuda"):
            torch.cuda.set_rng_state(state["cuda"], self.device)
