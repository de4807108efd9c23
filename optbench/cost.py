"""What training costs in floating-point operations, counted and not measured; and how budgets become steps.

Counted are the matrix products of the model and of the rule. Every non-padding token counts once per pass; attention
counts all pairs of positions of an example, those that the causal mask hides as well; the output layer is counted at
supervised positions only, where it is computed. Frozen weights get no gradient, and none is counted
(models/adapted_dimensions.py). Elementwise work is left out, and with it the angles of rotary embeddings, which
transformers writes as a product of positions and frequencies. tests/test_flops.py holds the rest against torch's own
counter, to the last operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from optbench.models.adapted_dimensions import AdaptedDimensions
from optbench.models.dimensions import Dimensions
from optbench.optim.cotangent import is_kept
from optbench.tasks.base import Prepared

NANO_PACE, FULL_PACE = 22e9, 60e9
"""Operations per second and CPU thread that steps of nano models and of models of hundreds of millions of parameters
reached on a server core of 2026: for a first estimate, where nothing was run yet."""


@dataclass(frozen=True)
class Work:
    """What passes through a model once: non-padding tokens, squared lengths summed, supervised positions."""

    tokens: float
    pairs: float
    supervised: float

    @classmethod
    def of(cls, prepared: Prepared, rows: np.ndarray) -> Work:
        """The work of the examples at `rows`, each as often as it is named."""
        lengths = prepared.lengths[rows].astype(np.float64)
        pairs = float(np.square(lengths).sum())
        return cls(float(lengths.sum()), pairs, float(prepared.supervised[rows].sum()))


def forward_flops(dimensions: Dimensions, work: Work) -> float:
    """Operations of one forward pass over the work."""
    body = dimensions.body_forward_flops(tokens=work.tokens, pairs=work.pairs)
    return body + dimensions.head_forward_flops(supervised=work.supervised)


def training_flops(dimensions: Dimensions, optimizer: Any, work: Work, *, steps: int) -> float:
    """Operations of `steps` steps of an OptimizerSpec that together see `work`: estimator and rule."""
    body = dimensions.body_forward_flops(tokens=work.tokens, pairs=work.pairs)
    head = dimensions.head_forward_flops(supervised=work.supervised)
    estimator = optimizer.estimator
    entries = work.supervised * dimensions.vocabulary / max(steps, 1)
    kept = partial(is_kept, entries=entries, parameters=dimensions.matrix_parameters)
    if isinstance(dimensions, AdaptedDimensions):
        body_back = dimensions.body_backward_flops(tokens=work.tokens, pairs=work.pairs)
        head_back = dimensions.head_backward_flops(supervised=work.supervised)
        passes: float = estimator.flops_of((body, head), (body_back, head_back), kept)
    else:
        passes = estimator.flops(body, head, kept)
    update: float = optimizer.rule.update_flops(dimensions.hidden_matrices())
    if estimator.preconditions:
        # Once for each shift, and a shift may serve several steps.
        often = getattr(estimator, "refresh_every", 1)
        update += optimizer.rule.precondition_flops(dimensions.hidden_matrices()) / often
    return passes + steps * update


@lru_cache(maxsize=64)
def mean_work(model: Any, task: Any, batch_size: int) -> Work:
    """The expected work of one batch of the un-enlarged training set, from lengths alone: no model is built.

    Remembered, for every arm of a suite asks, and encoding a training set takes its time.
    """
    lengths, supervised = task.token_counts(model.tokenizer())
    pairs = np.square(lengths.astype(np.float64)).mean()
    return Work(*(float(batch_size * x) for x in (lengths.mean(), pairs, supervised.mean())))


def tokens_per_step(model: Any, task: Any, batch_size: int) -> float:
    """Expected non-padding tokens of a step."""
    return mean_work(model, task, batch_size).tokens


def flops_per_step(model: Any, task: Any, optimizer: Any, batch_size: int) -> float:
    """Expected operations of a training step."""
    return training_flops(model.dimensions(), optimizer, mean_work(model, task, batch_size), steps=1)
