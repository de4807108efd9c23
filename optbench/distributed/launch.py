"""From what torchrun says in the environment to a group of processes, and back to none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from optbench.distributed.alarm import Alarm, silence
from optbench.distributed.group import PATIENCE, Group
from optbench.distributed.ranks import ALONE, Ranks
from optbench.errors import UserError

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

GIVEN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def is_launched(environment: Mapping[str, str]) -> bool:
    """Whether this process is one of several that torchrun has started."""
    return all(name in environment for name in GIVEN) and int(environment["WORLD_SIZE"]) > 1


@contextmanager
def ranks_of_this_run() -> Iterator[tuple[Ranks, str]]:
    """The processes that run a suite together, and the device of this one: see `joined`. Usually there is one, on
    whatever device its executor takes (`auto`)."""
    if not is_launched(os.environ):
        yield ALONE, "auto"
        return
    with joined() as found:
        yield found


@contextmanager
def joined() -> Iterator[tuple[Group, str]]:
    """The group of the processes that torchrun has started, and the device of this one: the GPU of its number, or the
    CPU where there is none.

    Only the first rank is heard, from now on. An error on any rank inside ends the processes of all: with one message,
    and exit code 2 for a user's mistake, 130 for Ctrl-C, else 1.
    """
    import torch
    import torch.distributed as dist

    rank, heard = int(os.environ["RANK"]), sys.stderr
    if rank > 0:
        silence()
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    with Alarm(rank, dist.get_world_size(), _connect, heard):
        group = Group()
        yield group, _device()
        group.meet()
    dist.destroy_process_group()


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= count:
        raise UserError(
            f"process {local + 1} on this machine finds no GPU of its own, for {count} are visible: start torchrun "
            f"with --nproc-per-node {count}"
        )
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def _connect() -> Store:
    """A further connection to the store in which the ranks have met. Words of an earlier attempt, which torchrun may
    have repeated, are not these."""
    import torch.distributed as dist

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False)  # type: ignore[attr-defined]
    return dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)  # type: ignore[attr-defined]
