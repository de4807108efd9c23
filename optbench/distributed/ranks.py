"""The processes that train one cell together; usually there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from optbench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from optbench.cell import CellSpec
    from optbench.oracle import Batch
    from optbench.tasks.base import Prepared
    from optbench.tasks.grouping import PartCost
    from optbench.train import History, OracleOf

T = TypeVar("T")


class Ranks(Protocol):
    """What training asks of the processes that share a cell. `rank` counts from 0, `size` is their number."""

    @property
    def rank(self) -> int:
        """This process."""
        ...

    @property
    def size(self) -> int:
        """All of them."""
        ...

    def check(self, cell: CellSpec) -> None:
        """Raises UserError where so many processes cannot train the cell."""
        ...

    def first(self, make: Callable[[], T]) -> T:
        """What `make` makes, made by the first rank alone before the others: they find in the results folder what it
        has left there."""
        ...

    def cut(self, prepared: Prepared, rows: np.ndarray, cost: PartCost | None, *, micro_batch: int) -> Batch:
        """The share of this rank in the batch of `rows`: see `tasks.grouping.cut`."""
        ...

    def oracle_for(self, cell: CellSpec, history: History) -> OracleOf:
        """What makes the oracles of the cell from such batches; `history` tells the step that each is for."""
        ...

    def compare(self, module: nn.Module, *data: np.ndarray) -> None:
        """Raises UserError unless all ranks hold the same weights, bit for bit, and the same `data`."""
        ...

    def agree(self, module: nn.Module) -> None:
        """Raises UserError unless all ranks hold the same weights, rounding aside."""
        ...

    def provenance(self) -> Mapping[str, Any]:
        """What a record says of them."""
        ...


class Alone:
    """One process."""

    rank = 0
    size = 1

    def check(self, cell: CellSpec) -> None:
        """See `Ranks.check`."""
        check_ranks(cell, self.size)

    def first(self, make: Callable[[], T]) -> T:
        """See `Ranks.first`."""
        return make()

    def cut(self, prepared: Prepared, rows: np.ndarray, cost: PartCost | None, *, micro_batch: int) -> Batch:
        """The whole batch."""
        from optbench.tasks.grouping import cut

        return cut(prepared, rows, cost, micro_batch=micro_batch)

    def oracle_for(self, cell: CellSpec, history: History) -> OracleOf:
        """The oracle itself."""
        from optbench.oracle import Oracle

        return Oracle

    def compare(self, module: nn.Module, *data: np.ndarray) -> None:
        """There is nobody to compare with."""

    def agree(self, module: nn.Module) -> None:
        """There is nobody to agree with."""

    def provenance(self) -> Mapping[str, Any]:
        """Nothing: records of one process are as they always were."""
        return {}


ALONE = Alone()


def check_ranks(cell: CellSpec, size: int) -> None:
    """Raises UserError where `size` processes cannot train the cell."""
    training = cell.training
    if training.shift == "global":
        return
    if training.ranks != size:
        raise UserError(
            f"shift: per_rank is asked for with ranks: {training.ranks}, and this run has {size}: start it as "
            f"torchrun --nproc-per-node {training.ranks} -m optbench run SUITE"
        )
    estimator = cell.optimizer.estimator
    if estimator.kind not in ("plain", "sharpness_aware"):
        raise UserError(f"shift: per_rank is known to sharpness_aware alone, not to {estimator.kind}")
    for name in ("ascent_fraction", "refresh_every"):
        # What a rank would hold between steps, or take of its share, is nothing that a record could say for all ranks.
        if estimator.dump().get(name, 1) != 1:
            raise UserError(f"shift: per_rank goes with {name}: 1 only; take shift: global, or leave {name} out")
