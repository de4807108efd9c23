"""The order of examples: an endless stream of batches over a plan, the same for every optimizer at one seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optbench.rng import stream


def rows_of_batches(repeats: np.ndarray, batch_size: int, *, seed: int) -> Iterator[np.ndarray]:
    """Row numbers [batch_size] of one batch after the other, for ever: each round holds row i `repeats[i]` times, in an
    order drawn anew, and batches cross the boundaries of rounds."""
    expanded = np.repeat(np.arange(len(repeats)), repeats)
    waiting = np.zeros(0, dtype=np.int64)
    round_number = 0
    while True:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, stream(seed, "order", round_number).permutation(expanded)])
            round_number += 1
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]
