"""Whether the rate is the base rate times the schedule's factor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from optbench.conformance.subject import STEPS, Outcome, Run, Subject, apart, differing, listed, said
from optbench.optim.rules.torch_optimizer import TorchOptimizer
from optbench.optim.specs import OptimizerSpec

FACTORS = (1.0, 0.5, 1.0, 0.25)
TIMES = 2.0
"""A power of two, so that a rate times this and a factor over it make the very same product."""


def follows_the_factor(subject: Subject) -> Outcome:
    """Twice the base rates under half the factors is the same training, and other factors are another one."""
    if not named_rates(subject.spec):
        return Outcome(False, "no field of the rule is named lr, lr_... or ..._lr, so that its rate cannot be set")
    base = subject.trained(factors=FACTORS)
    constant = subject.trained(factors=(1.0,) * len(FACTORS))
    unmoved = [name for name in differing(base.weights(), base.start) if _same(base, constant, name)]
    if unmoved:
        return Outcome(False, f"factors {_words(FACTORS)} and a constant factor of 1 give the same {listed(unmoved)}")
    halves = tuple(factor / TIMES for factor in FACTORS)
    found: list[tuple[float, str, tuple[str, ...]]] = []
    for names, spec in _raised(subject.spec):
        distance, where = apart(subject.trained(spec, factors=halves).weights(), base.weights(), base.start)
        found.append((distance, where, names))
    distance, where, names = min(found)
    if distance > subject.base_tolerance:
        return Outcome(
            False,
            f"{TIMES:g} times the base rate ({', '.join(names)}) under factors {_words(halves)} differs from the base "
            f"rate under {_words(FACTORS)} by {distance:.2g} of the movement in {where}; both are the same rates, and "
            f"{subject.base_tolerance:g} is rounding: the factor is not applied to the base rate, or it compounds",
        )
    return Outcome(
        True,
        f"{TIMES:g} times the base rate ({', '.join(names)}) under half the factors {_words(FACTORS)} is the same "
        f"training and differs by {said(distance)}",
    )


def rests_at_zero(subject: Subject) -> Outcome:
    """A factor of zero leaves the weights where they are, at the first step and later.

    A schedule that ends at zero relies on it: what still moves there is not under the schedule. Rules that say that
    they average (`averages: true`) are asked all the same, and excused: their training weights go on towards the mean.
    """
    averages = isinstance(subject.spec.rule, TorchOptimizer) and subject.spec.rule.averages
    for factors in ((0.0,), (1.0,) * (STEPS - 1) + (0.0,)):
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
    return Outcome(True, f"a factor of 0 moves nothing, at step 1 and at step {STEPS}", required=not averages)


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
    return ", ".join(f"{factor:g}" for factor in factors)
