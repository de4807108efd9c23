"""How a batch is cut into parts: examples of similar length together, so that little is padded.

Which examples make up a step decides the path of the optimizer and is never touched. How they are cut into parts
decides nothing but time and rounding: the loss is the mean over the supervised positions of the whole batch. (With
dropout, the parts draw their masks one after another, and the cut decides which masks those are.) Padded, a part of B
examples costs B times what its longest does; cut finely, each part costs its own overhead. Taken are the cuts of the
least total by this model of the cost, found exactly:

    cost(part) = per_part + B (per_token T + per_pair T^2)      T: tokens of its longest example

No padding at all, all examples end to end in one row under a block-diagonal mask, is no way out without a kernel for
it: attention with a mask works through all pairs of the row. A Llama of 4.7 million hidden parameters, 16 examples of
118 to 308 tokens, forward and backward on one CPU thread: one padded part 1.94 s, four parts by length 1.23 s, one row
2.85 s, four such rows by length 1.56 s.

Legend: B examples, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from optbench.models.dimensions import Dimensions
from optbench.tasks.base import Prepared

if TYPE_CHECKING:
    from optbench.oracle import Batch

PER_LAYER, PER_PARAMETER = 1e8, 40.0
"""Overhead of a part in operations that a CPU thread does in the same time: for each layer (calls, forward and
backward; about 1 ms) and for each parameter (adding the gradients of the part to those before). Llamas of 0.1, 4.7 and
14 million hidden parameters in 2, 6 and 8 layers took 3, 3 to 14, and 19 ms more for each further part, on a thread
that does 93e9 operations per second."""
FASTER = 1000.0
"""By how much a GPU does more operations than a CPU thread while the host makes the calls of one layer, or while its
memory adds up gradients. An assumption (1e14 operations per second, calls as slow as on a CPU), not a measurement: too
large, and batches are padded more than they need be; too small, and a GPU waits for its host."""
SMALLEST = 1_000_000
"""Hidden parameters below which batches are never regrouped: such a model takes milliseconds for a step, most of them
overhead, and its numbers stay what they are bit for bit."""


@dataclass(frozen=True)
class PartCost:
    """What a part costs, in operations of a forward and a backward pass: see the module's docstring."""

    per_token: float
    per_pair: float
    per_part: float

    def of(self, longest: np.ndarray, examples: np.ndarray) -> np.ndarray:
        """The cost of parts with so many examples, padded to these lengths."""
        cost: np.ndarray = self.per_part + examples * longest * (self.per_token + self.per_pair * longest)
        return cost


def part_cost(dimensions: Dimensions, device: str) -> PartCost | None:
    """The cost for a model of these sizes on a device; None where regrouping is not for it: see `SMALLEST`."""
    if dimensions.hidden_parameters < SMALLEST:
        return None
    per_part = PER_LAYER * dimensions.layers + PER_PARAMETER * dimensions.matrix_parameters
    return PartCost(
        per_token=3.0 * dimensions.body_forward_flops(tokens=1.0, pairs=0.0),
        per_pair=3.0 * dimensions.body_forward_flops(tokens=0.0, pairs=1.0),
        per_part=per_part if device.startswith("cpu") else FASTER * per_part,
    )


def groups(lengths: np.ndarray, cost: PartCost, *, micro_batch: int) -> list[np.ndarray]:
    """Which of the examples go together, at most `micro_batch` of them: indices into `lengths`, the largest part first.

    By padded tokens: the first part then takes the most memory, and whatever follows fits into it. Inside a part the
    examples keep the order in which they were given. The cheapest cuts of the sorted lengths, by dynamic programming in
    B^2 steps:

        best(j) = min over i of best(i) + cost(the i-th to j-th shortest)
    """
    count = len(lengths)
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order].astype(np.float64)
    best = np.zeros(count + 1)
    begins = np.zeros(count + 1, dtype=np.int64)
    for end in range(1, count + 1):
        starts = np.arange(max(0, end - micro_batch), end)
        totals = best[starts] + cost.of(ordered[end - 1], end - starts)
        chosen = int(totals.argmin())
        best[end], begins[end] = totals[chosen], starts[chosen]
    found, end = [], count
    while end > 0:
        found.append(np.sort(order[begins[end] : end]))
        end = int(begins[end])
    return sorted(found, key=lambda group: -len(group) * int(lengths[group].max()))


def cut(prepared: Prepared, rows: np.ndarray, cost: PartCost | None, *, micro_batch: int) -> Batch:
    """The batch of the examples at `rows`, in parts of at most `micro_batch`: those that `cost` finds cheapest, or,
    without one, in the order of the rows."""
    if cost is None:
        return prepared.batch(rows, micro_batch=micro_batch)
    return grouped(prepared, rows, cost, micro_batch=micro_batch)


class Cut(Protocol):
    """What cuts batches: `cut`, or what gives a share of them alone."""

    def __call__(self, prepared: Prepared, rows: np.ndarray, cost: PartCost | None, *, micro_batch: int) -> Batch:
        """The batch of the examples at `rows`, or the share."""
        ...


def order(lengths: np.ndarray, cost: PartCost | None, *, micro_batch: int) -> np.ndarray:
    """Where the examples of these lengths come in the parts of `cut`, one part after another: indices into them."""
    if cost is None:
        return np.arange(len(lengths))
    return np.concatenate(groups(lengths, cost, micro_batch=micro_batch))


def grouped(prepared: Prepared, rows: np.ndarray, cost: PartCost, *, micro_batch: int) -> Batch:
    """The batch of the examples at `rows`, in parts of at most `micro_batch` that pad little.

    Its positions do not follow the order of the rows: it is for a step, not for losses of single examples.
    """
    from optbench.oracle import Batch

    chosen = np.asarray(rows, dtype=np.int64)
    pieces = [
        prepared.batch(chosen[group], micro_batch=len(group))
        for group in groups(prepared.lengths[chosen], cost, micro_batch=micro_batch)
    ]
    return Batch(
        [part for piece in pieces for part in piece.parts],
        num_tokens=sum(piece.num_tokens for piece in pieces),
        num_supervised=sum(piece.num_supervised for piece in pieces),
    )
