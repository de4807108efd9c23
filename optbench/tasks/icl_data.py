"""Sequences of in-context linear regression, and the loss of linear attention over all of them in closed form.

Every sequence has a task vector w ~ N(0, I), inputs x_1 .. x_N and a query x_q ~ N(0, Lambda), and y = w^T x
(arXiv 2501.16265). What linear attention sees of it is beta = (1/N) sum_n y_n x_n and x_q.

Legend: D dimensions, N pairs of a context, n sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optbench.rng import stream

CHUNK = 8192
"""Sequences that are drawn at once; their contexts are not kept."""


@dataclass(frozen=True, eq=False)
class Population:
    """All sequences with `context` pairs whose inputs have the covariance Lambda = `axes` diag(`eigenvalues`) `axes`^T.

    With Gamma = E[beta beta^T] = (1 + 1/N) Lambda^2 + (tr Lambda / N) Lambda and E[beta w^T] = Lambda, the squared
    error of beta^T W x_q is a quadratic function of W: L(W) = tr Lambda - 2 tr(Lambda W^T Lambda) +
    tr(Lambda W^T Gamma W). Its minimum is at W = Gamma^-1 Lambda, which shares the eigenvectors of Lambda.
    """

    eigenvalues: np.ndarray
    """lambda [D], largest first."""
    axes: np.ndarray
    """Orthogonal [D, D]; column d is the eigenvector of eigenvalue d."""
    context: int

    @property
    def covariance(self) -> np.ndarray:
        """Lambda [D, D]."""
        return np.asarray((self.axes * self.eigenvalues) @ self.axes.T)

    @property
    def second_moments(self) -> np.ndarray:
        """The eigenvalues [D] of Gamma = E[beta beta^T], whose eigenvectors are those of Lambda."""
        own = self.eigenvalues
        return np.asarray((1 + 1 / self.context) * own**2 + own.sum() / self.context * own)

    @property
    def optimum(self) -> np.ndarray:
        """u_d^T W u_d [D] at the minimum of the loss: lambda / gamma."""
        return np.asarray(self.eigenvalues / self.second_moments)

    @property
    def gains(self) -> np.ndarray:
        """By how much the loss falls as each direction is learned [D]: lambda / (1 + (1 + tr Lambda / lambda) / N)."""
        return np.asarray(self.eigenvalues**3 / self.second_moments)

    def aligned(self, matrix: np.ndarray) -> np.ndarray:
        """u_d^T W u_d over its value at the optimum, for each direction: W [D, D] -> [D]."""
        own = np.einsum("id,ij,jd->d", self.axes, matrix, self.axes)
        return np.asarray(own / self.optimum)

    def loss(self, matrix: np.ndarray) -> float:
        """The expected squared error of the prediction beta^T W x_q: W [D, D]."""
        turned = self.axes.T @ matrix @ self.axes
        own = self.eigenvalues
        linear = 2 * float(own**2 @ np.diag(turned))
        return float(own.sum() - linear + self.second_moments @ turned**2 @ own)

    def saddle_loss(self, learned: np.ndarray) -> float:
        """The loss where the directions `learned`, bool [D], are at their optimum and the others at 0."""
        return float(self.eigenvalues.sum() - self.gains[learned].sum())

    def draw(self, count: int, seed: int, name: str) -> np.ndarray:
        """`count` sequences from the stream `name`: float32 [n, 2 D + 1] with beta, x_q and y_q side by side."""
        rng = stream(seed, name)
        dims, length = len(self.eigenvalues), self.context
        root = np.sqrt(self.eigenvalues)
        rows = np.empty((count, 2 * dims + 1), dtype=np.float32)
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            # In the eigenbasis, where the inputs are independent, and turned afterwards.
            w = rng.standard_normal((size, dims))
            x = rng.standard_normal((size, length + 1, dims)) * root
            y = np.einsum("nld,nd->nl", x, w)
            beta = np.einsum("nl,nld->nd", y[:, :-1], x[:, :-1]) / length
            found = (beta @ self.axes.T, x[:, -1] @ self.axes.T, y[:, -1:])
            rows[start : start + size] = np.concatenate(found, axis=1)
        return rows


def rotation(dims: int, seed: int) -> np.ndarray:
    """An orthogonal matrix [D, D], uniform over all of them."""
    q, r = np.linalg.qr(stream(seed, "icl regression/rotation").standard_normal((dims, dims)))
    return np.asarray(q * np.sign(np.diag(r)))
