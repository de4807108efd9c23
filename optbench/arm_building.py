"""From the points of the axes to arms: overrides merged in, and every combination checked that cannot work."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from optbench import overrides as changes
from optbench.arm import Arm
from optbench.axes import AXES, Entry
from optbench.cell import Budget, Training
from optbench.errors import UserError
from optbench.overrides import Override
from optbench.problems import Problems, check
from optbench.steps import steps_of
from optbench.yamlfile import Node, Place, placed


def trained(node: Node, steps: int) -> Training:
    """The training of a suite, checked, with so many steps."""
    if "steps" in node.value:
        raise node.value["steps"].key.problem("is set by the budget: write `budget: {steps: ...}`")
    whole = Node({**node.value, "steps": placed(steps, node.place)}, node.place, node.key)
    training: Training = check(whole, Training)
    return training


def _check_medium(specs: Mapping[str, Any], names: Mapping[str, str], places: Mapping[str, Place]) -> None:
    """Raises UserError where the model, or the model of a strategy's probe, cannot read what the task is written in."""
    medium = getattr(specs["task"], "medium", "text")
    probe = getattr(getattr(specs["strategy"], "probe", None), "model", None)
    readers = {"model": (names["model"], specs["model"])}
    if probe is not None and probe.kind != "same":
        readers["strategy"] = (f"the probe's model of {names['strategy']}", probe)
    for axis, (name, model) in readers.items():
        if (reads := getattr(model, "medium", "text")) != medium:
            raise places[axis].problem(
                f": {name} reads {reads}, and the task {names['task']} is {medium}: put them in suites of their own"
            )
    if (drawn := getattr(specs["optimizer"].estimator, "medium", medium)) != medium:
        raise places["optimizer"].problem(
            f": {names['optimizer']} draws targets from a distribution over tokens, so that it is for {drawn}, and the "
            f"task {names['task']} is {medium}: put them in suites of their own"
        )


def check_fraction(optimizer: Any, name: str, place: Place, batch_size: int) -> None:
    """Raises UserError where an ascent asks for a part of a batch that is no number of examples: what it costs would
    not be what is declared."""
    fraction = Fraction(repr(float(getattr(optimizer.estimator, "ascent_fraction", 1.0))))
    if (fraction * batch_size).denominator != 1:
        nearest = max(1, round(fraction * batch_size))
        raise place.problem(
            f": ascent_fraction {float(fraction):g} of a batch of {batch_size} ({name}) is no number of examples; "
            f"{nearest / batch_size:g} is {nearest} of them"
        )


@dataclass
class Arms:
    """Builds arms; a part that several arms share in the same form is checked once."""

    overrides: Sequence[Override]
    training: Node
    budgets: Mapping[str, tuple[Budget, Place]]
    problems: Problems
    _known: dict[tuple[Any, ...], tuple[Any, Place]] = field(default_factory=dict)
    _too_small: set[str] = field(default_factory=set)

    def build(self, axes: Mapping[str, Sequence[Entry]]) -> list[Arm]:
        """The arms in the order of the axes, the model changing slowest and the budget fastest."""
        arms = []
        for chosen in itertools.product(*(axes[axis] for axis in AXES)):
            by_axis = dict(zip(AXES, chosen, strict=True))
            with self.problems.collected():
                arms += self._arms(by_axis)
        return arms

    def _arms(self, chosen: Mapping[str, Entry]) -> list[Arm]:
        names = {axis: entry.name for axis, entry in chosen.items()}
        meet = [index for index, override in enumerate(self.overrides) if override.covers(names)]
        specs, places = {}, {}
        for axis, entry in chosen.items():
            specs[axis], places[axis] = self._part(axis, entry, meet)
        if specs["strategy"].rewrites and not specs["task"].can_rewrite:
            raise places["strategy"].problem(
                f": {names['strategy']} needs new examples, and the task {names['task']} cannot write any: give it a "
                "`rewriter` with a local language model, or upsample instead"
            )
        _check_medium(specs, names, places)
        base = changes.applied(self.training, "training", [self.overrides[index] for index in meet])
        training = trained(base, 1)
        check_fraction(specs["optimizer"], names["optimizer"], places["optimizer"], training.batch_size)
        arms = []
        for label, (budget, place) in self.budgets.items():
            steps = self._steps(budget, specs, training.batch_size, place, "/".join(names.values()))
            arms.append(
                Arm(
                    name="/".join([*names.values(), *([label] if len(self.budgets) > 1 else [])]),
                    **names,
                    budget=budget.given,
                    **{f"{axis}_spec": spec for axis, spec in specs.items()},
                    training=training.model_copy(update={"steps": steps}),
                    places=places,
                )
            )
        return arms

    def _part(self, axis: str, entry: Entry, meet: Sequence[int]) -> tuple[Any, Place]:
        meet = [index for index in meet if axis in self.overrides[index].changes]
        if not meet:
            return entry.spec, entry.node.place
        known = (axis, entry.name, *meet)
        if known not in self._known:
            node = changes.applied(entry.node, axis, [self.overrides[index] for index in meet])
            self._known[known] = (check(node, AXES[axis].spec), node.place)
        return self._known[known]

    def _steps(self, budget: Budget, specs: Mapping[str, Any], batch_size: int, place: Place, name: str) -> int:
        try:
            return steps_of(budget, specs["model"], specs["task"], specs["optimizer"], batch_size=batch_size)
        except UserError as error:
            # One message for a budget, not one for each of the arms that it is too small for.
            if place.label not in self._too_small:
                self._too_small.add(place.label)
                self.problems.add(place, f": {error} (first for {name})")
            return 1
