"""Overrides files put over a suite, one over another, and the trials that stay true of its arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from optbench import overrides as changes
from optbench.axes import AXES
from optbench.errors import UserError
from optbench.overrides import Override
from optbench.problems import Problems
from optbench.tuning.overrides_file import read_tuned, trials_beside, without
from optbench.tuning.record import Tuned
from optbench.yamlfile import read

if TYPE_CHECKING:
    from optbench.arm import Arm


@dataclass(frozen=True)
class Layer:
    """An overrides file: what it sets, and the trials beside it where `tune` wrote it."""

    path: Path
    overrides: Sequence[Override]
    trials: Tuned | None

    def sets_values_of(self, arm: Arm) -> bool:
        """Whether it changes the arm's optimizer or training, in which what was tuned is."""
        names = {axis: name for axis, name in arm.axes().items() if axis in AXES}
        return any(each.changes.keys() & {"optimizer", "training"} and each.covers(names) for each in self.overrides)

    def tried(self, arm: Arm) -> bool:
        """Whether some of its trials were of the arm."""
        return self.trials is not None and any(arm.name in study.arms for study in self.trials.studies)


@dataclass
class Layers:
    """The files in the order in which they are put over the suite, whose display names by axis are `names`. What is
    wrong with an override goes to `problems`."""

    names: Mapping[str, Sequence[str]]
    problems: Problems
    _found: list[Layer] = field(default_factory=list)

    def put(self, path: Path, layer: int) -> list[Override]:
        """The overrides of a further file, on top of the others. Raises UserError for one that cannot be read, and for
        trials beside it that are not those of its values."""
        given = read(path, label="overrides")
        if not isinstance(given.value, list):
            raise given.place.problem("must be a list of overrides, each with `where` and `set`")
        found = changes.parse(given, self.names, layer=layer, problems=self.problems)
        self._found.append(Layer(path, found, read_tuned(path, given)))
        return found

    def trials_of(self, arms: Sequence[Arm]) -> Tuned | None:
        """The trials of each arm: those of the last file that sets its values; see `Suite.tuned`.

        Raises UserError where trials of several files are left that were compared by another column or other seeds:
        no report could say of them in one sentence what was tuned by.
        """
        last: dict[str, Layer] = {}
        for layer in self._found:
            for arm in arms:
                below = last.get(arm.name)
                # A study that chose nothing, for there was nothing to choose, says so of values that nobody tuned.
                told = layer.tried(arm) and (below is None or below.trials is None)
                if layer.sets_values_of(arm) or told:
                    last[arm.name] = layer
        kept = [(layer, self._kept(layer, arms, last)) for layer in self._found]
        found = [(layer, trials) for layer, trials in kept if trials is not None]
        if not found:
            return None
        top, trials = found[-1]
        for layer, other in found[:-1]:
            _check_alike(layer, other, top, trials)
        studies = [study for _, each in found for study in each.studies]
        return trials if len(found) == 1 else trials.model_copy(update={"studies": studies})

    def _kept(self, layer: Layer, arms: Sequence[Arm], last: Mapping[str, Layer]) -> Tuned | None:
        if layer.trials is None:
            return None
        return without(layer.trials, [arm.name for arm in arms if last.get(arm.name) is not layer])


def _check_alike(one: Layer, its: Tuned, other: Layer, others: Tuned) -> None:
    for name, mine, theirs in (("tuning.score", its.score, others.score), ("tuning.seeds", its.seeds, others.seeds)):
        if mine != theirs:
            raise UserError(
                f"{one.path}: some arms keep its values, chosen with {name} {mine}, and others those of {other.path}, "
                f"chosen with {name} {theirs}, so that no report can speak of both; tune again with one {name}, or "
                f"move {trials_beside(one.path)} away to use its values without their trials"
            )
