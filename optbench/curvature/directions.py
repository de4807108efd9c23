"""The directions along which sharpness is looked at: isotropic, preconditioned, random; each of norm 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from optbench.curvature.vectors import norm, taken, views

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.oracle import Oracle

DAMPING = 0.1
"""Of the preconditioner, relative to the root mean square of sqrt(v) over the tensor: as `ascents.Preconditioned`."""


def second_moment(groups: Sequence[Oracle]) -> Tensor:
    """v [P], the mean of the squared gradients of equal groups of the probe examples: what Adam's v tends to at fixed
    weights when batches are of that size. One gradient-equivalent in total.

    Taken from the probe and not from the optimizer of the run, so that arms with different optimizers, and optimizers
    that have no v, are looked at along comparable directions.
    """
    total: Tensor | None = None
    for group in groups:
        group.gradient()
        square = taken(group.parameters).square_()
        total = square if total is None else total.add_(square)
    assert total is not None
    return total.div_(len(groups))


def preconditioned(gradient: Tensor, moment: Tensor, like: Sequence[Tensor]) -> Tensor:
    """g / (sqrt(v) + damping), not normalised; `moment` is overwritten with it. Tensors without gradient stay zero."""
    for g, v in zip(views(gradient, like), views(moment, like), strict=True):
        v.sqrt_()
        v.add_(DAMPING * v.square().mean().sqrt())
        torch.where(v > 0, g / v, torch.zeros_like(v), out=v)
    return moment


def unit_(vector: Tensor) -> Tensor:
    """The vector scaled to norm 1 in place; zeros stay zeros."""
    length = norm(vector)
    return vector.div_(length) if length > 0 else vector
