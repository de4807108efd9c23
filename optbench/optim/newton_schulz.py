"""Newton-Schulz iteration: a matrix to roughly the nearest semi-orthogonal one, for matrices of one shape at once.

    X_0 = M / ||M||_F;  X <- a X + (b A + c A^2) X,  A = X X^T

with (a, b, c) = (3.4445, -4.7750, 2.0315), five times: singular values end near 1, between about 0.7 and 1.2, not at 1
(Jordan 2024, "Muon: an optimizer for hidden layers"; the same constants as torch.optim.Muon).

The Gram form takes the steps on the small matrix R = X X^T alone, for all that is multiplied to X is a polynomial in
it, and applies their product Q to X once:

    Z = b R + c R^2;  Q <- (a + Z) Q;  R <- (a + Z) R (a + Z);  at the end X <- Q X

(Dao-AILab 2026, "Gram Newton-Schulz"). In exact arithmetic both are one; rounding hurts the Gram form more. An error in
R does not shrink with the small eigenvalues it stands beside, and each step multiplies it by up to a^2 = 12. So R is
computed anew from X after every two steps. What error is left depends on the arithmetic. Against five steps in
float64, over spectra from flat to steep and from 256 rows on, that of the Gram form in float16 is at most 0.4 times
that of the standard form in bfloat16 (of singular values alone, at most 0.9 times); of smaller matrices up to 0.6 and
1.1 times, and there it is not chosen unasked. In bfloat16 it can be far above it, and is not on offer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from optbench.optim.newton_schulz_plan import TURNED, Form, gram_segments

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(
    matrices: Sequence[Tensor] | Tensor, *, steps: int, dtype: torch.dtype, form: Form = "standard", eps: float = 1e-7
) -> Sequence[Tensor]:
    """Each matrix of one shape (a sequence of [n, m], or a tensor [k, n, m]) made nearly semi-orthogonal; computed, all
    at once, and returned in `dtype`. What is given is left alone, also where it has that type already."""
    iterate = gram if form == "gram" else standard
    tall = matrices[0].size(0) > matrices[0].size(1)
    # Gradients are out of the range of float16: it is entered after the division.
    first = torch.float32 if dtype is torch.float16 else dtype
    if len(matrices) == 1:
        x = matrices[0].to(first, copy=True)
        x = x.div_(x.norm().clamp_(min=eps)).to(dtype)
        if not tall:
            return [iterate(x, steps=steps)]
        large = x.numel() * x.element_size() >= TURNED
        x = iterate(x.mT.contiguous() if large else x.mT, steps=steps).mT
        return [x.contiguous() if large else x]
    x = torch.stack([m.to(first) for m in matrices])
    x = x.div_(x.norm(dim=(-2, -1), keepdim=True).clamp_(min=eps)).to(dtype)
    x = iterate(x.mT if tall else x, steps=steps)
    return (x.mT if tall else x).unbind()


def standard(x: Tensor, *, steps: int) -> Tensor:
    """The iteration for one matrix [n, m] or a stack [k, n, m], n <= m, of norms of at most 1. Overwrites `x`: products
    are cheaper written to memory at hand than into new pages."""
    a, b, c = COEFFICIENTS
    product, plus = (torch.mm, torch.addmm) if x.dim() == 2 else (torch.bmm, torch.baddbmm)
    spare = x.new_empty(x.shape)
    outer = x.new_empty((*x.shape[:-1], x.size(-2)))
    update = torch.empty_like(outer)
    for _ in range(steps):
        product(x, x.mT, out=outer)
        plus(outer, outer, outer, beta=b, alpha=c, out=update)
        plus(x, update, x, beta=a, out=spare)
        # A matrix that came transposed is not written to: results lie by rows, which later products read faster.
        x, spare = spare, x if x.is_contiguous() else torch.empty_like(spare)
    return x


def gram(x: Tensor, *, steps: int) -> Tensor:
    """The Gram form for one matrix [n, m] or a stack [k, n, m], n <= m, of norms of at most 1."""
    a, b, c = COEFFICIENTS
    product, plus = (torch.mm, torch.addmm) if x.dim() == 2 else (torch.bmm, torch.baddbmm)
    for number, length in enumerate(gram_segments(steps)):
        r = product(x, x.mT)
        # Q is apart + q. At first most of Q is a multiple of I, whose rounding would bias all singular values; later
        # it is not, and a multiple of I as large as a^2 would only cancel.
        inside = number > 0 and length > 1
        q, apart = x.new_empty(0), 0.0 if inside else a
        for step in range(length):
            z = plus(r, r, r, beta=b, alpha=c)
            if step < length - 1:
                r = plus(r, r, z, beta=a)
                r = plus(r, z, r, beta=a)
            if step == 0:
                q = z
                if inside:
                    q.diagonal(dim1=-2, dim2=-1).add_(a)
            else:
                # (apart + q) (a + z)
                q = plus(q, z, q, beta=a)
                if not inside:
                    q, apart = q.add_(z, alpha=apart), apart * a
        x = product(q, x) if inside else plus(x, q, x, beta=apart)
    return x
