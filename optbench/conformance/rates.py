"""Whether the rate is the base rate times the schedule's factor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from optbench.conformance.problem import gradients
from optbench.conformance.subject import SEED, Outcome, Run, Subject, Weights, apart, differing, listed, said
from optbench.optim.rules.torch_optimizer import TorchOptimizer
from optbench.optim.specs import OptimizerSpec
from optbench.rng import seeded_torch

FACTORS = (1.0, 0.5, 0.75, 0.25)
TIMES = 2.0
"""A power of two, so that a rate times this and a factor over it make the very same product."""


def follows_the_factor(subject: Subject) -> Outcome:
    """Other factors are another training, and the factor scales the rate, in one of two ways.

    Either twice the base rates under half the factors is the same training: theta -= f lr (u + lambda theta), and all
    that depends on f lr alone. Or, from equal weights and gradients, every step is the factor times what it is at 1,
    whatever the factors before: theta -= f (lr u + lambda theta), the fully decoupled decay of AdamW as Loshchilov and
    Hutter write it (arXiv:1711.05101, algorithm 2), where raising the rate does not raise the decay.
    """
    if not named_rates(subject.spec):
        return Outcome(False, "no field of the rule is named lr, lr_... or ..._lr, so that its rate cannot be set")
    factors = _factors(subject.steps)
    base = subject.trained(factors=factors)
    constant = subject.trained()
    unmoved = [name for name in differing(base.weights(), base.start) if _same(base, constant, name)]
    if unmoved:
        return Outcome(False, f"factors {_words(factors)} and a constant factor of 1 give the same {listed(unmoved)}")
    halves = tuple(factor / TIMES for factor in factors)
    found: list[tuple[float, str, tuple[str, ...]]] = []
    for names, spec in _raised(subject.spec):
        distance, where = apart(subject.trained(spec, factors=halves).weights(), base.weights(), base.start)
        found.append((distance, where, names))
    distance, where, names = min(found)
    if distance <= subject.base_tolerance:
        return Outcome(
            True,
            f"{TIMES:g} times the base rate ({', '.join(names)}) under half the factors {_words(factors)} is the same "
            f"training and differs by {said(distance)}",
        )
    scaled = _scales_each_step(subject, factors)
    other = (
        f"{TIMES:g} times the base rate ({', '.join(names)}) under half the factors {_words(factors)} is another "
        f"training, by {distance:.2g} of the movement in {where}"
    )
    return Outcome(scaled.passed, f"{scaled.detail}; {other}")


def _scales_each_step(subject: Subject, factors: tuple[float, ...]) -> Outcome:
    """Whether from equal weights and gradients each step is its factor times the step at 1, and the base rate tells."""
    ones = (1.0,) * len(factors)
    plain, under = _steps(subject, subject.spec, ones), _steps(subject, subject.spec, factors)
    for place, factor in enumerate(factors):
        distance, where = _off(plain[place], under[place], factor)
        if distance > subject.base_tolerance:
            alone = _steps(subject, subject.spec, (*ones[:place], factor))
            why = "the factor does not scale all of a step"
            if _off(plain[place], alone[place], factor)[0] <= subject.base_tolerance:
                why = "after steps at 1 it would be, so that earlier factors are kept, or compound"
            return Outcome(
                False,
                f"from equal weights and gradients step {place + 1} at a factor of {factor:g} is not {factor:g} times "
                f"that at 1, by {distance:.2g} of it in {where}; {why}",
            )
    *_, (raised, spec) = _raised(subject.spec)
    faster = _steps(subject, spec, ones)
    deaf = [
        name
        for name in plain[0][1]
        if not any(
            differing({name: one[1][name]}, {name: two[1][name]}) for one, two in zip(plain, faster, strict=True)
        )
        and any(differing({name: start[name]}, {name: weights[name]}) for start, weights in plain)
    ]
    if deaf:
        return Outcome(False, f"{TIMES:g} times the base rate ({', '.join(raised)}) changes no step of {listed(deaf)}")
    return Outcome(True, "from equal weights and gradients each step is its factor times the step at a factor of 1")


def _steps(subject: Subject, spec: OptimizerSpec, factors: tuple[float, ...]) -> list[tuple[Weights, Weights]]:
    """The weights before and after each step, which all begin at the first weights, with drawn gradients: what a step
    does depends on neither the rates nor the factors before it, but through what the rule keeps of them."""
    found = []
    with seeded_torch(SEED):
        run = subject.run(spec)
        for step, factor in enumerate(factors):
            run.feed(gradients(run.parameters, step), factor)
            found.append((run.start, run.weights()))
            with torch.no_grad():
                for p in run.parameters:
                    p.tensor.copy_(run.start[p.name])
    return found


def _off(plain: tuple[Weights, Weights], under: tuple[Weights, Weights], factor: float) -> tuple[float, str]:
    """How far a step is from the factor times another one, as `apart` says it."""
    start, there = plain
    due = {name: start[name] + factor * (weight - start[name]) for name, weight in there.items()}
    return apart(under[1], due, start)


def _factors(steps: int) -> tuple[float, ...]:
    """The factors of so many steps; only the first is 1, so that what moves later shows the schedule."""
    return tuple(FACTORS[0] if step == 0 else FACTORS[1 + (step - 1) % (len(FACTORS) - 1)] for step in range(steps))


def rests_at_zero(subject: Subject) -> Outcome:
    """A factor of zero leaves the weights where they are, at the first step and later.

    A schedule that ends at zero relies on it: what still moves there is not under the schedule. Rules that say that
    they average (`averages: true`) are asked all the same, and excused: their training weights go on towards the mean.
    """
    averages = isinstance(subject.spec.rule, TorchOptimizer) and subject.spec.rule.averages
    for factors in ((0.0,), (1.0,) * (subject.steps - 1) + (0.0,)):
        before = subject.trained(factors=factors[:-1]) if len(factors) > 1 else subject.run()
        after = subject.trained(factors=factors)
        moved = differing(after.weights(), before.weights())
        if moved:
            change = max(float((after.weights()[name] - before.weights()[name]).abs().max()) for name in moved)
            excuse = "; it averages, and the average goes on" if averages else ""
            return Outcome(
                False,
                f"a factor of 0 at step {len(factors)} moves {listed(moved)} by up to {change:.2g}, where nothing "
                f"should move{excuse}",
                required=not averages,
            )
    return Outcome(True, f"a factor of 0 moves nothing, at step 1 and at step {subject.steps}", required=not averages)


def _same(one: Run, other: Run, name: str) -> bool:
    return not differing({name: one.weights()[name]}, {name: other.weights()[name]})


def named_rates(spec: OptimizerSpec) -> dict[str, float]:
    """The fields of the rule that are rates by their names, `lr` first; those of `options` as `options.<name>`."""
    fields: Mapping[str, Any] = {name: getattr(spec.rule, name) for name in type(spec.rule).model_fields}
    options = fields["options"] if isinstance(spec.rule, TorchOptimizer) else {}
    found = {name: value for name, value in fields.items() if _is_rate(name, value)}
    found |= {f"options.{name}": value for name, value in options.items() if _is_rate(name, value)}
    return dict(sorted(found.items(), key=lambda pair: pair[0] != "lr"))


def _is_rate(name: str, value: Any) -> bool:
    named = name == "lr" or name.startswith("lr_") or name.endswith("_lr")
    return named and isinstance(value, int | float) and not isinstance(value, bool)


def _raised(spec: OptimizerSpec) -> Iterator[tuple[tuple[str, ...], OptimizerSpec]]:
    """The spec with `lr` raised alone, and with everything raised that is a rate by its name."""
    rates = named_rates(spec)
    variants: list[tuple[str, ...]] = [("lr",)] if "lr" in rates else []
    if len(rates) > 1 or not variants:
        variants.append(tuple(rates))
    for names in variants:
        yield names, with_rates(spec, {name: rates[name] * TIMES for name in names})


def with_rates(spec: OptimizerSpec, rates: Mapping[str, float]) -> OptimizerSpec:
    """The spec with other rates, named as `named_rates` does."""
    rule = spec.rule.dump()
    for name, value in rates.items():
        place = rule["options"] if name.startswith("options.") else rule
        place[name.removeprefix("options.")] = value
    return OptimizerSpec.model_validate({**spec.dump(), "rule": rule})


def _words(factors: tuple[float, ...]) -> str:
    return ", ".join(f"{factor:g}" for factor in factors[: len(FACTORS)]) + (", ..." if factors[len(FACTORS) :] else "")
