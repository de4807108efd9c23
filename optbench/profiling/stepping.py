"""Steps on one model, and what they take: blocks of them, timed in turn with the baseline's."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from optbench.clock import Clock, clock_of
from optbench.errors import is_out_of_memory
from optbench.models.language_model import LanguageModel, cross_entropy
from optbench.optim.base import Optimizer, Parameter, StepInfo
from optbench.optim.specs import OptimizerSpec
from optbench.oracle import Batch, Oracle
from optbench.profiling.depths import Stack, on_the_line

LR_SCALE = 1e-4
"""Factor on learning rates: all the work of an update is done, and the weights stay what they are, so that whoever
comes later meets the same model."""
BLOCK_SECONDS, MOST_STEPS = 0.4, 20
"""How long a block of steps lasts unless said otherwise, and how many steps it has at most."""


@dataclass(frozen=True)
class Block:
    """Timed steps. `cost` is the mean of one, in what ratios are taken of: seconds of the processor over all threads,
    or of the GPU. `walls` are the seconds of each that passed."""

    cost: float
    walls: tuple[float, ...]


@dataclass
class Series:
    """The blocks of an optimizer and of the baseline beside them, one of each per round, by depth. `failed` says that
    memory ran out."""

    ours: dict[int, list[Block]] = field(default_factory=dict)
    theirs: dict[int, list[Block]] = field(default_factory=dict)
    failed: bool = False

    def walls(self, layers: int, quantile: float) -> float:
        """A quantile of the seconds of a step at so many layers."""
        depths = sorted(self.ours)
        values = [_quantile([w for block in self.ours[d] for w in block.walls], quantile) for d in depths]
        return on_the_line(depths, values, layers)

    def mean(self, layers: int) -> float:
        """The mean seconds of a step at so many layers: of the median block, for a block is whole periods."""
        depths = sorted(self.ours)
        blocks = [[sum(block.walls) / len(block.walls) for block in self.ours[d]] for d in depths]
        return on_the_line(depths, [_quantile(values, 0.5) for values in blocks], layers)

    def ratios(self, layers: int) -> list[float]:
        """Of each round, the cost of a step over that of the baseline's, at so many layers."""
        depths = sorted(self.ours)
        found = []
        paired = min(len(side.get(d, [])) for d in depths for side in (self.ours, self.theirs))
        for turn in range(paired):
            ours, theirs = (
                on_the_line(depths, [side[d][turn].cost for d in depths], layers) for side in (self.ours, self.theirs)
            )
            found.append(ours / theirs if ours > 0 and theirs > 0 else math.nan)
        return found

    @property
    def is_noise(self) -> bool:
        """Whether the deeper model was no slower than the shallow one: such a line says nothing."""
        for side in (self.ours, self.theirs):
            depths = sorted(side)
            costs = [_quantile([block.cost for block in side[d]], 0.5) for d in depths]
            if len(depths) > 1 and costs[-1] <= costs[0]:
                return True
        return False

    @property
    def steps(self) -> int:
        """Timed steps at each depth."""
        return min((sum(len(block.walls) for block in blocks) for blocks in self.ours.values()), default=0)


def one_step(model: LanguageModel, optimizer: Optimizer, batch: Batch, *, observe: bool = False) -> StepInfo:
    """A step of training, as the loop takes it."""
    return optimizer.step(Oracle(model, cross_entropy, batch), LR_SCALE, observe=observe)


@contextmanager
def fresh(
    spec: OptimizerSpec, parameters: Sequence[Parameter], model: LanguageModel, batch: Batch, *, warm: bool = True
) -> Iterator[Optimizer]:
    """An optimizer whose first step, which allocates its state, is behind it, if it is to be `warm`; afterwards its
    memory is free again."""
    optimizer: Optimizer = spec.build(parameters)
    try:
        if warm:
            one_step(model, optimizer, batch)
        yield optimizer
    finally:
        del optimizer
        forget(parameters)


def forget(parameters: Sequence[Parameter]) -> None:
    """Drops the gradients."""
    for p in parameters:
        p.tensor.grad = None


def release() -> None:
    """Gives back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def noting_out_of_memory(note: Callable[[], None]) -> Iterator[None]:
    """Calls `note` where memory runs out inside; any other error passes."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        note()
    else:
        return
    release()


def timed_block(stack: Stack, depth: int, spec: OptimizerSpec, batch: Batch, steps: int) -> Block:
    """A fresh optimizer, its first step not timed, then `steps` steps, or as many more as make whole periods of an
    optimizer whose steps are not all alike."""
    model = stack.model
    period = int(getattr(spec.estimator, "refresh_every", 1))
    steps = period * math.ceil(steps / period)
    with stack.at(depth) as parameters, fresh(spec, parameters, model, batch) as optimizer:
        if model.device.type == "cuda":
            return _on_gpu(lambda: one_step(model, optimizer, batch), steps, clock_of(model.device))
        walls = []
        start = time.process_time()
        for _ in range(steps):
            begun = time.perf_counter()
            one_step(model, optimizer, batch)
            walls.append(time.perf_counter() - begun)
        return Block((time.process_time() - start) / steps, tuple(walls))


def _on_gpu(step: Callable[[], Any], steps: int, clock: Clock) -> Block:
    torch.cuda.synchronize()
    for _ in range(steps):
        clock.start()
        step()
        clock.stop()
    walls = clock.read()
    return Block(sum(walls) / steps, tuple(walls))


def in_turn(
    stack: Stack,
    depths: Sequence[int],
    specs: Mapping[str, OptimizerSpec],
    baseline: str,
    batch: Batch,
    *,
    rounds: int,
    steps: int,
    tell: Callable[[str], None],
) -> dict[str, Series]:
    """Rounds of blocks. Each block of the baseline stands between those of two others, which are compared with it;
    every other round runs backwards, so that nobody always goes first."""
    found = {name: Series() for name in specs}
    for turn in range(rounds):
        tell(f"round {turn + 1} of {rounds}")
        for depth in depths:
            for group in groups(list(specs), baseline, backwards=turn % 2 == 1):
                _run(group, stack, depth, specs, baseline, batch, steps, found)
    return found


def groups(names: Sequence[str], baseline: str, *, backwards: bool) -> list[list[str]]:
    """The order of a round: X baseline Y, and so on through all others; alone, the baseline is all there is."""
    others = [name for name in names if name != baseline]
    order = [[*others[i : i + 1], baseline, *others[i + 1 : i + 2]] for i in range(0, len(others), 2)]
    if baseline not in names:
        order = [[name] for name in others]
    order = order or [[baseline]]
    return [group[::-1] for group in order[::-1]] if backwards else order


def _run(
    group: Sequence[str],
    stack: Stack,
    depth: int,
    specs: Mapping[str, OptimizerSpec],
    baseline: str,
    batch: Batch,
    steps: int,
    found: dict[str, Series],
) -> None:
    blocks: dict[str, Block] = {}
    for name in group:
        series = found[name]
        if series.failed:
            continue

        def failed(series: Series = series) -> None:
            series.failed = True

        with noting_out_of_memory(failed):
            blocks[name] = timed_block(stack, depth, specs[name], batch, steps)
    for name, block in blocks.items():
        found[name].ours.setdefault(depth, []).append(block)
        if baseline in blocks:
            found[name].theirs.setdefault(depth, []).append(blocks[baseline])


def _quantile(values: Sequence[float], quantile: float) -> float:
    return float(torch.tensor(list(values), dtype=torch.float64).quantile(quantile))
