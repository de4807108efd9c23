"""Whether an optimizer is one of torch's own under another name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from optbench.conformance.boundary import foreign
from optbench.conformance.problem import gradients
from optbench.conformance.subject import Outcome, Run, Subject, Weights, apart
from optbench.optim.torch_rule import TorchRule

SAME_STEPS = 5
REFERENCE = 1e-3
"""The rate at which a known rule takes the first step, beside which the rate of the other one is read."""
LIKE = 1e-4
"""Of the movement: numbers that are as near are called the same. An eps of 1e-6 is near, another beta is not."""
BETAS = ((0.9, 0.999), (0.9, 0.99), (0.9, 0.98), (0.9, 0.95), (0.95, 0.95), (0.95, 0.99))
DECAYS = (0.0, 0.01, 0.1)


@dataclass(frozen=True)
class _Known:
    """An optimizer of torch, with its options, for matrices only or for everything."""

    name: str
    kind: Callable[..., torch.optim.Optimizer]
    options: Mapping[str, Any]
    matrices: bool = False

    def describe(self, lr: float) -> str:
        given = ", ".join(f"{name}={value}" for name, value in {"lr": f"{lr:.4g}", **self.options}.items())
        return f"torch.optim.{self.name}({given})"

    def begins_as(self) -> str:
        """What the first step depends on: AdamW corrects its averages, so that the betas are not in it."""
        return f"{self.name} " + str({name: value for name, value in self.options.items() if name != "betas"})


def differs_from_known_rules(subject: Subject) -> Outcome:
    """Whether it gives the numbers of torch's AdamW, SGD or Muon at some constant rate: a placebo is worth knowing.

    The first step of each of those is proportional to its rate. So one rate for each is read from the first movements,
    and what follows is compared at that rate. Of AdamW, betas and decays in use are tried beside its own.
    """
    run = subject.fed(steps=SAME_STEPS)
    judged, first = _judged(run), _judged(subject.fed(steps=1))
    tolerance = max(subject.base_tolerance, LIKE)
    rates: dict[str, float] = {}
    agreeing: dict[str, list[str]] = {}
    for known in _known(run):
        begins = known.begins_as()
        if begins not in rates:
            rates[begins] = _rate(first, _beside(known, run, REFERENCE, 1), run.start, tolerance)
        lr = rates[begins]
        if lr <= 0.0:
            continue
        agreeing[known.describe(lr)] = [
            name
            for name, weight in _beside(known, run, lr, SAME_STEPS).items()
            if apart({name: judged[name]}, {name: weight}, run.start)[0] <= tolerance
        ]
    same: dict[str, str] = {}
    # Two may agree on one parameter, as the two kinds of Muon do on a square matrix: that of more parameters is named.
    for described, names in sorted(agreeing.items(), key=lambda pair: -len(pair[1])):
        same |= {name: described for name in names if name not in same}
    if not same:
        return Outcome(
            True,
            f"{SAME_STEPS} steps give the numbers of none of torch's AdamW (of {len(BETAS)} pairs of betas, and its "
            "own), SGD and Muon at any constant rate",
        )
    groups: dict[str, list[str]] = defaultdict(list)
    for name, known_name in same.items():
        groups[known_name].append(name)
    words = "; ".join(f"{known}: {_which(names, run)}" for known, names in groups.items())
    expected = subject.spec.rule.kind in ("adamw", "gd", "muon")
    everything = len(same) == len(run.parameters)
    return Outcome(
        expected or not everything, f"{SAME_STEPS} steps give, at a constant rate, the same numbers as {words}"
    )


def _judged(run: Run) -> Weights:
    with foreign("evaluating"), run.optimizer.rule.evaluating():
        return run.weights()


def _rate(first: Weights, twin: Weights, start: Weights, tolerance: float) -> float:
    """The rate at which most parameters make the first step of the twin, which it made at REFERENCE; 0 where none
    makes it at any."""
    found: Counter[float] = Counter()
    exact: dict[float, float] = {}
    for name, weight in twin.items():
        one, other = (first[name] - start[name]).double(), (weight - start[name]).double()
        ratio = float((one * other).sum() / other.square().sum()) if bool(other.any()) else 0.0
        if ratio > 0.0 and float((one - ratio * other).norm()) <= tolerance * float(one.norm()):
            rounded = float(f"{ratio:.3g}")
            found[rounded] += 1
            exact.setdefault(rounded, ratio)
    return REFERENCE * exact[found.most_common(1)[0][0]] if found else 0.0


def _which(names: list[str], run: Run) -> str:
    if len(names) == len(run.parameters):
        return "all parameters"
    roles = sorted({p.role for p in run.parameters if p.name in names})
    return f"{len(names)} of {len(run.parameters)} parameters ({', '.join(roles)})"


def _known(run: Run) -> Iterator[_Known]:
    """Torch's own with usual options and, where they name the same things, with the options of this optimizer."""
    rule = run.optimizer.rule
    own: Mapping[str, Any] = rule.engines[0].defaults if isinstance(rule, TorchRule) else {}

    def taken(*names: str) -> dict[str, Any]:
        return {name: own[name] for name in names if name in own and isinstance(own[name], int | float | tuple)}

    yield _Known("AdamW", torch.optim.AdamW, {"betas": BETAS[0], **taken("betas", "eps", "weight_decay")})
    decays = dict.fromkeys((*taken("weight_decay").values(), *DECAYS))
    for decay in decays:
        for betas in BETAS:
            yield _Known("AdamW", torch.optim.AdamW, {"betas": betas, "weight_decay": decay})
    yield _Known("SGD", torch.optim.SGD, taken("momentum", "weight_decay"))
    yield _Known("SGD", torch.optim.SGD, {})
    for nesterov in (False, True):
        yield _Known("SGD", torch.optim.SGD, {"momentum": 0.9, "nesterov": nesterov})
    for adjust in ("original", "match_rms_adamw"):
        yield _Known("Muon", torch.optim.Muon, {"weight_decay": 0.0, "adjust_lr_fn": adjust}, matrices=True)
    yield _Known("Muon", torch.optim.Muon, {}, matrices=True)


def _beside(known: _Known, run: Run, lr: float, steps: int) -> Weights:
    """The weights after the same gradients under a known optimizer; empty where it refuses the options."""
    chosen = [p for p in run.parameters if p.tensor.dim() == 2 or not known.matrices]
    copies = [torch.nn.Parameter(run.start[p.name].clone()) for p in chosen]
    try:
        engine = known.kind(copies, lr=lr, **known.options)
        for step in range(steps):
            for copy, gradient in zip(copies, gradients(chosen, step), strict=True):
                copy.grad = gradient
            engine.step()
    except (TypeError, ValueError):
        return {}  # The options of this optimizer mean something else there (three betas, for instance).
    return {p.name: copy.detach() for p, copy in zip(chosen, copies, strict=True)}
