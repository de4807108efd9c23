"""Both ends of a spectrum, its trace and its density from one Lanczos run that keeps no basis.

    beta_j v_{j+1} = A v_j - alpha_j v_j - beta_{j-1} v_{j-1}

Three vectors are held, the product among them, whatever the number of products. The eigenvalues of the tridiagonal
matrix T of alpha and beta are the Ritz values theta, and beta_m |last component of the eigenvector of T| is the
residual ||A y - theta y||. Without a basis orthogonality is lost once a Ritz vector has converged, and copies of its
value ("ghosts") come up in T. They neither move the ends of the spectrum nor spoil the residuals (Paige 1980), and
share the weight of what they are copies of, so that no number here needs to be cleaned of them.

From a start v of random signs over sqrt(P), P v^T A v = P alpha_1 is an unbiased sample of the trace, and P times the
first components squared of the eigenvectors of T are the weights of a quadrature for tr f(A) (stochastic Lanczos,
Ubaru, Chen and Saad 2017). What is not had is the eigenvector: see `krylov.top_eigenpairs` for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.linalg import eigh_tridiagonal

from optbench.curvature.vectors import dot, norm

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.curvature.krylov import Multiply

LEAST = 6
"""Products before a residual is believed. A start that holds a hundredth of the usual amount of the top vector (1 in
100 holds as little) shows it after 6 products if its value is twice the next one."""
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Spectrum:
    """What one or several runs say of a symmetric matrix [P, P].

    `smallest` and `largest` are Ritz values, so that no eigenvalue at all lies below or above by rounding alone: the
    smallest eigenvalue is at most, the largest at least that. `..._residual` is the absolute norm of A y - theta y:
    there is an eigenvalue within it. `trace` is the mean over the starts and `trace_error` the standard error of that
    mean (NaN with one start). sum(weights * f(nodes)) estimates tr f(A); `nodes` rise. `products` is what it took.
    """

    smallest: float
    largest: float
    smallest_residual: float
    largest_residual: float
    trace: float
    trace_error: float
    nodes: np.ndarray
    weights: np.ndarray
    products: int

    def density(self, points: np.ndarray, *, width: float) -> np.ndarray:
        """Eigenvalues per unit at the points, smoothed with normal curves of standard deviation `width`; it
        integrates to P."""
        far = (points[:, None] - self.nodes) / width
        curves: np.ndarray = np.exp(-0.5 * far**2) / (width * math.sqrt(2 * math.pi))
        found: np.ndarray = curves @ self.weights
        return found


@dataclass(frozen=True)
class _Run:
    """Ritz values, rising, with residuals and quadrature weights (which sum to 1), v^T A v of the start, and P."""

    values: np.ndarray
    residuals: np.ndarray
    weights: np.ndarray
    first: float
    size: int


def spectrum(
    multiply: Multiply,
    starts: Iterable[Tensor],
    *,
    products: int,
    tolerance: float = 0.0,
    ends: Literal["largest", "both"] = "both",
) -> Spectrum:
    """One run from each start (of any norm, overwritten; signs or normal numbers, or trace and density mean nothing).

    A run ends after `products` products, or earlier where `ends` are known to a residual of `tolerance` relative to
    themselves (both relative to the larger in size) after `LEAST` products; 0 never ends it, or where the space is
    exhausted. Starts are asked for one at a time. `multiply` is told the size of the spectrum as far as it is known:
    for the second product sqrt(P) ||A v_1||, which for a random start is the Frobenius norm on average. Raises
    ValueError without starts.
    """
    runs = [_run(multiply, start, products, tolerance, ends) for start in starts]
    if not runs:
        raise ValueError("spectrum: at least one start is needed")
    low = min(runs, key=lambda run: float(run.values[0]))
    high = max(runs, key=lambda run: float(run.values[-1]))
    nodes = np.concatenate([run.values for run in runs])
    weights = np.concatenate([run.weights * (run.size / len(runs)) for run in runs])
    order = np.argsort(nodes, kind="stable")
    samples = [run.first * run.size for run in runs]
    error = float(np.std(samples, ddof=1) / math.sqrt(len(samples))) if len(samples) > 1 else math.nan
    return Spectrum(
        smallest=float(low.values[0]),
        largest=float(high.values[-1]),
        smallest_residual=float(low.residuals[0]),
        largest_residual=float(high.residuals[-1]),
        trace=float(np.mean(samples)),
        trace_error=error,
        nodes=nodes[order],
        weights=weights[order],
        products=sum(len(run.values) for run in runs),
    )


def _run(multiply: Multiply, start: Tensor, products: int, tolerance: float, ends: str) -> _Run:
    assert products >= 1
    v, before = start.div_(norm(start)), None
    size = v.numel()
    alphas: list[float] = []
    betas: list[float] = []
    known: float | None = None
    while True:
        w = multiply(v, known)
        if before is not None:
            w.sub_(before, alpha=betas[-1])
        alphas.append(dot(v, w))
        w.sub_(v, alpha=alphas[-1])
        beta = norm(w)
        values, vectors = eigh_tridiagonal(np.array(alphas), np.array(betas))
        scale = float(np.abs(values).max())
        # One product says nothing of the largest eigenvalue but, by its length, of all of them together. From there
        # down by halves: the first Ritz values are far too small, and differences err less with too large a size.
        known = math.sqrt(size) * math.hypot(alphas[0], beta) if known is None else max(scale, known / 2)
        residuals = beta * np.abs(vectors[-1])
        done = len(alphas) == products or beta <= 1e-6 * scale
        if tolerance > 0 and len(alphas) >= LEAST:
            size_of_largest = max(abs(float(values[-1])), TINY)
            enough = residuals[-1] <= tolerance * size_of_largest
            if ends == "both":
                enough = max(residuals[0], residuals[-1]) <= tolerance * scale
            done = done or bool(enough)
        if done:
            return _Run(values, residuals, vectors[0] ** 2, alphas[0], size)
        betas.append(beta)
        # The three vectors change places: the oldest is given back before the next product is made.
        before, v = v, w.div_(beta)
