"""What an optimizer updates, and whether it uses the gradient that it was given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from optbench.conformance.problem import gradients
from optbench.conformance.subject import (
    PATIENCE,
    SEED,
    STEPS,
    Outcome,
    Run,
    Subject,
    apart,
    differing,
    listed,
    not_finite,
    same_bits,
)
from optbench.optim.base import Parameter
from optbench.rng import seeded_torch

ALIKE = 0.9
"""The cosine from which an update is said to follow something: the matrices that are tried have about 0.8 with their
signs and with their orthogonalisation, which five Newton-Schulz iterations meet to above 0.95."""


def moves_everything(subject: Subject) -> Outcome:
    """After some steps every parameter that is claimed is elsewhere, with the output layer tied or not.

    Rules that take parameters in turns, or the largest entries, or look at gradients before they move anything, are
    given up to PATIENCE steps, with drawn gradients after the first ones.
    """
    found: list[str] = []
    slowest, last, described = 0, "", ""
    for tied in (False, True):
        with seeded_torch(SEED):
            run = subject.run(tied=tied)
            still = list(run.start)
            while run.steps < STEPS or (still and run.steps < PATIENCE):
                before = still
                if run.steps < STEPS:
                    run.step()
                else:
                    run.feed(gradients(run.parameters, run.steps))
                still = [name for name, moved in run.moved().items() if name in before and not bool(moved.any())]
                if still != before and run.steps > slowest:
                    slowest, last = run.steps, next(name for name in before if name not in still)
        found += [f"{name}{' (tied head)' if tied else ''}" for name in still]
        described = described or _by_role(run)
    if found:
        return Outcome(False, f"{PATIENCE} steps with gradients everywhere did not move {listed(found)}; {described}")
    how = f"in {STEPS} steps" if slowest <= STEPS else f"within {slowest} steps ({last} moved in the last of them)"
    return Outcome(True, f"all parameters moved {how}, root mean square: {described}")


def _by_role(run: Run) -> str:
    groups: dict[str, list[Tensor]] = defaultdict(list)
    moved = run.moved()
    for p in run.parameters:
        groups[_group(p)].append(moved[p.name])
    words = []
    for group, tensors in groups.items():
        size = float(torch.cat([t.flatten() for t in tensors]).double().square().mean().sqrt())
        count = sum(bool(t.any()) for t in tensors)
        words.append(f"{group} {count} of {len(tensors)} by {size:.2g}")
    return ", ".join(words)


def _group(p: Parameter) -> str:
    """The role, and of hidden matrices the form as well: some rules take square ones only."""
    if p.role != "hidden":
        return str(p.role)
    rows, columns = p.tensor.shape
    return f"hidden ({'square' if rows == columns else 'tall' if rows > columns else 'wide'})"


def uses_the_gradient(subject: Subject) -> Outcome:
    """With all gradients negated every parameter moves otherwise: nobody moves by decay or noise alone."""
    for steps in (subject.steps, PATIENCE):
        there, back = subject.fed(steps=steps), subject.fed(sign=-1.0, steps=steps)
        first, second = there.weights(), back.weights()
        same = [name for name in first if same_bits(first[name], second[name])]
        if not same:
            break
    if same:
        return Outcome(False, f"the negated gradient gives the same weights, bit for bit, in {listed(same)}")
    mirrored = {name: there.start[name] - moved for name, moved in back.moved().items()}
    distance, where = apart(mirrored, first, there.start)
    if distance <= subject.base_tolerance:
        return Outcome(True, "every parameter moves otherwise for the negated gradient: exactly the other way")
    return Outcome(
        True,
        "every parameter moves otherwise for the negated gradient, though not exactly the other way: "
        f"off by {distance:.2g} of the movement in {where} (weight decay does that, or a state that looks at signs)",
    )


def touches_nothing_else(subject: Subject) -> Outcome:
    """Frozen parameters and those of another instance keep their bits while this one steps."""
    with seeded_torch(0):
        bystander, run = subject.run(), subject.run()
        frozen = run.network.frozen.detach().clone()
        for _ in range(subject.steps):
            run.step()
    touched = differing(bystander.weights(), bystander.start)
    if not same_bits(run.network.frozen.detach(), frozen):
        change = float((run.network.frozen.detach() - frozen).abs().max())
        return Outcome(
            False,
            f"a frozen parameter that was not given changed by up to {change:.2g}: it shares its memory with a "
            "trainable one, as in a fused projection, and has to keep its bits",
        )
    if touched:
        return Outcome(False, f"steps of one instance changed the parameters of another: {listed(touched)}")
    return Outcome(
        True, f"after {subject.steps} steps a frozen parameter and all those of another instance kept their bits"
    )


def bears_no_gradient(subject: Subject) -> Outcome:
    """With a gradient of zero from the first step on nothing becomes infinite or NaN."""
    run = subject.fed(size=0.0)
    broken = not_finite(run.weights())
    if broken:
        return Outcome(False, f"with a gradient of zero from the first step on {listed(broken)} is not finite")
    moved = differing(run.weights(), run.start)
    if moved:
        return Outcome(True, f"with a gradient of zero all stays finite; {listed(moved)} moves (decay or noise)")
    return Outcome(True, "with a gradient of zero from the first step on every weight stays where it is")


def leaves_the_gradient(subject: Subject) -> Outcome:
    """What lies in `p.grad` is not written over. Here every step takes a new one; other loops add to what is there."""
    with seeded_torch(0):
        run = subject.run()
        changed = set()
        for step in range(2):
            given = gradients(run.parameters, step)
            run.feed(given)
            for p, gradient in zip(run.parameters, given, strict=True):
                if p.tensor.grad is None or not same_bits(p.tensor.grad, gradient):
                    changed.add(p.name)
    if changed:
        return Outcome(
            False,
            f"p.grad is written over in {listed(sorted(changed))}: harmless here, where every step takes a new one, "
            "wrong in loops that read or accumulate it afterwards",
        )
    return Outcome(True, "p.grad is as it was after a step")


def treats_matrices_alike(subject: Subject) -> Outcome:
    """What the update follows, by role: where hidden matrices of one form fall back to another rule, it shows."""
    with seeded_torch(0):
        run = subject.run()
        given = [_conditioned(gradient) for gradient in gradients(run.parameters, 0)]
        updates: dict[str, Tensor] = {}
        for _ in range(subject.steps):
            before = run.weights()
            run.feed(given)
            for p in run.parameters:
                update = before[p.name] - p.tensor.detach()
                if p.name not in updates or bool(update.any()):
                    updates[p.name] = update
    found: dict[str, set[str]] = defaultdict(set)
    for p, gradient in zip(run.parameters, given, strict=True):
        found[_group(p)].add(_followed(updates[p.name], gradient))
    words = ", ".join(f"{group}: {' or '.join(sorted(what))}" for group, what in found.items())
    hidden = {what for group, all_of_it in found.items() if group.startswith("hidden") for what in all_of_it}
    if len(hidden) > 1:
        return Outcome(
            False, f"hidden matrices are not all treated alike; under a constant gradient they follow {words}"
        )
    return Outcome(True, f"under a constant gradient the updates follow, by role, {words}")


def _conditioned(gradient: Tensor) -> Tensor:
    """A matrix with its singular vectors and singular values from 1 to 0.1: far from orthogonal, and without values so
    small that Newton-Schulz does not lift them."""
    if gradient.dim() != 2:
        return gradient
    left, values, right = torch.linalg.svd(gradient, full_matrices=False)
    found: Tensor = left @ torch.diag(torch.logspace(0, -1, len(values), dtype=gradient.dtype)) @ right
    return found


def _followed(update: Tensor, gradient: Tensor) -> str:
    candidates = {"the gradient": gradient, "its sign": gradient.sign()}
    if gradient.dim() == 2:
        left, _, right = torch.linalg.svd(gradient, full_matrices=False)
        candidates["its orthogonalisation"] = left @ right
    cosines = {name: _cosine(update, candidate) for name, candidate in candidates.items()}
    best = max(cosines, key=lambda name: cosines[name])
    if cosines[best] >= ALIKE:
        return best
    return "nothing (no update)" if not bool(update.any()) else "none of these: gradient, sign, orthogonalisation"


def _cosine(one: Tensor, other: Tensor) -> float:
    norms = float(one.norm() * other.norm())
    return float((one * other).sum()) / norms if norms > 0 else 0.0


def claimed(claims: Sequence[tuple[str, Sequence[str]]], parameters: Sequence[Parameter]) -> Outcome:
    """Whether the parts of a rule together take every parameter once, and which roles each takes."""
    names = [name for _, own in claims for name in own]
    known = {p.name: p for p in parameters}
    missing = [name for name in known if name not in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    unknown = sorted(set(names) - set(known))
    if missing or twice or unknown:
        wrong = {"claimed by nobody": missing, "claimed twice": twice, "claimed without being there": unknown}
        words = "; ".join(f"{what}: {listed(which)}" for what, which in wrong.items() if which)
        return Outcome(False, f"every trainable parameter is to be claimed exactly once; {words}")
    parts = []
    for part, own in claims:
        roles: dict[str, int] = defaultdict(int)
        for name in own:
            roles[known[name].role] += 1
        if own:
            parts.append(f"{part}: {', '.join(f'{count} {role}' for role, count in sorted(roles.items()))}")
    return Outcome(True, f"{len(known)} trainable parameters are claimed once each ({'; '.join(parts)})")
