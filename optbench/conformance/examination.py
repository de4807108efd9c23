"""Whether an optimizer is fit to be compared: its properties, tried one after another on a small problem.

Foreign code runs in this process, as it does in a run. What it raises is a finding; the other properties are still
tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from optbench.conformance import behaviour, costs, likeness, rates, repeating, surroundings, updating
from optbench.conformance.boundary import Raised, foreign, generators_kept
from optbench.conformance.finding import Finding
from optbench.conformance.problem import Network, trainable
from optbench.conformance.subject import Outcome, Subject, noise_of, not_finite, steps_of
from optbench.errors import UserError
from optbench.optim.base import Parameter
from optbench.optim.specs import OptimizerSpec
from optbench.rng import seeded_torch


@dataclass(frozen=True)
class Check:
    """A property by name, whether it is required of whatever is compared, and how it is tried."""

    name: str
    required: bool
    tried: Callable[[Subject], Outcome]


BUILDS, CLAIMS = "builds", "claims every parameter once"
CHECKS = (
    Check("moves every parameter", True, updating.moves_everything),
    Check("uses the gradient", True, updating.uses_the_gradient),
    Check("touches nothing else", True, updating.touches_nothing_else),
    Check("bears a gradient of zero", True, updating.bears_no_gradient),
    Check("follows the schedule's factor", True, rates.follows_the_factor),
    Check("rests at a factor of zero", True, rates.rests_at_zero),
    Check("repeats bit for bit", True, repeating.repeats),
    Check("instances are independent", True, repeating.stands_alone),
    Check("resumes bit for bit", True, repeating.resumes),
    Check("is evaluated at the right weights", True, repeating.returns_from_evaluation),
    Check("is the same for a batch in parts", True, surroundings.ignores_the_cut),
    Check("is itself under SAM with rho 0", True, surroundings.is_itself_at_radius_zero),
    Check("runs under every estimator", True, surroundings.serves_estimators),
    Check("lends what it declares", True, surroundings.lends_its_state),
    Check("counts the passes it declares", True, costs.passes_as_declared),
    Check("does not amplify rounding", False, surroundings.keeps_rounding_small),
    Check("treats hidden matrices alike", False, updating.treats_matrices_alike),
    Check("leaves p.grad alone", False, updating.leaves_the_gradient),
    Check("leaves the global generators", False, repeating.leaves_the_generators),
    Check("ignores the order of parameters", False, surroundings.ignores_the_order),
    Check("states its memory", False, costs.states_its_memory),
    Check("never waits for the device", False, costs.never_waits),
    Check("descends a quadratic", False, behaviour.descends),
    Check("bears gradients of any size", False, behaviour.bears_any_size),
    Check("keeps its arithmetic in every type", False, behaviour.keeps_its_arithmetic),
    Check("is no known rule in disguise", False, likeness.differs_from_known_rules),
)
"""Everything that is tried of an optimizer that builds; docs/conformance.md says why."""


def examine(spec: OptimizerSpec) -> list[Finding]:
    """What is found of an optimizer, required properties first; takes seconds.

    An optimizer that does not build, or does not claim every parameter, is found to fail that, and nothing else is
    tried. Raises UserError for a spec that builds for no parameters at all: a class that is not there, that refuses its
    options, or that needs more than a gradient.
    """
    with generators_kept(), torch.enable_grad(), seeded_torch(0):
        try:
            _check_usable(spec)
            admitted = _admission(spec)
        except Raised as error:
            return [Finding(BUILDS, True, False, f"{error}; nothing else was tried")]
        if not all(finding.passed for finding in admitted):
            return admitted
        subject = _subject(spec)
        return [*admitted, *(_finding(check, subject) for check in CHECKS)]


def _check_usable(spec: OptimizerSpec) -> None:
    """Raises UserError where not even a single matrix can be given to it: the spec is wrong, whatever the model."""
    alone = [Parameter("matrix", nn.Parameter(torch.ones(3, 3)), "hidden")]
    try:
        with foreign("building it"):
            spec.build(alone)
    except Raised as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error.__cause__.__cause__
        # Anything else is said when it is built for the network.


def _admission(spec: OptimizerSpec) -> list[Finding]:
    parameters = trainable(Network(torch.float32))
    with foreign("building it"):
        claims = [(name, list(own)) for name, own in spec.rule.build(parameters).claims().items()]
    sizes = sum(p.tensor.numel() for p in parameters)
    built = Finding(BUILDS, True, True, f"it builds for a network of {len(parameters)} tensors with {sizes} numbers")
    outcome = updating.claimed(claims, parameters)
    return [built, Finding(CLAIMS, True, outcome.passed, outcome.detail)]


def _subject(spec: OptimizerSpec) -> Subject:
    """In float64 where the optimizer takes it, else in float32; one that takes neither fails where it is tried."""
    for dtype in (torch.float64, torch.float32):
        subject = Subject(spec, dtype)
        try:
            if not_finite(subject.trained().weights()):
                continue
            subject = replace(subject, steps=steps_of(subject))
            noise = noise_of(subject)
            return replace(subject, noise=noise if math.isfinite(noise) else 0.0)
        except Raised:
            continue
    return Subject(spec, torch.float32, runs=False)


def _finding(check: Check, subject: Subject) -> Finding:
    try:
        outcome = check.tried(subject)
    except Raised as error:
        return Finding(check.name, check.required, False, str(error))
    return Finding(check.name, check.required and outcome.required, outcome.passed, outcome.detail)
