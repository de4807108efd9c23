"""Later-learned examples from losses that somebody recorded while training."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np

from optbench.errors import UserError, suggestion
from optbench.strategies.clusters import LARGEST, LaterLearned

Trajectory = Literal["raw", "ratio"]


def later_learned(
    losses: Any,
    *,
    sources: Sequence[str] | None = None,
    trajectory: Trajectory = "raw",
    clusters: int = 2,
    min_source: int = 78,
    seed: int = 0,
) -> np.ndarray:
    """Which examples are learned later, bool [n]: what the strategies `upsample` and `augment` select from a probe.

    `losses` [n, k] holds the loss of each example at k looks along training, in any unit, oldest first. k-means with
    `clusters` clusters goes over the losses themselves (`raw`) or over the loss at each look by the loss at the look
    before (`ratio`, of two looks at least), and the cluster of the highest mean is the later-learned one: within each
    of `sources` [n] where they are given, a source of fewer than `min_source` examples being taken whole, else over all
    examples together. `seed` draws the first centres (after arXiv 2403.07384 and 2404.17768).

    Raises UserError, a ValueError, for losses of another shape, losses that are not finite, or such that tell nothing.
    """
    values = _checked(losses, trajectory)
    if sources is not None and len(sources) != len(values):
        raise UserError(f"losses are of {len(values)} examples, and sources of {len(sources)}")
    if not isinstance(clusters, int) or not 2 <= clusters <= min(100, len(values)):
        raise UserError(f"clusters must be a whole number from 2 to {min(100, len(values))}, not {clusters!r}")
    for name, value, least in (("min_source", min_source, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or value < least:
            raise UserError(f"{name} must be a whole number of at least {least}, not {value!r}")
    scope: Literal["source", "all"] = "all" if sources is None else "source"
    select = LaterLearned(trajectory=trajectory, scope=scope, clusters=clusters, min_source=min_source)
    names = ["data"] * len(values) if sources is None else [str(name) for name in sources]
    with empty_clusters_allowed():
        return select.find(values, names, seed=seed)


@contextmanager
def empty_clusters_allowed() -> Iterator[None]:
    """Inside, nothing warns of a cluster that stays empty, as one has to where many losses are the same, nor of ratios
    that have no value or no finite one."""
    with warnings.catch_warnings(), np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        yield


def _checked(losses: Any, trajectory: str) -> np.ndarray:
    if trajectory not in get_args(Trajectory):
        raise UserError(f"trajectory is {trajectory!r}; {suggestion(str(trajectory), get_args(Trajectory))}")
    try:
        values = np.asarray(losses, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"losses must be numbers in an array [examples, looks] ({error})") from error
    if values.ndim != 2:
        raise UserError(f"losses must be an array [examples, looks], not one of shape {values.shape}")
    count, looks = values.shape
    if count < 2:
        raise UserError(f"losses are of {count} example(s); telling early from late takes two at least")
    least = 2 if trajectory == "ratio" else 1
    if looks < least:
        raise UserError(f"losses have {looks} look(s); trajectory {trajectory!r} takes {least} at least")
    wrong = np.argwhere(~(np.abs(values) <= LARGEST))
    if len(wrong):
        row, look = wrong[0].tolist()
        raise UserError(f"losses[{row}, {look}] is {values[row, look]}; {len(wrong)} of {values.size} are not finite")
    if (values == values[0]).all():
        raise UserError("the losses of all examples are the same: nothing tells early from late")
    return values
