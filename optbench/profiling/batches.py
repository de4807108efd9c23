"""A batch of random tokens: what a step costs does not depend on what the tokens say.

Legend: B examples, T tokens, N supervised positions.
"""

from __future__ import annotations

import torch

from optbench.oracle import Batch, Part
from optbench.profiling.settings import Settings
from optbench.rng import stream


def synthetic_batch(settings: Settings, vocabulary: int) -> Batch:
    """B x T random token ids, of which the last positions of each example are supervised, as the solutions of
    fine-tuning are; on the device. The same for every optimizer, and at every run with the same seed."""
    count, length, supervised = settings.batch, settings.length, settings.supervised_per_example
    ids = stream(settings.seed, "profile").integers(0, vocabulary, (count, length))
    ids_BT = torch.from_numpy(ids)
    # The output at position t says the token at t + 1.
    first = length - 1 - supervised
    places = torch.arange(first, length - 1)
    positions_N = (torch.arange(count)[:, None] * length + places).flatten()
    targets_N = ids_BT.flatten()[positions_N + 1]
    device = torch.device(settings.device)
    part = Part({"input_ids": ids_BT.to(device)}, positions_N.to(device), targets_N.to(device))
    return Batch([part], num_tokens=count * length, num_supervised=len(positions_N))
