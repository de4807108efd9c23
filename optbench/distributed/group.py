"""The group of processes that torchrun has started: what they add up, compare and tell one another."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from optbench.distributed.ranks import check_ranks
from optbench.errors import UserError
from optbench.rng import seed_torch, stream_seed

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from optbench.cell import CellSpec
    from optbench.oracle import Batch, Differentiable, Losses, Oracle
    from optbench.tasks.base import Prepared
    from optbench.tasks.grouping import PartCost
    from optbench.train import History, OracleOf

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""For the others: a rank may be looking at panels, answering questions or running a probe. That one has failed is not
told by a time but by the alarm (`optbench.distributed.alarm`)."""
DRIFT = 1e-4
"""Relative difference between the weights of two ranks that is no rounding any more."""
BUCKET = 64 << 20
"""Bytes that are added up at once: so many that the price of a message does not matter, and few beside a model."""


class Group:
    """The ranks of torch's default process group: see `Ranks`.

    Numbers travel over its own backend, NCCL between GPUs; words over gloo, where waiting costs nothing.
    """

    def __init__(self) -> None:
        import torch.distributed as dist

        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._words = dist.new_group(backend="gloo", timeout=PATIENCE)

    def check(self, cell: CellSpec) -> None:
        """See `Ranks.check`."""
        check_ranks(cell, self.size)

    def first(self, make: Callable[[], T]) -> T:
        """See `Ranks.first`."""
        if self.rank > 0:
            self.meet()
            return make()
        made = make()
        self.meet()
        return made

    def cut(self, prepared: Prepared, rows: np.ndarray, cost: PartCost | None, *, micro_batch: int) -> Batch:
        """See `Ranks.cut`."""
        from optbench.distributed.sharing import shared_cut

        return shared_cut(prepared, rows, cost, micro_batch=micro_batch, rank=self.rank, ranks=self.size)

    def oracle_for(self, cell: CellSpec, history: History) -> OracleOf:
        """See `Ranks.oracle_for`. Dropout draws other masks than those of one process, on each rank its own, from a
        stream for each step, so that a run that is resumed draws the same ones."""
        from optbench.distributed.oracle import SharedOracle
        from optbench.distributed.sharing import SharedBatch

        def oracle_of(model: Differentiable, losses: Losses, batch: Batch) -> Oracle:
            seed_torch(stream_seed(cell.seed, f"dropout/rank {self.rank}", history.steps))
            assert isinstance(batch, SharedBatch), "a batch of several ranks is cut by them"
            return SharedOracle(model, losses, batch, self, own_ascents=cell.training.shift == "per_rank")

        return oracle_of

    def compare(self, module: nn.Module, *data: np.ndarray) -> None:
        """See `Ranks.compare`. By SHA-256, a few seconds for a billion parameters."""
        import torch

        digest = hashlib.sha256()
        for array in data:
            digest.update(array.tobytes())
        for name, p in module.named_parameters():
            digest.update(name.encode())
            digest.update(p.detach().reshape(-1).view(torch.uint8).cpu().numpy().data)
        found = self.gathered(digest.hexdigest())
        others = [str(rank) for rank, theirs in enumerate(found) if theirs != found[0]]
        if others:
            raise UserError(
                f"the weights or data of rank {', '.join(others)} are not those of rank 0, so that they cannot train "
                "one model: all machines need the same checkpoint, data, device and versions"
            )

    def agree(self, module: nn.Module) -> None:
        """See `Ranks.agree`. By sum and norm of each tensor, relative to its norm."""
        import torch

        with torch.no_grad():
            mine = [
                [float(p.sum(dtype=torch.float64)), float(torch.linalg.vector_norm(p, dtype=torch.float64))]
                for p in module.parameters()
            ]
        first, *others = self.gathered(mine)
        for rank, theirs in enumerate(others, start=1):
            for (sum_0, norm_0), (sum_r, norm_r) in zip(first, theirs, strict=True):
                if max(abs(sum_0 - sum_r), abs(norm_0 - norm_r)) > DRIFT * norm_0:
                    raise UserError(
                        f"the weights of rank {rank} have drifted away from those of rank 0: all ranks make the same "
                        "update of the same gradient, and an optimizer that draws random numbers of its own does not"
                    )

    def provenance(self) -> Mapping[str, Any]:
        """Their number."""
        return {"ranks": self.size}

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Puts the sum over all ranks in the place of each tensor, all of which have memory of their own. Every rank
        calls it with the same shapes. The sum is the same on every rank, bit for bit."""
        import torch
        import torch.distributed as dist

        for bucket in _buckets(tensors):
            if len(bucket) == 1 and bucket[0].is_contiguous():
                dist.all_reduce(bucket[0])
                continue
            flat = torch.cat([t.reshape(-1) for t in bucket])
            dist.all_reduce(flat)
            ends = itertools.accumulate(t.numel() for t in bucket)
            sums = [flat[end - t.numel() : end].view_as(t) for end, t in zip(ends, bucket, strict=True)]
            torch._foreach_copy_(bucket, sums)

    def agreed(self, value: Any) -> Any:
        """The JSON data that the first rank has; what the others give is not looked at."""
        return self.gathered(value if self.rank == 0 else None)[0]

    def gathered(self, value: Any) -> list[Any]:
        """The JSON data of all ranks, by rank."""
        import torch
        import torch.distributed as dist

        mine = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(mine)]), group=self._words)
        longest = int(max(sizes))
        padded = torch.cat([mine, mine.new_zeros(longest - len(mine))])
        found = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(found, padded, group=self._words)
        return [json.loads(bytes(theirs[: int(size)].numpy())) for theirs, size in zip(found, sizes, strict=True)]

    def meet(self) -> None:
        """Returns when all ranks have come here."""
        self.gathered(None)


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """The tensors in their order, in pieces of one type and of at most `BUCKET` bytes, or of one tensor."""
    found: list[list[Tensor]] = []
    room = 0
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if not found or size > room or found[-1][0].dtype != tensor.dtype:
            found.append([])
            room = BUCKET
        found[-1].append(tensor)
        room -= size
    return found
