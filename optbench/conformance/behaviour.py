"""What an optimizer makes of gradients: whether it descends, stays finite, and keeps its arithmetic in every type."""

from __future__ import annotations

import math

import torch

from optbench.checkpoint_tree import Unsupported
from optbench.conformance.boundary import Raised, foreign
from optbench.conformance.problem import quadratic
from optbench.conformance.repeating import saved
from optbench.conformance.subject import SEED, Outcome, Run, Subject, listed, not_finite
from optbench.rng import seeded_torch

DESCENT_STEPS, LOOK_EVERY, DESCENT = 200, 20, 10.0
RATE_FACTORS = (1.0, 10.0, 100.0, 0.1, 1000.0, 0.01)
LARGE, TINY = 1e4, 1e-12


def descends(subject: Subject) -> Outcome:
    """On a diagonal quadratic of condition number 10 the loss falls tenfold at one rate of a small sweep."""
    best, at = math.inf, RATE_FACTORS[0]
    for factor in RATE_FACTORS:
        steps, share = _descent(subject, factor)
        if share <= 1 / DESCENT:
            return Outcome(
                True, f"a quadratic's loss falls {DESCENT:g}-fold within {steps} steps at {factor:g} times its rate"
            )
        if share < best:
            best, at = share, factor
    return Outcome(
        False,
        f"at none of {len(RATE_FACTORS)} rates from {min(RATE_FACTORS):g} to {max(RATE_FACTORS):g} times its own does "
        f"the loss of a quadratic fall {DESCENT:g}-fold in {DESCENT_STEPS} steps; the least that is left is {best:.2g} "
        f"of it, at {at:g} times",
    )


def _descent(subject: Subject, factor: float) -> tuple[int, float]:
    """Steps taken, and the share of the first loss that is left."""
    parameters, curvatures, minima = quadratic(subject.dtype)
    tensors = [p.tensor for p in parameters]

    def loss() -> float:
        with torch.no_grad():
            return sum(
                float((h * (w - m).square()).sum()) / 2 for w, h, m in zip(tensors, curvatures, minima, strict=True)
            )

    first, share = loss(), math.inf
    with seeded_torch(SEED), foreign("descending a quadratic"):
        rule = subject.spec.rule.build(parameters)
        for step in range(1, DESCENT_STEPS + 1):
            for w, h, m in zip(tensors, curvatures, minima, strict=True):
                w.grad = h * (w.detach() - m)
            with torch.no_grad():
                rule.apply(factor)
            if step % LOOK_EVERY == 0:
                with rule.evaluating():
                    share = loss() / first
                if share <= 1 / DESCENT or not math.isfinite(share):
                    return step, share
    return DESCENT_STEPS, share


def bears_any_size(subject: Subject) -> Outcome:
    """Gradients of 1e4 and of 1e-12 give finite weights in float32, in which models are trained."""
    words, passed = [], True
    for size in (LARGE, TINY):
        run = subject.fed(size=size, dtype=torch.float32)
        broken = not_finite(run.weights())
        moved = max(float(move.abs().max()) for move in run.moved().values())
        passed = passed and not broken
        words.append(f"{size:g}: {listed(broken)} is not finite" if broken else f"{size:g}: moves by up to {moved:.2g}")
    return Outcome(passed, f"in float32, {subject.steps} gradients with entries of about {'; of '.join(words)}")


def keeps_its_arithmetic(subject: Subject) -> Outcome:
    """The state has the same size whatever the type of the weights: where a conversion makes no copy, an update in
    place writes over a buffer in one type and not in another."""
    if subject.noise > subject.base_tolerance:
        return Outcome(True, f"not told: rounding alone changes its numbers by {subject.noise:.2g} of the movement")
    words = []
    try:
        reference = _norms(subject.fed(dtype=subject.dtype, size=10.0))
    except Unsupported as error:
        return Outcome(True, f"not told: its state cannot be looked into ({error})")
    for dtype, allowed in ((torch.float32, 1e-2), (torch.bfloat16, 0.2)):
        name = str(dtype).removeprefix("torch.")
        if dtype == subject.dtype:
            continue
        try:
            found = _norms(subject.fed(dtype=dtype, size=10.0))
        except Raised as error:
            words.append(f"{name}: not tried ({error})")
            continue
        off = {place: abs(found[place] / norm - 1) for place, norm in reference.items() if place in found and norm > 0}
        worst = max(off, key=lambda place: off[place]) if off else None
        if worst is not None and not off[worst] <= allowed:
            return Outcome(
                False,
                f"after the same {subject.steps} gradients a tensor of its state has norm {found[worst]:.3g} under "
                f"{name} weights and {reference[worst]:.3g} under {_name(subject.dtype)}: a buffer is written over "
                "where a conversion makes no copy, or its arithmetic does not hold in this type",
            )
        words.append(f"{name}: within {off[worst]:.1g}" if worst is not None else f"{name}: no state")
    return Outcome(True, f"the norms of its state are those under {_name(subject.dtype)} weights ({', '.join(words)})")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _norms(run: Run) -> dict[str, float]:
    """The norms of the floating tensors of the state, by their places in it. Raises `Unsupported`."""
    _, tensors = saved(run)
    return {
        name: float(tensor.double().norm())
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and tensor.dim() > 0
    }
