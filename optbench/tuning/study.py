"""What is tuned: one study for each optimizer and each point of the axes that have values of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from optbench.errors import UserError
from optbench.optim.rules.torch_optimizer import TorchOptimizer
from optbench.optim.search import Choice, Dimension
from optbench.rng import stream_seed
from optbench.spec import canonical
from optbench.tuning.declared import declared_space
from optbench.tuning.space import check_corners, is_path, is_whole, paths_of, value_of

if TYPE_CHECKING:
    from optbench.arm import Arm
    from optbench.suite import Suite


OPTIONS = "rule.options."


@dataclass(frozen=True)
class Planned:
    """A study before its first trial. `whole` are the paths that are tuned in whole numbers."""

    where: Mapping[str, list[str]]
    arms: Sequence[Arm]
    space: Mapping[str, Dimension]
    declared_by: str
    whole: frozenset[str]
    seed: int
    sequence: Literal["own", "shared"] = "own"

    @property
    def optimizer(self) -> str:
        """The display name of the optimizer."""
        return self.arms[0].optimizer

    @property
    def name(self) -> str:
        """What the study is called: the names in `where`."""
        return "/".join(name for names in self.where.values() for name in names)

    @cached_property
    def incumbent(self) -> dict[str, Any]:
        """The values of the suite, by path; one that the arms do not agree on, that is not set or infinite (which
        JSON cannot hold) is left out, and stays as it is."""
        found = {path: [value_of(arm, path) for arm in self.arms] for path in self.space}
        return {
            path: values[0]
            for path, values in found.items()
            if values[0] not in (None, math.inf) and all(value == values[0] for value in values)
        }

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The values that the arms have without being set, by path: those that the class of a foreign optimizer takes
        for options that nobody gave. Imports the class."""
        wanted = [path for path in self.space if path.startswith(OPTIONS) and path not in self.incumbent]
        rules = [arm.optimizer_spec.rule for arm in self.arms]
        if not wanted:
            return {}
        found = [rule.defaults() if isinstance(rule, TorchOptimizer) else {} for rule in rules]
        first, *others = found
        return {
            path: first[name]
            for path in wanted
            if (name := path.removeprefix(OPTIONS)) in first
            and all(name in own and own[name] == first[name] for own in others)
        }

    def stream(self, name: str, step: int = 0) -> int:
        """A seed below 2^32: this study's own, or that of all studies with its space and, but for the optimizer, its
        place; see `request.Tuning.sequence`."""
        return stream_seed(self.seed, f"tuning/{canonical(self._of)}/{name}", step) % 2**32

    @property
    def _of(self) -> dict[str, Any]:
        """What the streams are of."""
        if self.sequence == "own":
            return dict(self.where)
        place = {axis: names for axis, names in self.where.items() if axis != "optimizer"}
        return {"place": place, "space": {path: dimension.dump() for path, dimension in self.space.items()}}


def studies_of(suite: Suite) -> list[Planned]:
    """The studies of a suite, in the order of its arms.

    Raises UserError for a suite that cannot be tuned: several budgets, seeds that are its own, a space with values that
    an optimizer refuses.
    """
    budgets = list(dict.fromkeys(arm.axes()["budget"] for arm in suite.arms))
    if len(budgets) > 1:
        raise UserError(
            f"{suite.path}: has {len(budgets)} budgets, and what suits one need not suit another; choose one: "
            + " or ".join(f"--only budget={budget!r}".replace("'", '"') for budget in budgets)
        )
    own = {*suite.seeds, *(seed for seeds in (suite.added.seeds.values() if suite.added else ()) for seed in seeds)}
    if shared := sorted(own & set(suite.tuning.seeds)):
        raise UserError(
            f"{suite.path}: the seed {shared[0]} is one of the suite, and what is tuned on a seed is not compared on "
            "it; set `tuning.seeds` to others"
        )
    groups: dict[str, list[Arm]] = {}
    for arm in suite.arms:
        groups.setdefault(canonical(_where(arm, suite.tuning.per)), []).append(arm)
    return [_planned(suite, arms) for arms in groups.values()]


def _where(arm: Arm, per: Sequence[str]) -> dict[str, list[str]]:
    axes = arm.axes()
    return {axis: [axes[axis]] for axis in ("model", "task", "strategy", "optimizer") if axis in (*per, "optimizer")}


def _planned(suite: Suite, arms: Sequence[Arm]) -> Planned:
    space, declared_by = declared_space(suite.tuning, arms)
    for arm in arms:
        for path in space:
            if not is_path(path, arm.optimizer_spec):
                raise arm.places["optimizer"].problem(
                    f": {arm.optimizer} is tuned in {path}, which it does not have in the arm {arm.name}; allowed: "
                    + ", ".join(paths_of(arm.optimizer_spec))
                )
        check_corners(arm, space)
    whole = frozenset(path for path, dimension in space.items() if is_whole(arms[0], path, dimension))
    tuning = suite.tuning
    if tuning.sequence == "shared":
        space = dict(sorted(space.items()))  # Coordinates of a point go to dimensions by their order.
    return Planned(_where(arms[0], tuning.per), arms, space, declared_by, whole, tuning.seed, tuning.sequence)


def is_inside(planned: Planned, values: Mapping[str, Any]) -> bool:
    """Whether the values set all of the space, and lie in it."""
    for path, dimension in planned.space.items():
        if path not in values:
            return False
        value = values[path]
        if isinstance(dimension, Choice):
            if value not in dimension.values:
                return False
        elif not (isinstance(value, int | float) and dimension.low <= value <= dimension.high):
            return False
    return True
