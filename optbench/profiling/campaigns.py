"""What is measured at which depth: whole what fits and is fast enough, shallow what is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from optbench.optim.specs import OptimizerSpec
from optbench.oracle import Batch
from optbench.profiling.batches import synthetic_batch
from optbench.profiling.depths import Stack, on_the_line, two_depths
from optbench.profiling.memory import estimated
from optbench.profiling.rows import Row, fits_in
from optbench.profiling.settings import BASELINE, Settings
from optbench.profiling.shapes import Shape
from optbench.profiling.stepping import noting_out_of_memory, release, timed_block

Tell = Callable[[str], None]
SHALLOW = (8, 4, 2)
"""Layers of a model that is not measured whole: the first number with which the baseline fits."""


@dataclass(frozen=True)
class Campaign:
    """Optimizers that are measured on one model of `max(depths)` layers, and why not on the whole, if so."""

    names: tuple[str, ...]
    depths: tuple[int, ...]
    why: str = ""


class Models:
    """The model at one number of layers at a time, on its device, with a batch: memory holds no two."""

    def __init__(self, shape: Shape, settings: Settings) -> None:
        self._shape, self._settings = shape, settings
        self._held: dict[int, tuple[Stack, Batch]] = {}

    def at(self, layers: int) -> tuple[Stack, Batch]:
        """The model with so many layers."""
        if layers not in self._held:
            self.drop()
            settings = self._settings
            model = self._shape.with_layers(layers).build(
                seed=settings.seed, device=settings.device, precision=settings.precision
            )
            batch = synthetic_batch(settings, self._shape.dimensions.vocabulary)
            self._held[layers] = (Stack(model, layers), batch)
        return self._held[layers]

    def drop(self) -> None:
        """Gives the memory back."""
        self._held.clear()
        release()


def campaigns_of(
    shape: Shape,
    specs: Mapping[str, OptimizerSpec],
    rows: Mapping[str, Row],
    settings: Settings,
    usable: int | None,
    models: Models,
    tell: Tell,
) -> Iterator[Campaign]:
    """The campaigns that together cover all optimizers, one after another; without depths, what cannot be measured.

    The baseline is part of each, unless memory is too small for it.
    """
    layers, names = shape.dimensions.layers, tuple(specs)
    if settings.layers is not None:
        depths = two_depths(layers, settings.layers)
        why = "" if len(depths) == 1 else f"--layers {settings.layers}"
        yield from _that_fit(shape, specs, names, settings, usable, depths, why)
        return
    fitting = tuple(name for name in names if rows[name].fits in ("yes", "unknown"))
    why = "does not fit whole"
    if BASELINE in fitting:
        seconds = _predicted_seconds(shape, specs[BASELINE], settings, usable, models, tell)
        if seconds > settings.step_limit:
            fitting, why = (), _slow(seconds)
    else:
        fitting = ()
    if fitting:
        yield Campaign(fitting, (layers,))
    rest = tuple(name for name in names if name not in fitting)
    if rest:
        tried = (BASELINE, *rest) if BASELINE not in rest else rest
        for upper in SHALLOW:
            depths = two_depths(layers, upper)
            if len(depths) > 1 and _fits(shape.with_layers(upper), specs[BASELINE], settings, usable):
                yield from _that_fit(shape, specs, tried, settings, usable, depths, why)
                return
        yield Campaign(rest, (), f"{why}, and {min(SHALLOW)} of its layers do not either")


def _that_fit(
    shape: Shape,
    specs: Mapping[str, OptimizerSpec],
    names: Sequence[str],
    settings: Settings,
    usable: int | None,
    depths: tuple[int, ...],
    why: str,
) -> Iterator[Campaign]:
    there = shape.with_layers(max(depths))
    fitting = tuple(name for name in names if _fits(there, specs[name], settings, usable))
    rest = tuple(name for name in names if name not in fitting)
    if fitting:
        yield Campaign(fitting, depths, why)
    if rest:
        yield Campaign(rest, (), f"{max(depths)} layers do not fit")


def _fits(shape: Shape, spec: OptimizerSpec, settings: Settings, usable: int | None) -> bool:
    return fits_in(estimated(shape, spec, settings).peak, usable) in ("yes", "unknown")


def _predicted_seconds(
    shape: Shape, spec: OptimizerSpec, settings: Settings, usable: int | None, models: Models, tell: Tell
) -> float:
    """Seconds of a whole step of the baseline, from a shallow model; 0 on a GPU, and for models as small as that."""
    below = [upper for upper in SHALLOW if upper < shape.dimensions.layers]
    fitting = [upper for upper in below if _fits(shape.with_layers(upper), spec, settings, usable)]
    upper = max(fitting, default=min(SHALLOW))
    if settings.device != "cpu" or shape.dimensions.layers <= upper:
        return 0.0
    tell(f"{shape.name}: how long a whole step would take, from {upper} layers")
    depths = two_depths(shape.dimensions.layers, upper)
    seconds = [math.inf]
    with noting_out_of_memory(lambda: None):
        stack, batch = models.at(upper)
        seconds = [timed_block(stack, depth, spec, batch, 1).walls[0] for depth in depths]
    if len(seconds) < len(depths):
        return math.inf
    return max(seconds[-1], on_the_line(depths, seconds, shape.dimensions.layers))


def _slow(seconds: float) -> str:
    if math.isinf(seconds):
        return "memory ran out"
    return f"a whole step of AdamW would take about {seconds:.2g} s"
