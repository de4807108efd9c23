"""An optimizer under examination, and short trainings with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from optbench.conformance.boundary import foreign
from optbench.conformance.problem import EXAMPLES, Network, gradients, oracle, trainable
from optbench.optim.base import Parameter
from optbench.optim.specs import OptimizerSpec
from optbench.rng import seeded_torch

STEPS = 4
PATIENCE = 100
"""Steps within which every parameter is to have moved: rules that take turns, or look before they move, need some."""
SEED = 0
BLUNT = 1e-2
"""Of the movement: noise above which nothing is said of two ways that should agree up to rounding."""
Weights = Mapping[str, Tensor]


class Outcome(NamedTuple):
    """Whether a property holds, the sentence that says so, and whether it may be asked of this optimizer at all."""

    passed: bool
    detail: str
    required: bool = True


@dataclass(frozen=True)
class Subject:
    """The spec, the type of numbers that its trainings are done in (float64 where it takes that), and its `noise`: the
    distance, over what was moved, that comes of last digits of the first weights. Most rules have none; a basis of
    eigenvectors to equal eigenvalues is arbitrary, and rules that take one have much. Trainings take `steps`, so many
    that all that moves has done so after the first one."""

    spec: OptimizerSpec
    dtype: torch.dtype
    noise: float = 0.0
    steps: int = STEPS
    runs: bool = True
    """Whether a training ends with finite weights in any type of numbers."""

    @property
    def base_tolerance(self) -> float:
        """What rounding may do to a distance, over what was moved, under a rule that does not amplify it."""
        return 1e-6 if self.dtype == torch.float64 else 1e-3

    @property
    def is_blunt(self) -> bool:
        """Whether last digits come to so much that ways which differ in their rounding cannot be compared."""
        return self.noise > BLUNT

    @property
    def tolerance(self) -> float:
        """Of a distance over what was moved, where two ways should agree up to rounding, as far as this rule can."""
        return max(self.base_tolerance, 10 * self.noise)

    def run(self, spec: OptimizerSpec | None = None, **how: Any) -> Run:
        """A new network under the optimizer, or under another one of the same numbers."""
        return Run(spec or self.spec, **{"dtype": self.dtype, **how})

    def trained(self, spec: OptimizerSpec | None = None, *, factors: Sequence[float] = (), **how: Any) -> Run:
        """A run after one step for each factor on the rate, its own number of steps at 1 where none are given. Torch's
        generator begins anew, so that optimizers which draw from it draw the same."""
        with seeded_torch(SEED):
            run = self.run(spec, **how)
            for factor in factors or (1.0,) * self.steps:
                run.step(factor)
        return run

    def fed(self, *, sign: float = 1.0, size: float = 1.0, steps: int = 0, **how: Any) -> Run:
        """A run after so many steps (its own number where 0) with drawn gradients, which no weight changes."""
        with seeded_torch(SEED):
            run = self.run(**how)
            for step in range(steps or self.steps):
                run.feed(gradients(run.parameters, step, sign * size))
        return run


class Run:
    """A network and its optimizer. What the optimizer raises comes as `Raised`."""

    def __init__(
        self,
        spec: OptimizerSpec,
        *,
        dtype: torch.dtype,
        tied: bool = False,
        order: Callable[[list[Parameter]], list[Parameter]] = list,
        sizes: Sequence[int] = (EXAMPLES,),
        nudge: float = 0.0,
    ) -> None:
        self.network = Network(dtype, tied=tied)
        self.parameters = order(trainable(self.network))
        with torch.no_grad():
            for p in self.parameters:
                p.tensor.mul_(1 + nudge)
        self.start = self.weights()
        self.passes = 0.0
        self.steps = 0
        self._sizes = sizes
        with foreign("building it"):
            self.optimizer = spec.build(self.parameters)

    def step(self, factor: float = 1.0) -> Tensor:
        """One step on the next batch; its loss."""
        of = oracle(self.network, self.steps, self._sizes)
        with foreign(f"step {self.steps + 1}"):
            loss = self.optimizer.step(of, factor).loss
        self.steps += 1
        self.passes += of.passes
        return loss

    def feed(self, given: Sequence[Tensor], factor: float = 1.0) -> None:
        """One update by the rule with these gradients."""
        for p, gradient in zip(self.parameters, given, strict=True):
            p.tensor.grad = gradient.clone()
        with foreign(f"step {self.steps + 1}"), torch.no_grad():
            self.optimizer.rule.apply(factor)
        self.steps += 1

    def weights(self) -> Weights:
        """Copies of what is trained, by name."""
        return {p.name: p.tensor.detach().clone() for p in self.parameters}

    def moved(self) -> Weights:
        """How far from the start."""
        return {name: weight - self.start[name] for name, weight in self.weights().items()}


def apart(one: Weights, other: Weights, start: Weights) -> tuple[float, str]:
    """The largest distance between two results over what the second one moved, and of which parameter it is; the
    rounding of the weights themselves is taken off. Infinite where one moved and the other did not, or is NaN."""
    worst, where = 0.0, next(iter(one))
    for name, weight in other.items():
        rounding = 32 * torch.finfo(weight.dtype).eps * float(weight.double().norm())
        distance = float((one[name].double() - weight.double()).norm())
        excess = max(0.0, distance - rounding) if math.isfinite(distance) else math.inf
        moved = float((weight.double() - start[name].double()).norm())
        found = 0.0 if excess == 0.0 else (excess / moved if moved > 0.0 else math.inf)
        if found > worst:
            worst, where = found, name
    return worst, where


def steps_of(subject: Subject) -> int:
    """How many steps its trainings are to take: until every parameter has moved after the first step, which tells no
    schedule from none. What does not move within PATIENCE does not count."""
    with seeded_torch(SEED):
        run = subject.run()
        waiting, needed = set(run.start), STEPS
        while waiting and run.steps < PATIENCE:
            before = run.weights()
            run.step()
            moved = waiting & set(differing(run.weights(), before))
            if run.steps > 1 and moved:
                waiting -= moved
                needed = max(needed, run.steps)
    return needed


def noise_of(subject: Subject) -> float:
    """How far the last digits of the first weights carry, over what was moved."""
    plain = subject.trained()
    nudged = subject.trained(nudge=4 * torch.finfo(subject.dtype).eps)
    return apart(nudged.weights(), plain.weights(), plain.start)[0]


def differing(one: Weights, other: Weights) -> list[str]:
    """The names of those that are not the same, bit for bit."""
    return [name for name, weight in other.items() if not same_bits(one[name], weight)]


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same bytes: NaN is itself, and -0 is not 0."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.contiguous().view(-1).view(torch.uint8).equal(other.contiguous().view(-1).view(torch.uint8))


def said(distance: float) -> str:
    """A distance of `apart` in words."""
    return f"{distance:.1g} of the movement" if distance else "no more than rounding"


def listed(names: Sequence[str], limit: int = 6) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def not_finite(weights: Weights) -> list[str]:
    """The names of those that hold a number which is not finite."""
    return [name for name, weight in weights.items() if not bool(torch.isfinite(weight).all())]
