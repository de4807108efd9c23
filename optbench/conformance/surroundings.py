"""Whether an optimizer does the same in the surroundings that it is compared in: parts of a batch, another order,
estimators that look twice."""

from __future__ import annotations

import torch

from optbench.conformance.boundary import foreign
from optbench.conformance.subject import Outcome, Subject, apart, listed, not_finite, said
from optbench.optim.ascents import ASCENTS
from optbench.optim.estimators import Plain, SharpnessAware
from optbench.optim.specs import OptimizerSpec

ALONE = "not asked: the rule needs a diagonal, which only its own estimator gives"


def keeps_rounding_small(subject: Subject) -> Outcome:
    """Last digits of the first weights stay last digits: else all that is compared up to rounding says little."""
    if not subject.runs:
        subject.trained()  # Tells what it raises, where it does.
        return Outcome(False, "its weights do not stay finite")
    numbers = str(subject.dtype).removeprefix("torch.")
    words = f"in {numbers}, last digits of the first weights come to {subject.noise:.2g} of the movement"
    if subject.noise > subject.base_tolerance:
        return Outcome(
            False,
            f"{words} in {subject.steps} steps, so that two ways which agree up to rounding are told apart only above "
            f"{subject.tolerance:.2g}",
        )
    return Outcome(True, f"{words} in {subject.steps} steps")


def ignores_the_order(subject: Subject) -> Outcome:
    """The parameters in the opposite order, the same result up to rounding."""
    if subject.is_blunt:
        return _not_told(subject)
    straight, reverse = subject.trained(), subject.trained(order=lambda given: list(reversed(given)))
    distance, where = apart(reverse.weights(), straight.weights(), straight.start)
    if distance > subject.tolerance:
        return Outcome(
            False,
            f"with the parameters in the opposite order {where} is elsewhere by {distance:.2g} of the movement: they "
            "are coupled, or numbers are drawn for one after the other",
        )
    return Outcome(True, f"with the parameters in the opposite order it differs by {said(distance)}")


def ignores_the_cut(subject: Subject) -> Outcome:
    """One step is one step, however the batch is cut into parts."""
    if subject.is_blunt:
        return _not_told(subject)
    whole, cut = subject.trained(), subject.trained(sizes=(3, 1, 4))
    distance, where = apart(cut.weights(), whole.weights(), whole.start)
    if distance > subject.tolerance:
        return Outcome(False, f"a batch cut into parts moves {where} otherwise by {distance:.2g} of the movement")
    return Outcome(True, f"with the batch in parts of 3, 1 and 4 examples it differs by {said(distance)}")


def is_itself_at_radius_zero(subject: Subject) -> Outcome:
    """Sharpness-aware minimisation with a radius of zero around the rule is the rule."""
    if _wants_diagonal(subject.spec):
        return Outcome(True, ALONE)
    plain = subject.trained(_under(subject.spec, Plain()))
    around = subject.trained(_under(subject.spec, SharpnessAware(rho=0.0)))
    distance, where = apart(around.weights(), plain.weights(), plain.start)
    if distance > subject.base_tolerance:
        return Outcome(
            False, f"under SAM with rho 0 {where} is elsewhere by {distance:.2g} of the movement: it should be the rule"
        )
    return Outcome(True, f"under SAM with rho 0 it is the rule itself and differs by {said(distance)}")


def serves_estimators(subject: Subject) -> Outcome:
    """Every estimator of the tables that the rule declares to fit runs with it, and stays finite."""
    if _wants_diagonal(subject.spec):
        return Outcome(True, ALONE)
    done = []
    rule = subject.spec.rule
    for kind, ascent in ASCENTS.items():
        chosen = ascent()
        for functional in (False, True):
            estimator = SharpnessAware(ascent=chosen, functional=functional)
            try:
                estimator.check_rule(preconditions=rule.preconditions, has_direction=rule.has_direction)
            except ValueError:
                continue  # The rule does not claim to have what this ascent needs; a suite refuses the two together.
            run = subject.trained(_under(subject.spec, estimator))
            broken = not_finite(run.weights())
            name = f"{'Functional-SAM' if functional else 'SAM'} ({kind})"
            if broken:
                return Outcome(False, f"under {name} {listed(broken)} is not finite after {subject.steps} steps")
            done.append(name)
    return Outcome(True, f"it runs under {', '.join(done)}")


def lends_its_state(subject: Subject) -> Outcome:
    """What the rule lends to an ascent, its preconditioner and its momentum, is a copy or is not changed by asking."""
    rule = subject.spec.rule
    if not (rule.preconditions or rule.has_direction):
        return Outcome(True, "it declares neither a preconditioner nor a momentum to lend")
    from optbench.optim.base import Damping

    run = subject.trained()
    before = run.weights()
    given = [torch.ones_like(p.tensor) for p in run.parameters]
    damping = Damping(1e-3, relative=True, bias_correction=True)
    lent = []
    with foreign("lending its state"), torch.no_grad():
        if rule.preconditions:
            lent.append(("preconditioner", run.optimizer.rule.precondition(given, damping)))
        if rule.has_direction:
            lent.append(("momentum", run.optimizer.rule.direction()))
    for name, tensors in lent:
        shapes = [tuple(t.shape) for t in tensors]
        if shapes != [tuple(p.tensor.shape) for p in run.parameters]:
            return Outcome(False, f"its {name} has not the shapes of the parameters")
    moved, where = apart(run.weights(), before, run.start)
    if moved > 0.0:
        return Outcome(False, f"asking for what it lends moved {where} by {moved:.2g} of the movement")
    return Outcome(True, f"it lends {' and '.join(name for name, _ in lent)} in the shapes of the parameters")


def _not_told(subject: Subject) -> Outcome:
    return Outcome(True, f"not told: last digits alone come to {subject.noise:.2g} of the movement")


def _wants_diagonal(spec: OptimizerSpec) -> bool:
    return bool(getattr(spec.rule, "wants_diagonal", False))


def _under(spec: OptimizerSpec, estimator: Plain | SharpnessAware) -> OptimizerSpec:
    """The rule under another estimator, clipped as the spec says."""
    return OptimizerSpec(estimator=estimator, rule=spec.rule, max_norm=spec.max_norm)
