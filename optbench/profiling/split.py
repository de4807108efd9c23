"""Where the time of a step goes, seen from outside: the oracle's passes, the rule and Newton-Schulz are watched."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch

from optbench.models.language_model import LanguageModel
from optbench.optim import newton_schulz
from optbench.optim.base import Optimizer
from optbench.optim.specs import OptimizerSpec
from optbench.oracle import Batch, Oracle
from optbench.profiling.counting import noting_bytes
from optbench.profiling.depths import Stack
from optbench.profiling.stepping import fresh, one_step

STEPS = 3
"""Steps that are split unless said otherwise; the one of median time is reported, so that its parts add up."""


@dataclass(frozen=True)
class Split:
    """Shares of a step, which add up to 1: the first pass (forward and backward); further passes, at shifted weights or
    for a cotangent; the perturbation (ascent, shift, restoring); the rule without Newton-Schulz; Newton-Schulz of the
    rule; and the rest (the norm of the gradient, clipping)."""

    first_pass: float
    second_pass: float
    perturbation: float
    rule: float
    newton_schulz: float
    other: float

    def shares(self) -> dict[str, float]:
        """The parts by name, in order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


PARTS = tuple(field.name for field in fields(Split))


@dataclass(frozen=True)
class Looked:
    """What is seen of steps at one depth: the split; bytes of state and of the peak (NaN where the platform cannot
    tell); and the cosine between the shift that was asked for and what products saw of it (NaN without a shift)."""

    split: Split
    state_bytes: float
    peak_bytes: float
    shift_cosine: float


def look(stack: Stack, depth: int, spec: OptimizerSpec, batch: Batch, *, steps: int = STEPS) -> Looked:
    """Looks at a fresh optimizer at `depth` layers. On a GPU every part of a split step waits for the device, so that
    such steps are slower than the timed ones: only the shares are used."""
    model, cosine = stack.model, math.nan
    with stack.at(depth) as parameters, noting_bytes(model.device.type) as peak:
        with fresh(spec, parameters, model, batch) as optimizer:
            found = [_split(model, optimizer, batch) for _ in range(steps)]
            highest, state = peak(), float(optimizer.state_bytes())
            if getattr(spec.estimator, "ascent", None) is not None:
                notes = one_step(model, optimizer, batch, observe=True).notes
                cosine = float(notes.get("shift_cosine", math.nan))
    return Looked(sorted(found, key=lambda pair: pair[0])[len(found) // 2][1], state, highest, cosine)


def _split(model: LanguageModel, optimizer: Optimizer, batch: Batch) -> tuple[float, Split]:
    now = _now_of(model)
    passes: list[float] = []
    spans: dict[str, float] = {"estimate": 0.0, "rule": 0.0, "newton_schulz": 0.0}
    inside_rule = [False]

    def add(name: str) -> Callable[[float], None]:
        def added(seconds: float) -> None:
            spans[name] += seconds

        return added

    def orthogonalised(seconds: float) -> None:
        if inside_rule[0]:
            spans["newton_schulz"] += seconds

    def apply(lr_scale: float) -> None:
        inside_rule[0] = True
        try:
            rule.apply(lr_scale)
        finally:
            inside_rule[0] = False

    rule, estimator = optimizer.rule, optimizer.estimator
    optimizer.rule = _Standing(rule, "apply", _timed(apply, now, add("rule")))
    optimizer.estimator = _Standing(estimator, "estimate", _timed(estimator.estimate, now, add("estimate")))
    try:
        with ExitStack() as watching:
            for name in ("gradient", "cotangent", "loss"):
                watching.enter_context(_watched(Oracle, name, now, passes.append))
            if hasattr(newton_schulz, NEWTON_SCHULZ):
                watching.enter_context(_watched(newton_schulz, NEWTON_SCHULZ, now, orthogonalised))
            else:
                spans["newton_schulz"] = math.nan
            start = now()
            one_step(model, optimizer, batch)
            total = now() - start
    finally:
        optimizer.rule, optimizer.estimator = rule, estimator
    schulz = spans["newton_schulz"]
    parts = Split(
        first_pass=passes[0] / total,
        second_pass=sum(passes[1:]) / total,
        perturbation=max(0.0, spans["estimate"] - sum(passes)) / total,
        rule=(spans["rule"] - (0.0 if math.isnan(schulz) else schulz)) / total,
        newton_schulz=schulz / total,
        other=max(0.0, total - spans["estimate"] - spans["rule"]) / total,
    )
    return total, parts


NEWTON_SCHULZ = "orthogonalise"
"""What Muon's rule calls, looked up in its module at every call."""


class _Standing:
    """Stands for an object, with one method replaced."""

    def __init__(self, of: Any, name: str, method: Callable[..., Any]) -> None:
        self._of = of
        setattr(self, name, method)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)


def _timed(function: Callable[..., Any], now: Callable[[], float], note: Callable[[float], None]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = now()
        result = function(*args, **kwargs)
        note(now() - start)
        return result

    return timed


@contextmanager
def _watched(owner: Any, name: str, now: Callable[[], float], note: Callable[[float], None]) -> Iterator[None]:
    """Inside, `owner.name` is timed."""
    original = getattr(owner, name)
    setattr(owner, name, _timed(original, now, note))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _now_of(model: LanguageModel) -> Callable[[], float]:
    if model.device.type != "cuda":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return now
