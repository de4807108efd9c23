"""The four axes of a suite, and how an entry of one becomes named specs: presets, inline mappings, sweeps."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optbench.errors import suggestion
from optbench.models.specs import PRESETS as MODELS
from optbench.models.specs import ModelSpec
from optbench.optim.specs import PRESETS as OPTIMIZERS
from optbench.optim.specs import OptimizerSpec
from optbench.problems import Problems, check
from optbench.strategies.specs import PRESETS as STRATEGIES
from optbench.strategies.specs import StrategySpec
from optbench.tasks.specs import PRESETS as TASKS
from optbench.tasks.specs import TaskSpec
from optbench.yamlfile import Node, Place, merge, placed


@dataclass(frozen=True)
class Axis:
    """One axis: its name, the suite's key for it, the type of its specs, and the presets."""

    name: str
    plural: str
    spec: Any
    presets: Mapping[str, Mapping[str, Any]]


AXES: dict[str, Axis] = {
    "model": Axis("model", "models", ModelSpec, MODELS),
    "task": Axis("task", "tasks", TaskSpec, TASKS),
    "strategy": Axis("strategy", "strategies", StrategySpec, STRATEGIES),
    "optimizer": Axis("optimizer", "optimizers", OptimizerSpec, OPTIMIZERS),
}

RESERVED = ("name", "preset", "sweep")
"""The keys of an entry that are not fields of its spec."""


@dataclass(frozen=True)
class Entry:
    """A named point of an axis, valid on its own; `node` holds its fields, for overrides to be merged into."""

    name: str
    node: Node
    spec: Any


def entries(axis: Axis, given: Node, problems: Problems) -> list[Entry]:
    """The entries of one axis of a suite file, in its order, sweeps expanded; what is wrong goes to `problems`."""
    found: dict[str, Entry] = {}
    for item in given.value:
        with problems.collected():
            for name, node in _expanded(axis, item):
                if name in found:
                    other = found[name].node.place.label
                    raise item.place.problem(
                        f": the name {name!r} is taken by {other}; give one of them another `name`"
                    )
                found[name] = Entry(name, node, None)
                with problems.collected():
                    found[name] = Entry(name, node, check(node, axis.spec))
    return list(found.values())


def _expanded(axis: Axis, item: Node) -> list[tuple[str, Node]]:
    if isinstance(item.value, str):
        return [(item.value, _preset(axis, item, item.place))]
    name, node = _name(axis, item), item.without(*RESERVED)
    if "preset" in item.value:
        node = merge(_preset(axis, item.value["preset"], item.place), node)
    if "sweep" not in item.value:
        return [(name, node)]
    points = _points(item.value["sweep"])
    return [(f"{name}[{label}]", merge(node, point)) for label, point in points]


def _preset(axis: Axis, given: Node, place: Place) -> Node:
    word = given.value
    if not isinstance(word, str):
        raise given.place.problem("must be the name of a preset: text")
    if word not in axis.presets:
        raise given.place.problem(f": no {axis.name} is named {word!r}; {suggestion(word, axis.presets)}")
    return placed(axis.presets[word], place)


def _name(axis: Axis, item: Node) -> str:
    """The display name: given, or that of the preset, or the kind."""
    for key in ("name", "preset", "kind"):
        if key in item.value:
            check_name(item.value[key])
            return str(item.value[key].value)
    raise item.place.problem(f"needs a `name`, or a `preset` ({', '.join(axis.presets)})")


def check_name(node: Node) -> None:
    """Raises UserError for a display name that could not be told apart in an arm's name or in a pattern."""
    if not isinstance(node.value, str):
        raise node.place.problem(f"must be text, not {node.value!r}: put it in quotes")
    if not re.fullmatch(r"[^\s/,=*?\[\]]([^/,=*?\[\]\n]*[^\s/,=*?\[\]])?", node.value):
        raise node.place.problem(f"is {node.value!r}; a name is not empty and has none of / , = * ? [ ] in it")


def _points(sweep: Node) -> list[tuple[str, Node]]:
    """Every combination of the swept values: its label, and the fields it sets."""
    if not isinstance(sweep.value, dict) or not sweep.value:
        raise sweep.place.problem("must be a mapping from fields to lists of values, such as {rule.lr: [0.001, 0.003]}")
    choices = []
    for field, values in sweep.value.items():
        if not isinstance(values.value, list) or not values.value:
            raise values.place.problem("must be a list of at least one value")
        choices.append([(f"{field}={_shown(value)}", _nested(field, value, values.key)) for value in values.value])
    found = []
    for combination in itertools.product(*choices):
        node = combination[0][1]
        for _, other in combination[1:]:
            node = merge(node, other)
        found.append((",".join(label for label, _ in combination), node))
    return found


def _nested(field: str, value: Node, key: Place) -> Node:
    """`rule.lr` and a value as the mapping {rule: {lr: value}}, every part of it at the place of the value."""
    node = Node(value.value, value.place, key)
    for part in reversed(field.split(".")):
        node = Node({part: node}, value.place, key)
    return node


def _shown(value: Node) -> str:
    if isinstance(value.value, dict | list):
        raise value.place.problem("is a mapping or a list; what is swept over is numbers and words")
    return str(value.plain())


def matches(pattern: str, name: str) -> bool:
    """Whether `name` is `pattern`, in which * stands for any text and ? for any character."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), name) is not None


def check_patterns(patterns: Sequence[Node], names: Sequence[str], what: str) -> None:
    """Raises UserError for the first pattern that matches none of the names."""
    for node in patterns:
        if not any(matches(str(node.value), name) for name in names):
            raise node.place.problem(
                f": no {what} of this suite is named {node.value!r}; {suggestion(node.value, names)}"
            )
