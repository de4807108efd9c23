"""Seconds at nominal speeds, where nothing was measured: of a processor core, or of a GPU by its data sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from optbench.cost import FULL_PACE, NANO_PACE, forward_flops, training_flops
from optbench.planning.answers import Decoding, generation_seconds
from optbench.planning.devices import Device
from optbench.planning.memory import Trained
from optbench.planning.phases import Phases
from optbench.planning.rules import update_bytes
from optbench.planning.workload import Workload, times

PER_PASS = 0.7e-3
"""Seconds that a pass takes on a CPU whatever its size: what the smallest models cost."""
OVERHEAD = 1.0
"""Seconds of a cell of a small model that grow with nothing: building model and data, writing the record."""
LAUNCH = 6e-4
"""Seconds that a host takes to launch forward and backward of one layer on a GPU. An assumption."""
LOADING = 1e9
"""Bytes per second from a disk into a model. An assumption."""
LARGE = 50_000_000
"""Hidden parameters from which on a processor's core reaches the pace of large products."""


@dataclass(frozen=True)
class Speed:
    """How fast a model runs: operations per second, and seconds of a pass that do not depend on its size."""

    flops: float
    per_pass: float


def speed_of(dimensions: Any, device: Device, precision: str, threads: int) -> Speed:
    """On a CPU between the paces of nano and of full-size models by the size of the model; on a GPU by data sheet."""
    if device.is_gpu:
        return Speed(device.rate(precision), LAUNCH * dimensions.layers)
    small = dimensions.hidden_parameters < LARGE
    return Speed((NANO_PACE if small else FULL_PACE) * threads, PER_PASS)


def nominal(arm: Any, work: Workload, device: Device, threads: int) -> Phases:
    """The phases of a cell at nominal speed."""
    model, training, optimizer = arm.model_spec, arm.training, arm.optimizer_spec
    d = model.dimensions()
    speed = speed_of(d, device, training.precision, threads)
    batch = work.batch(training.batch_size)
    parts = -(-training.batch_size // min(training.micro_batch, training.batch_size))
    passes = float(optimizer.estimator.passes_per_step)
    trained = Trained.of(d)
    step = training_flops(d, optimizer, batch, steps=1) / speed.flops
    # A GPU computes while its host launches: the longer of the two counts.
    launching = passes * parts * speed.per_pass
    step = max(step, launching) if device.is_gpu else step + launching
    moved = update_bytes(optimizer, trained.hidden, trained.others)
    step += moved / device.bandwidth
    setup = OVERHEAD + 4.0 * d.matrix_parameters / LOADING
    return Phases(setup, step, evaluation_seconds(d, work, device, speed), "nominal")


def evaluation_seconds(d: Any, work: Workload, device: Device, speed: Speed) -> float:
    """The loss of the test examples, and the answers to their questions."""
    loss = forward_flops(d, work.test) / speed.flops
    if not len(work.prompts):
        return loss
    per_token = forward_flops(d, times(work.example, 1.0 / max(1.0, work.example.tokens))) / speed.flops
    fixed = max(4.0 * d.matrix_parameters / device.bandwidth, speed.per_pass)
    decoding = Decoding(fixed=fixed, per_row=per_token, per_prompt_token=per_token)
    return loss + generation_seconds(work, decoding)


def probe_seconds(probe: Any, dimensions: Any, work: Workload, device: Device, threads: int) -> float:
    """A probe: its epochs over the training set, at nominal speed."""
    spec = probe.spec
    speed = speed_of(dimensions, device, probe.precision, threads)
    steps = int(np.ceil(work.train / spec.batch_size)) * spec.epochs
    flops = training_flops(dimensions, spec.optimizer, work.batch(spec.batch_size), steps=1)
    return float(OVERHEAD + steps * (flops / speed.flops + speed.per_pass))
