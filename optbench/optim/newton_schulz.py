"""Newton-Schulz iteration: a matrix to roughly the nearest semi-orthogonal one, for many matrices of one shape at once.

    X_0 = M / ||M||_F;  X <- a X + (b A + c A^2) X,  A = X X^T

with (a, b, c) = (3.4445, -4.7750, 2.0315), five times: singular values end near 1, between about 0.7 and 1.2, not at 1
(Jordan 2024, "Muon: an optimizer for hidden layers"; the same constants as torch.optim.Muon).
"""

from __future__ import annotations

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(stack: Tensor, *, steps: int, dtype: torch.dtype, eps: float = 1e-7) -> Tensor:
    """The stack [k, n, m] with each matrix made nearly semi-orthogonal; computed and returned in `dtype`."""
    a, b, c = COEFFICIENTS
    x = stack.to(dtype)
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.transpose(-2, -1)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.transpose(-2, -1)
        update = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, update, x, beta=a)
    return x.transpose(-2, -1) if tall else x
