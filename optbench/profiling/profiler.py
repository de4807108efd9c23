"""One model under all optimizers: what fits is measured whole, what does not is measured shallow and extrapolated."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import torch

from optbench.cost import training_flops
from optbench.optim.specs import OptimizerSpec
from optbench.oracle import Batch
from optbench.profiling.campaigns import Campaign, Models, Tell, campaigns_of
from optbench.profiling.counting import algorithmic_flops, counted_over_formula, work_of
from optbench.profiling.depths import Stack, on_the_line
from optbench.profiling.devices import device_name, peak_flops
from optbench.profiling.memory import Estimate, estimated
from optbench.profiling.rows import NAN, Row, break_even, fits_in
from optbench.profiling.settings import BASELINE, Settings
from optbench.profiling.shapes import Shape
from optbench.profiling.split import PARTS, STEPS, look
from optbench.profiling.stepping import (
    BLOCK_SECONDS,
    MOST_STEPS,
    Series,
    in_turn,
    noting_out_of_memory,
    timed_block,
)

FAST, SLOW = 7, 3
"""Rounds unless said otherwise: where a block takes less than a second, and where it takes longer."""
LONG_STEP = 2.0
"""Seconds of a step from which on one is split instead of several."""
COUNTED_LAYERS = 2
"""Layers of the model whose operations are counted: each further one adds the same."""


def profiled(
    shape: Shape, specs: Mapping[str, OptimizerSpec], settings: Settings, usable: int | None, tell: Tell
) -> list[Row]:
    """A row for each optimizer, in order; `usable` bytes of memory may be filled. The baseline is one of them."""
    estimates = {name: estimated(shape, spec, settings) for name, spec in specs.items()}
    rows = {name: _expected(shape, name, spec, settings, estimates[name], usable) for name, spec in specs.items()}
    models = Models(shape, settings)
    for campaign in campaigns_of(shape, specs, rows, settings, usable, models, tell):
        if campaign.depths:
            _measure(shape, specs, campaign, settings, rows, models, tell)
        else:
            for name in campaign.names:
                rows[name].why = campaign.why
    models.drop()
    return list(rows.values())


def _expected(
    shape: Shape, name: str, spec: OptimizerSpec, settings: Settings, estimate: Estimate, usable: int | None
) -> Row:
    """What is known before anything is built."""
    return Row(
        model=shape.name,
        optimizer=name,
        layers=shape.dimensions.layers,
        parameters=shape.dimensions.matrix_parameters,
        tokens=settings.tokens,
        supervised=settings.positions,
        passes=float(spec.estimator.passes_per_step),
        flops=training_flops(shape.dimensions, spec, work_of(settings), steps=1),
        flops_algorithm=algorithmic_flops(shape, spec, settings),
        fits=fits_in(estimate.peak, usable),
        memory_peak=estimate.peak,
        memory_peak_at=estimate.at,
        memory=estimate.parts(),
        split=dict.fromkeys(PARTS, NAN),
    )


def _measure(
    shape: Shape,
    specs: Mapping[str, OptimizerSpec],
    campaign: Campaign,
    settings: Settings,
    rows: Mapping[str, Row],
    models: Models,
    tell: Tell,
) -> None:
    """Fills the rows of a campaign; of the baseline only where no campaign before has measured it."""
    chosen = {name: specs[name] for name in campaign.names}
    wanted = [name for name in chosen if rows[name].status == "not measured"]
    for name in wanted:
        rows[name].measured_layers, rows[name].why = campaign.depths, campaign.why
    said = f"{shape.name} at {' and '.join(map(str, campaign.depths))} of {shape.dimensions.layers} layers"

    def out_of_memory() -> None:
        for name in wanted:
            if rows[name].status == "not measured":
                rows[name].status = "out of memory"

    def told(what: str) -> None:
        tell(f"{said}: {what}")

    with noting_out_of_memory(out_of_memory):
        told("building")
        stack, batch = models.at(max(campaign.depths))
        rounds, steps = _how_many(stack, campaign.depths, chosen.get(BASELINE, specs[wanted[0]]), batch, settings)
        told(f"{rounds} rounds, {steps} timed step{'s' if steps > 1 else ''} a block")
        series = in_turn(stack, campaign.depths, chosen, BASELINE, batch, rounds=rounds, steps=steps, tell=told)
        for name in wanted:
            told(f"{name}: split, memory, operations")
            _fill(rows[name], shape, stack, campaign, specs[name], series[name], batch, settings)


def _how_many(
    stack: Stack, depths: Sequence[int], spec: OptimizerSpec, batch: Batch, settings: Settings
) -> tuple[int, int]:
    """Rounds, and steps of a block: as asked, else what a step of the baseline leaves time for."""
    seconds = 0.0

    def unknown() -> None:
        nonlocal seconds
        seconds = BLOCK_SECONDS

    with noting_out_of_memory(unknown):
        seconds = timed_block(stack, max(depths), spec, batch, 1).walls[0]
    steps = settings.steps or min(MOST_STEPS, max(1, round(BLOCK_SECONDS / max(seconds, 1e-6))))
    rounds = settings.rounds or (FAST if seconds * steps < 1.0 else SLOW)
    return rounds, steps


def _fill(
    row: Row,
    shape: Shape,
    stack: Stack,
    campaign: Campaign,
    spec: OptimizerSpec,
    series: Series,
    batch: Batch,
    settings: Settings,
) -> None:
    if series.failed:
        row.status = "out of memory"
        return
    row.timed_steps = series.steps
    if series.is_noise:
        row.why = "too noisy to extrapolate (more layers took no longer): take more --rounds, --layers or --tokens"
    else:
        _fill_times(row, series, shape.dimensions.layers, settings)
    depths = campaign.depths

    def unknown() -> None:
        """What does not fit beside the rest stays unknown."""

    with noting_out_of_memory(unknown):
        _look(row, shape, stack, depths, spec, series, batch, settings)
    with noting_out_of_memory(unknown):
        shallow = min(COUNTED_LAYERS, max(depths))
        row.flops_counted = counted_over_formula(shape, stack, shallow, spec, settings)
    if series.is_noise:
        row.split = dict.fromkeys(PARTS, NAN)
    row.status = "measured" if len(depths) == 1 else "extrapolated"


def _fill_times(row: Row, series: Series, layers: int, settings: Settings) -> None:
    """Times of the whole model, and what follows from them; what noise has made negative stays unknown."""
    p50, p95 = series.walls(layers, 0.5), series.walls(layers, 0.95)
    row.step_seconds, row.step_seconds_p95 = (value if value > 0 else NAN for value in (p50, p95))
    if len(row.measured_layers) > 1:
        row.step_seconds_p95 = NAN  # A line through two tails is no tail.
    ratios = [value for value in series.ratios(layers) if math.isfinite(value)]
    if ratios and 2 * len(ratios) > len(series.ratios(layers)):
        row.ratio = statistics.median(ratios)
        row.ratio_low, _, row.ratio_high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [row.ratio] * 3
        row.break_even_percent = break_even(row.ratio)
    mean = series.mean(layers)
    if mean > 0:
        row.tokens_per_second = row.tokens / mean
        promised = peak_flops(device_name(settings.device), settings.precision)
        row.mfu = NAN if promised is None else row.flops_algorithm / mean / promised


def _look(
    row: Row,
    shape: Shape,
    stack: Stack,
    depths: Sequence[int],
    spec: OptimizerSpec,
    series: Series,
    batch: Batch,
    settings: Settings,
) -> None:
    """Shares of a step of the whole model, each part's seconds being on the line through the depths; and what was seen
    at the greatest depth."""
    seconds: dict[str, list[float]] = {name: [] for name in PARTS}
    for depth in sorted(depths):
        step = statistics.median(block.cost for block in series.ours[depth])
        found = look(stack, depth, spec, batch, steps=STEPS if step < LONG_STEP else 1)
        for name, share in found.split.shares().items():
            seconds[name].append(share * step)
    row.state_bytes, row.peak_bytes, row.shift_cosine = found.state_bytes, found.peak_bytes, found.shift_cosine
    row.estimated_peak_there = estimated(shape.with_layers(max(depths)), spec, settings).peak
    whole = {name: max(0.0, on_the_line(depths, values, row.layers)) for name, values in seconds.items()}
    total = sum(value for value in whole.values() if value == value)
    row.split = {name: value / total if total > 0 else NAN for name, value in whole.items()}


def threads_set(threads: int | None) -> int:
    """Sets the threads of torch's operations, if said; how many there are now."""
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()
