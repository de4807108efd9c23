"""Targets drawn from a model's own distribution, the same however a batch is cut into parts.

A draw must not depend on which examples stand beside each other: batches are cut by length, by memory and over
processes, and a cut is to change numbers by rounding only. So the uniform number of a position is a hash of the seed,
the step, the example that it belongs to (its tokens and targets) and its place in it, and of nothing else. (Padding in
front of an example moves its places, and so its draws; behind it, where the tasks pad, it changes nothing.)

Legend: B examples, T tokens, N supervised positions, V tokens of the vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from optbench.errors import UserError

if TYPE_CHECKING:
    from optbench.oracle import Part

AT_ONCE = 1 << 22
"""Probabilities that are held at once, in float64."""
FINEST = 2.0**52
"""Into how many parts a probability of 1 is cut: a token below 2e-16 is never drawn."""
GOLDEN, FIRST, SECOND = (x - (1 << 64) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def drawn(part: Part, logits_NV: Tensor, *, step: int, seed: int = 0) -> Tensor:
    """Targets [N] drawn from softmax(logits), int64; the same for the same example at the same step and seed.

    Two examples of a batch that are equal from their first token to their last target draw the same, and are then one
    example that counts twice. Raises UserError for what is no language model: there are no tokens to draw.
    """
    whole = {name: x for name, x in part.inputs.items() if x.dim() == 2 and not x.is_floating_point()}
    if not whole or part.targets.is_floating_point():
        raise UserError(
            "the estimator gauss_newton_bartlett draws targets from the model's distribution over tokens, and this "
            "task has none: it is for language models"
        )
    ids_BT = whole.get("input_ids", next(iter(whole.values())))
    uniform_N = _uniform(ids_BT, part.positions, part.targets, step, seed)
    rows = max(1, AT_ONCE // logits_NV.shape[1])
    starts = range(0, len(logits_NV), rows)
    return torch.cat([_inverse(logits_NV[at : at + rows], uniform_N[at : at + rows]) for at in starts])


def _inverse(logits_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """The first token at which the cumulative probability exceeds the uniform number; in whole numbers, whose sums
    depend on no order: those of floats are refused on a GPU where a run is to be deterministic."""
    below_NV = (logits_NV.double().softmax(-1) * FINEST).long().cumsum(-1)
    wanted_N1 = (uniform_N * below_NV[:, -1]).long().unsqueeze(1)
    # A product with the largest sum may round up to it.
    return torch.searchsorted(below_NV, wanted_N1, right=True).squeeze(1).clamp_(max=logits_NV.shape[1] - 1)


def _uniform(ids_BT: Tensor, positions_N: Tensor, targets_N: Tensor, step: int, seed: int) -> Tensor:
    """A number in [0, 1) for each position, float64."""
    examples, length = ids_BT.shape
    row_N, place_N = positions_N // length, positions_N % length
    place_T = torch.arange(length, device=ids_BT.device)
    # What stands behind the last supervised position may be padding, and is left out.
    last_B = torch.zeros(examples, dtype=torch.long, device=ids_BT.device).scatter_reduce(0, row_N, place_N, "amax")
    read_BT = torch.where(place_T <= last_B.unsqueeze(1), _mixed(ids_BT + _mixed(place_T)), 0)
    said_B = torch.zeros_like(last_B).index_add_(0, row_N, _mixed(targets_N + _mixed(~place_N)))
    example_B = _mixed(read_BT.sum(1) + said_B)
    # Seeds are of any size up to 64 bits; the numbers of torch have 63 and a sign.
    beginning = _mixed(torch.full_like(example_B[:1], (seed + (1 << 63)) % (1 << 64) - (1 << 63)))
    key_N = _mixed(_mixed(_mixed(example_B + beginning)[row_N] + step) + place_N)
    return _shifted(key_N, 11).double() * 2.0**-53


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014), on int64 that wraps around."""
    x = x + GOLDEN
    x = (x ^ _shifted(x, 30)) * FIRST
    x = (x ^ _shifted(x, 27)) * SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """The bits of x shifted right, zeros moving in from the left: torch has a shift of signed numbers only."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
