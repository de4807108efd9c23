"""What an optimizer costs, beside what it declares: passes, memory, and whether the host waits for the device."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from optbench.checkpoint_tree import Unsupported
from optbench.conformance.boundary import foreign
from optbench.conformance.problem import EXAMPLES, gradients
from optbench.conformance.repeating import saved
from optbench.conformance.subject import SEED, Outcome, Subject
from optbench.optim.estimators import SharpnessAware
from optbench.rng import seeded_torch

ATEN = torch.ops.aten
WAITING = {
    ATEN._local_scalar_dense: "reads a number",  # .item(), float(), int(), bool()
    ATEN.is_nonzero: "branches on a number",
    ATEN.nonzero: "asks which entries are not zero",
    ATEN.equal: "compares tensors on the host",
    ATEN.masked_select: "selects by a mask",
    ATEN._unique2: "asks for distinct entries",
    ATEN.unique_consecutive: "asks for distinct entries",
}
"""Operations whose result, or its size, is data: on a GPU the host waits for the device to learn it."""


def passes_as_declared(subject: Subject) -> Outcome:
    """The passes that the oracle counts are those that the spec states: one per step for a plain rule."""
    estimator = subject.spec.estimator
    # Whole periods of an estimator whose steps are not all alike.
    period = getattr(estimator, "refresh_every", None)
    steps, rounding = 2 * period if period else subject.steps, 0.0
    if isinstance(estimator, SharpnessAware):
        rounding = 1 / EXAMPLES if estimator.ascent_fraction < 1 else 0.0  # A fraction is a whole number of examples.
    declared = float(estimator.passes_per_step)
    counted = subject.trained(factors=(1.0,) * steps).passes / steps
    words = f"{counted:.3g} passes over the batch per step, {declared:.3g} declared"
    return Outcome(abs(counted - declared) <= rounding + 1e-9, words)


def states_its_memory(subject: Subject) -> Outcome:
    """The bytes of state are a number that stays, and no fewer than what is saved."""
    with seeded_torch(SEED):
        run = subject.run()
        found: list[Any] = []
        for step in range(2 * subject.steps):
            run.feed(gradients(run.parameters, step))
            with foreign("stating its bytes"):
                found.append(run.optimizer.state_bytes())
        if any(type(size) is not int or size < 0 for size in found):
            return Outcome(False, f"its bytes of state are {found[-1]!r}, which is no whole number from 0 up")
        try:
            _, tensors = saved(run)
        except Unsupported as error:
            return Outcome(False, f"states {found[-1]} bytes, and its state cannot be looked into: {error}")
    kept = sum(t.numel() * t.element_size() for t in tensors.values() if t.dim() > 0)
    weights = sum(p.tensor.numel() * p.tensor.element_size() for p in run.parameters)
    words = f"states {found[-1]} bytes, {found[-1] / weights:.3g} times the weights"
    half = found[subject.steps - 1]
    if half != found[-1]:
        return Outcome(False, f"{words}, and {half} after {subject.steps} steps: its state grows with the steps")
    if kept > 1.01 * found[-1]:
        return Outcome(False, f"{words}, and saves tensors of {kept}: part of its state is not counted")
    return Outcome(True, f"{words}, the same after {subject.steps} steps and {2 * subject.steps}")


class _Noting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what would make the host wait. Reading a number that is the count of steps does not: torch keeps such
    counters on the host."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()
        self.step = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        if packet in WAITING and not (packet == ATEN._local_scalar_dense and self._counts(args[0])):
            self.found[WAITING[packet]] += 1
        if packet in (ATEN.index, ATEN.index_put, ATEN.index_put_):
            masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
            if masks:
                self.found["indexes by a mask"] += 1
        return func(*args, **(kwargs or {}))

    def _counts(self, value: torch.Tensor) -> bool:
        return value.dim() == 0 and value.item() in (self.step, self.step + 1)


def never_waits(subject: Subject) -> Outcome:
    """A step asks the device nothing."""
    with seeded_torch(SEED):
        run = subject.run()
        run.feed(gradients(run.parameters, 0))
        given = [gradients(run.parameters, step) for step in (1, 2)]
        noting = _Noting()
        for step, tensors in enumerate(given, start=1):
            noting.step = step
            with noting:
                run.feed(tensors)
    if noting.found:
        words = ", ".join(f"{what} {count / len(given):g} times" for what, count in noting.found.items())
        return Outcome(False, f"in a step it {words}: on a GPU the host waits for the device each time")
    return Outcome(True, "a step asks the device nothing")
