"""Which examples of a batch a rank has, and the batch that it then sees.

The loss is the mean over the supervised positions of the whole batch. A rank has some of its examples and all of its
counts, so that what it evaluates is its summand of that mean, and of its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optbench.oracle import Batch, Part, every, of_rows
from optbench.tasks.base import Prepared
from optbench.tasks.grouping import PartCost, cut, order


def share(lengths: np.ndarray, rank: int, ranks: int) -> np.ndarray:
    """The examples of `rank`, indices into `lengths` in ascending order; none where there are too few.

    Dealt like cards, the longest first and every other round backwards: all ranks wait for the slowest, so that each
    gets about as many tokens as the others, and of every length. The numbers of examples differ by one at most.
    """
    longest_first = np.argsort(-lengths, kind="stable")
    rounds, seats = np.divmod(np.arange(len(lengths)), ranks)
    return np.sort(longest_first[np.where(rounds % 2 == 0, seats, ranks - 1 - seats) == rank])


@dataclass(frozen=True)
class SharedBatch(Batch):
    """A rank's share of a batch: `parts` hold its own examples, all counts are those of the whole batch.

    `places` says for each of its examples, one part after another, where one process alone would have it in its parts;
    `supervised` are the supervised positions of all examples in that order. Both are what a fraction of the batch is
    chosen by, so that it is the one that a single process would choose.
    """

    places: np.ndarray
    supervised: np.ndarray

    def fraction(self, fraction: float) -> SharedBatch:
        """The share of the fraction of the batch that `Oracle.of_fraction` takes."""
        chosen = np.array(every(fraction, len(self.supervised)))
        parts, places, start = [], [], 0
        for part in self.parts:
            size = _examples(part)
            here = self.places[start : start + size]
            rows = np.flatnonzero(np.isin(here, chosen))
            start += size
            if len(rows):
                parts.append(of_rows(part, rows.tolist(), size))
                places.append(np.searchsorted(chosen, here[rows]))
        supervised = self.supervised[chosen]
        return SharedBatch(
            parts,
            num_tokens=self.num_tokens * len(chosen) // len(self.supervised),
            num_supervised=int(supervised.sum()),
            places=_joined(places),
            supervised=supervised,
        )


def shared_cut(
    prepared: Prepared, rows: np.ndarray, cost: PartCost | None, *, micro_batch: int, rank: int, ranks: int
) -> SharedBatch:
    """The share that `rank` has of the batch of `rows`, in parts as `grouping.cut` makes them of its own examples."""
    chosen = np.asarray(rows, dtype=np.int64)
    lengths, supervised = prepared.lengths[chosen], prepared.supervised[chosen]
    own = share(lengths, rank, ranks)
    alone = order(lengths, cost, micro_batch=micro_batch)
    place_of = np.empty_like(alone)
    place_of[alone] = np.arange(len(alone))
    parts: Sequence[Part] = ()
    places = own
    if len(own):
        parts = cut(prepared, chosen[own], cost, micro_batch=micro_batch).parts
        places = place_of[own[order(lengths[own], cost, micro_batch=micro_batch)]]
    return SharedBatch(
        parts,
        num_tokens=int(lengths.sum()),
        num_supervised=int(supervised.sum()),
        places=places,
        supervised=supervised[alone],
    )


def _examples(part: Part) -> int:
    return len(next(iter(part.inputs.values())))


def _joined(pieces: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int64)
