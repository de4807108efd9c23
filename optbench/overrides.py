"""Overrides: other values for some arms of a suite.

Precedence: preset < suite < override < override of an overrides file. Among overrides of one file the one that names
more axes wins, and of two that name as many, the later one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from optbench.axes import AXES, check_patterns, matches
from optbench.problems import Problems, check
from optbench.spec import Spec
from optbench.yamlfile import Node, merge

Names = str | Annotated[list[str], Field(min_length=1)]


class Where(Spec):
    """Which arms: the display names of an axis, one or a list, * and ? standing for any text. All arms if empty."""

    model: Names = "*"
    task: Names = "*"
    strategy: Names = "*"
    optimizer: Names = "*"


class Change(Spec):
    """What is set: fields of a spec, merged into what the suite says."""

    model: dict[str, Any] = {}
    task: dict[str, Any] = {}
    strategy: dict[str, Any] = {}
    optimizer: dict[str, Any] = {}
    training: dict[str, Any] = {}


class OverrideFields(Spec):
    """One override, as written in a file."""

    where: Where = Where()
    set: Change


@dataclass(frozen=True)
class Override:
    """One override: the patterns of each axis that it names, and its changes by axis (and `training`)."""

    where: Mapping[str, Sequence[str]]
    changes: Mapping[str, Node]
    layer: int

    @property
    def rank(self) -> tuple[int, int]:
        """Overrides are applied in this order, so that the last one wins."""
        return (self.layer, len(self.where))

    def covers(self, names: Mapping[str, str]) -> bool:
        """Whether the arm with these display names is meant."""
        return all(any(matches(word, names[axis]) for word in words) for axis, words in self.where.items())


def parse(given: Node, names: Mapping[str, Sequence[str]], *, layer: int, problems: Problems) -> list[Override]:
    """The overrides in a list; `names` are the display names of each axis. What is wrong goes to `problems`.

    An override that meets no arm is wrong: every name must be there.
    """
    found = []
    for node in given.value:
        with problems.collected():
            check(node, OverrideFields)
            where = _where(node)
            for axis, words in where.items():
                check_patterns(words, names[axis], axis)
            changes = node.value["set"].value
            _check_changes(node, bool(where))
            patterns = {axis: [str(word.value) for word in words] for axis, words in where.items()}
            found.append(Override(patterns, changes, layer))
    return found


def _where(node: Node) -> dict[str, list[Node]]:
    if "where" not in node.value:
        return {}
    return {
        axis: words.value if isinstance(words.value, list) else [words]
        for axis, words in node.value["where"].value.items()
    }


def _check_changes(node: Node, some_arms: bool) -> None:
    changes = node.value["set"]
    if not any(change.value for change in changes.value.values()):
        raise changes.place.problem(f"changes nothing; allowed: {', '.join([*AXES, 'training'])}")
    training = changes.value.get("training")
    for name in ("precision", "evaluate"):
        if some_arms and training is not None and name in training.value:
            key = training.value[name].key
            raise key.problem("would differ between arms, which could not be compared; set it for the whole suite")


def applied(node: Node, part: str, overrides: Sequence[Override]) -> Node:
    """The fields of one part of an arm (an axis, or `training`) with the overrides that meet the arm put over them."""
    for override in sorted(overrides, key=lambda each: each.rank):
        if part in override.changes:
            node = merge(node, override.changes[part])
    return node
