"""What a sharpness penalty is made of: the logit part and the functional part of H e, and what optimizers add of them.

    delta_logit = GGN e      delta_func = functional part of H e      H e = delta_logit + delta_func

(arXiv 2502.02407). In the limit of a small shift SAM adds rho (delta_logit + delta_func) to the gradient and
Functional-SAM rho delta_func. At the shift that is really made the corrections are

    c_SAM = (J(w')^T dL/dF(w') - g) / rho,     c_FSAM = (J(w')^T dL/dF(w) - g) / rho,     w' = w + rho e

and their make-up is read off the least-squares fit c ~ a delta_logit + b delta_func.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optbench.curvature.vectors import dot, flat, norm, views
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

    def made_of(self, correction: Tensor) -> tuple[float | None, float]:
        """The share of the logit part in a correction, and the part of its norm that the two leave unexplained.

        With c ~ a delta_logit + b delta_func: |a| ||delta_logit|| / (|a| ||delta_logit|| + |b| ||delta_func||). None
        where neither part, or nothing of the correction, is there.
        """
        size = norm(correction)
        pairs = [(part, norm(part)) for part in (self.logit, self.functional)]
        present = [(part, length) for part, length in pairs if length > 0]
        if not present or size == 0:
            return None, 1.0
        # Of unit vectors, so that |a| and |b| are the norms asked for, however different the parts are in size.
        gram = np.array([[dot(x, y) / (m * n) for y, n in present] for x, m in present])
        towards = np.array([dot(part, correction) / (length * size) for part, length in present])
        fit = np.linalg.lstsq(gram, towards, rcond=None)[0]
        rest = math.sqrt(max(0.0, 1.0 - float(fit @ towards)))
        amounts = dict(zip((id(part) for part, _ in present), np.abs(fit).tolist(), strict=True))
        logit, functional = amounts.get(id(self.logit), 0.0), amounts.get(id(self.functional), 0.0)
        return (logit / (logit + functional) if logit + functional > 0 else None), rest


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
    """What SAM and Functional-SAM add along one direction: logit shares, and what the fit leaves unexplained."""

    numbers: Mapping[str, float]
    unexplained: Mapping[str, float]


def corrections(
    oracle: Oracle,
    split: Split,
    direction: Tensor,
    gradient: Tensor,
    cotangent: Sequence[Tensor],
    rho: float,
) -> Corrections:
    """The make-up of both corrections at a shift of rho along the direction (norm 1): two gradients."""
    numbers, unexplained = {}, {}
    with shifted(oracle.parameters, views(direction * rho, oracle.parameters)):
        oracle.gradient()
        there = _taken(oracle)
        for name in ("sam", "fsam"):
            if name == "fsam":
                del there
                oracle.gradient(cotangent=cotangent)
                there = _taken(oracle)
            share, rest = split.made_of(there.sub_(gradient).div_(rho))
            unexplained[name] = rest
            if share is not None:
                numbers[f"{name}_logit_share"] = share
    return Corrections(numbers, unexplained)


def _taken(oracle: Oracle) -> Tensor:
    found = flat([p.grad for p in oracle.parameters if p.grad is not None])
    for p in oracle.parameters:
        p.grad = None
    return found
