"""What a sharpness penalty is made of: the logit part and the functional part of H e, and what optimizers add of them.

    delta_logit = GGN e      delta_func = functional part of H e      H e = delta_logit + delta_func

(arXiv 2502.02407). In the limit of a small shift SAM adds rho (delta_logit + delta_func) to the gradient and
Functional-SAM rho delta_func. At the shift that is really made, with w' = w + rho e,

    c_SAM  = (J(w')^T dL/dF(w') - g) / rho = J(w')^T (dL/dF(w') - dL/dF(w)) / rho  +  c_FSAM
    c_FSAM = (J(w')^T dL/dF(w) - g) / rho

What SAM adds beyond Functional-SAM comes from the change of the cotangent, that is of the logit statistics, and nothing
is left over: that is the make-up of c_SAM. The correction of Functional-SAM has no such part by construction. How far
it still points along the logit part of H e, as a shift that is not small may make it, is read off the least-squares
fit c_FSAM ~ a delta_logit + b delta_func.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optbench.curvature.vectors import dot, norm, taken, views
from optbench.oracle import shifted

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.curvature.products import Products
    from optbench.oracle import Oracle


@dataclass(frozen=True)
class Split:
    """The two parts of H e, and H e itself, each computed on its own."""

    whole: Tensor
    logit: Tensor
    functional: Tensor

    def numbers(self) -> dict[str, float]:
        """Shares, projection and error; what has no value (0/0) is left out.

        logit_share = ||delta_logit|| / (||delta_logit|| + ||delta_func||), functional_share = 1 - logit_share
        logit_projection = <delta_logit, H e> / ||H e||^2: that of delta_func is what is missing to 1
        split_error = ||delta_logit + delta_func - H e|| / ||H e||
        """
        logit, functional, whole = norm(self.logit), norm(self.functional), norm(self.whole)
        found = {}
        if logit + functional > 0:
            found["logit_share"] = logit / (logit + functional)
            found["functional_share"] = functional / (logit + functional)
        if whole > 0:
            found["logit_projection"] = dot(self.logit, self.whole) / whole**2
            rest = self.logit.sub(self.whole).add_(self.functional)
            found["split_error"] = norm(rest) / whole
        return found


def made_of(correction: Tensor, logit: Tensor, functional: Tensor) -> tuple[float | None, float]:
    """The share of the logit part in a correction, and the part of its norm that the two leave unexplained.

    With c ~ a delta_logit + b delta_func: |a| ||delta_logit|| / (|a| ||delta_logit|| + |b| ||delta_func||). None
    where neither part, or nothing of the correction, is there.
    """
    size = norm(correction)
    pairs = [(part, norm(part)) for part in (logit, functional)]
    present = [(part, length) for part, length in pairs if length > 0]
    if not present or size == 0:
        return None, 1.0
    # Of unit vectors, so that |a| and |b| are the norms asked for, however different the parts are in size.
    gram = np.array([[dot(x, y) / (m * n) for y, n in present] for x, m in present])
    towards = np.array([dot(part, correction) / (length * size) for part, length in present])
    fit = np.linalg.lstsq(gram, towards, rcond=None)[0]
    rest = math.sqrt(max(0.0, 1.0 - float(fit @ towards)))
    amounts = dict(zip((id(part) for part, _ in present), np.abs(fit).tolist(), strict=True))
    a, b = amounts.get(id(logit), 0.0), amounts.get(id(functional), 0.0)
    return (a / (a + b) if a + b > 0 else None), rest


def splits(products: Products, directions: Sequence[Tensor], curvature: float | None) -> list[Split]:
    """The split of H e for each direction, by six products for each pair: a graph serves all directions."""
    with products.hessian() as hessian:
        whole = hessian(directions, curvature=curvature, fine=True)
    with products.ggn() as ggn:
        logit = ggn(directions, curvature=curvature, fine=True)
    with products.functional() as functional:
        func = functional(directions, curvature=curvature, fine=True)
    return [Split(*three) for three in zip(whole, logit, func, strict=True)]


@dataclass(frozen=True)
class Corrections:
    """What SAM and Functional-SAM add along one direction: logit shares, and what the fit of the latter leaves."""

    numbers: Mapping[str, float]
    unexplained: float


def corrections(
    oracle: Oracle,
    parts: tuple[Tensor, Tensor],
    direction: Tensor,
    gradient: Tensor,
    cotangent: Sequence[Tensor],
    rho: float,
) -> Corrections:
    """The make-up of both corrections at a shift of rho along the direction (norm 1): two gradients.

    sam_logit_share = ||c_SAM - c_FSAM|| / (||c_SAM - c_FSAM|| + ||c_FSAM||), fsam_logit_share as in `made_of`.
    `parts` are delta_logit and delta_func.
    """
    numbers = {}
    with shifted(oracle.parameters, views(direction * rho, oracle.parameters)):
        oracle.gradient()
        there = taken(oracle.parameters)
        oracle.gradient(cotangent=cotangent)
        for whole, functional in zip(views(there, oracle.parameters), oracle.parameters, strict=True):
            assert functional.grad is not None
            whole.sub_(functional.grad)
        logit = norm(there)
        del there
        correction = taken(oracle.parameters).sub_(gradient)
    added = norm(correction)
    if logit + added > 0:
        numbers["sam_logit_share"] = logit / (logit + added)
    share, rest = made_of(correction.div_(rho), *parts)
    if share is not None:
        numbers["fsam_logit_share"] = share
    return Corrections(numbers, rest)
