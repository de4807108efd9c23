"""Which examples are learned later: k-means on loss trajectories, the slowest cluster of each source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from optbench.rng import stream
from optbench.spec import Spec

ITERATIONS = 20
LARGEST = 1e100
"""Values above it have no squares in float64: every distance to them is infinite, and compiled k-means then reads
labels that were never written."""


class LaterLearned(Spec):
    """How later-learned examples are told apart (after arXiv 2403.07384 and 2404.17768, and a co-author's code).

    `trajectory` is what is clustered: `raw`, the losses themselves, is large where an example stays hard; `ratio`, the
    loss at each look over the loss at the look before, is large where a loss falls slowly. Ratios of few looks are
    mostly noise: at nano scale two probes that differ in their seed agree on the later-learned part of a source with
    Cohen's kappa 0.05 to 0.17 by ratios, and 0.40 to 0.57 by raw losses (three looks). `scope` clusters each source
    apart or all examples together. The cluster with the highest mean is the later-learned one; a source with fewer than
    `min_source` examples is taken whole, being too small to cluster.
    """

    trajectory: Literal["raw", "ratio"] = "raw"
    scope: Literal["source", "all"] = "source"
    clusters: Annotated[int, Field(ge=2, le=100)] = 2
    min_source: Annotated[int, Field(ge=1)] = 78

    def find(self, losses: np.ndarray, sources: Sequence[str], *, seed: int) -> np.ndarray:
        """Whether each example is later-learned: losses [n, k] from a probe, sources [n] -> bool [n].

        Raises ValueError where there are fewer than two looks for ratios.
        """
        if self.trajectory == "ratio" and losses.shape[1] < 2:
            raise ValueError("ratios of successive losses need a probe of at least two looks")
        # Imported here: reading a suite must not wait for scipy.
        from scipy.cluster.vq import kmeans2

        values = self._values(losses)
        later = np.zeros(len(values), dtype=bool)
        for name, rows in self._groups(sources):
            if len(rows) < self.min_source and self.scope == "source":
                later[rows] = True
                continue
            rng = stream(seed, f"clusters/{name}")
            _, labels = kmeans2(values[rows], self.clusters, iter=ITERATIONS, minit="++", rng=rng, missing="warn")
            means = [values[rows][labels == c].mean() if (labels == c).any() else -np.inf for c in range(self.clusters)]
            later[rows] = labels == int(np.argmax(means))
        return later

    def _values(self, losses: np.ndarray) -> np.ndarray:
        if self.trajectory == "raw":
            return losses
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratios = losses[:, 1:] / losses[:, :-1]
        return np.where(np.abs(ratios) <= LARGEST, ratios, 1.0)

    def _groups(self, sources: Sequence[str]) -> list[tuple[str, np.ndarray]]:
        if self.scope == "all":
            return [("all", np.arange(len(sources)))]
        names = np.asarray(sources)
        return [(str(name), np.flatnonzero(names == name)) for name in np.unique(names)]


def described(later: np.ndarray, sources: Sequence[str]) -> dict[str, Any]:
    """How many examples are later-learned, over all and by source, as notes for the record."""
    names = np.asarray(sources)
    return {
        "later_learned": int(later.sum()),
        "later_learned_share": float(later.mean()),
        "later_learned_by_source": {str(n): int(later[names == n].sum()) for n in np.unique(names)},
    }
