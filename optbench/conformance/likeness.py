"""Whether an optimizer is one of torch's own under another name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from optbench.conformance.boundary import foreign
from optbench.conformance.problem import gradients
from optbench.conformance.rates import named_rates
from optbench.conformance.subject import Outcome, Run, Subject, apart
from optbench.optim.torch_rule import TorchRule

SAME_STEPS = 5


@dataclass(frozen=True)
class _Known:
    """An optimizer of torch, with its options, for matrices only or for everything."""

    name: str
    kind: Callable[..., torch.optim.Optimizer]
    options: Mapping[str, Any]
    matrices: bool = False

    def describe(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"torch.optim.{self.name}({given})"


def differs_from_known_rules(subject: Subject) -> Outcome:
    """Whether it gives the numbers of torch's AdamW, SGD or Muon at its own rate: a placebo is worth knowing."""
    rates = named_rates(subject.spec)
    run = subject.fed(steps=SAME_STEPS)
    with foreign("evaluating"), run.optimizer.rule.evaluating():
        judged = run.weights()
    if "lr" not in rates:
        return Outcome(True, "no field is named lr, at which the known rules could be run beside it")
    same: dict[str, str] = {}
    for known in _known(run):
        twin = _beside(known, run, rates["lr"])
        for name, weight in twin.items():
            one, other = {name: judged[name]}, {name: weight}
            if name not in same and bool((weight != run.start[name]).any()):
                distance, _ = apart(one, other, run.start)
                if distance <= subject.base_tolerance:
                    same[name] = known.describe()
    if not same:
        return Outcome(
            True,
            f"{SAME_STEPS} steps give the numbers of none of torch's AdamW, SGD and Muon at that constant rate",
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


def _which(names: list[str], run: Run) -> str:
    if len(names) == len(run.parameters):
        return "all parameters"
    roles = sorted({p.role for p in run.parameters if p.name in names})
    return f"{len(names)} of {len(run.parameters)} parameters ({', '.join(roles)})"


def _known(run: Run) -> Iterator[_Known]:
    """Torch's own with their defaults and, where they name the same things, with the options of this optimizer."""
    rule = run.optimizer.rule
    own: Mapping[str, Any] = rule.engines[0].defaults if isinstance(rule, TorchRule) else {}

    def taken(*names: str) -> dict[str, Any]:
        return {name: own[name] for name in names if name in own and isinstance(own[name], int | float | tuple)}

    yield _Known("AdamW", torch.optim.AdamW, taken("betas", "eps", "weight_decay"))
    yield _Known("AdamW", torch.optim.AdamW, {"weight_decay": 0.0})
    yield _Known("AdamW", torch.optim.AdamW, {})
    yield _Known("SGD", torch.optim.SGD, taken("momentum", "weight_decay"))
    yield _Known("SGD", torch.optim.SGD, {})
    for nesterov in (False, True):
        yield _Known("SGD", torch.optim.SGD, {"momentum": 0.9, "nesterov": nesterov})
    for adjust in ("original", "match_rms_adamw"):
        yield _Known("Muon", torch.optim.Muon, {"weight_decay": 0.0, "adjust_lr_fn": adjust}, matrices=True)
    yield _Known("Muon", torch.optim.Muon, {}, matrices=True)


def _beside(known: _Known, run: Run, lr: float) -> dict[str, Tensor]:
    """The weights after the same gradients under a known optimizer; empty where it refuses the options."""
    chosen = [p for p in run.parameters if p.tensor.dim() == 2 or not known.matrices]
    copies = [torch.nn.Parameter(run.start[p.name].clone()) for p in chosen]
    try:
        engine = known.kind(copies, lr=lr, **known.options)
        for step in range(SAME_STEPS):
            for copy, gradient in zip(copies, gradients(chosen, step), strict=True):
                copy.grad = gradient
            engine.step()
    except (TypeError, ValueError):
        return {}  # The options of this optimizer mean something else there (three betas, for instance).
    return {p.name: copy.detach() for p, copy in zip(chosen, copies, strict=True)}
