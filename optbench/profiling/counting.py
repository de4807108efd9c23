"""Operations of a step, counted by torch and by formula; and the bytes that it takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from optbench.cost import Work, training_flops
from optbench.metrics.cost import peak_bytes, reset_peak
from optbench.optim.specs import OptimizerSpec
from optbench.profiling.batches import synthetic_batch
from optbench.profiling.depths import Stack
from optbench.profiling.devices import resident_bytes
from optbench.profiling.settings import Settings
from optbench.profiling.shapes import Shape
from optbench.profiling.stepping import fresh, one_step

COUNTED_TOKENS = 64
"""Of the example whose operations are counted: few enough that a cotangent is always kept, as the formula takes it."""
SLACK = 64 << 20
"""Bytes by which a peak that was just reset may stand above what is resident."""


def work_of(settings: Settings) -> Work:
    """What passes through a model in a step."""
    return Work(settings.tokens, settings.batch * float(settings.length) ** 2, settings.positions)


def algorithmic_flops(shape: Shape, spec: OptimizerSpec, settings: Settings) -> float:
    """Operations of a step by formula without what is only done again: as if every cotangent were kept."""
    if getattr(spec.estimator, "functional", False):
        spec = spec.model_copy(update={"estimator": spec.estimator.model_copy(update={"cotangent": "kept"})})
    return training_flops(shape.dimensions, spec, work_of(settings), steps=1)


def counted_over_formula(shape: Shape, stack: Stack, depth: int, spec: OptimizerSpec, settings: Settings) -> float:
    """Operations as torch counts them over those of the formula, for one short example at `depth` layers.

    Attention is spelled out as matrix products meanwhile: of the fused kernels of processors torch counts nothing.
    """
    # So many examples that a fraction of them is whole.
    examples = Fraction(repr(float(getattr(spec.estimator, "ascent_fraction", 1.0)))).denominator
    settings = dataclasses.replace(settings, batch=examples, length=min(settings.length, COUNTED_TOKENS))
    batch = synthetic_batch(settings, shape.dimensions.vocabulary)
    steps = int(getattr(spec.estimator, "refresh_every", 1))
    # There is no preconditioner before the first step, and the formula counts one.
    warm = bool(spec.estimator.preconditions)
    with stack.at(depth) as parameters, fresh(spec, parameters, stack.model, batch, warm=warm) as optimizer:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            for _ in range(steps):
                one_step(stack.model, optimizer, batch)
    formula = training_flops(shape.with_layers(depth).dimensions, spec, work_of(settings), steps=1)
    return float(counter.get_total_flops()) / steps / formula


@contextmanager
def noting_bytes(device: str) -> Iterator[Callable[[], float]]:
    """Yields what tells the peak of memory since the block began: on a GPU of the allocator, on a processor the
    resident memory of the whole process, and NaN where that cannot be measured anew."""
    reset_peak(device)
    measurable = device != "cpu" or 0 < peak_bytes(device) <= resident_bytes() + SLACK
    yield lambda: float(peak_bytes(device)) if measurable else math.nan
