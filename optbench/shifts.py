"""Weights that are moved for a while, and what they were before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

Moment = tuple[object, ...]
"""Which shifts were active: see `now`."""

_active: list[tuple[object, dict[int, Tensor]]] = []
"""The shifts that are active, outermost first: a token, and the unshifted values by the identity of the parameter."""


@contextmanager
def shifted(params: Sequence[Tensor], by: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Adds `by` to `params` inside the block, in place; yields the unshifted values.

    Afterwards the parameters hold the very same bits as before, also after an error: w + e - e is not w in floating
    point, so the values are saved and copied back: one copy of the parameters, and `.data` stays where it was. Raises
    ValueError for parameters below float32, whose spacing is of the size of the shift (at rho = 0.05 and 0.5 billion
    bfloat16 parameters, 2.6% of the entries move at all).
    """
    for p in params:
        if p.dtype in (torch.bfloat16, torch.float16):
            raise ValueError(f"a shift of {p.dtype} parameters is mostly lost to rounding: keep float32 weights")
    with torch.no_grad():
        saved = [p.detach().clone() for p in params]
        here = (object(), {id(p): before for p, before in zip(params, saved, strict=True)})
        try:
            torch._foreach_add_(list(params), list(by))
            del by
            _active.append(here)
            with torch.enable_grad():
                yield saved
        finally:
            if here in _active:
                _active.remove(here)
            torch._foreach_copy_(list(params), saved)


def now() -> Moment:
    """The moment: to be handed to `as_of` later, inside the same shifts or further ones."""
    return tuple(token for token, _ in _active)


def as_of(moment: Moment, p: Tensor) -> Tensor:
    """The value that `p` had at the moment, if only shifts have moved it since; `p` itself if none did.

    Raises RuntimeError where a shift that was active then has ended: nobody knows that value any more.
    """
    if now()[: len(moment)] != moment:
        raise RuntimeError("the shift inside which this was taken has ended: its weights are gone")
    for _, saved in _active[len(moment) :]:
        if id(p) in saved:
            return saved[id(p)]
    return p
