"""Fields of an optimizer by their path, such as `rule.lr`: which there are, what they are set to, and setting them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optbench.arm_building import check_fraction
from optbench.axes import AXES, matches
from optbench.cell import Budget, Training
from optbench.errors import UserError, suggestion
from optbench.optim.search import Choice, Dimension, Space
from optbench.problems import Problems, check
from optbench.spec import Spec
from optbench.steps import steps_of
from optbench.yamlfile import Node, placed

if TYPE_CHECKING:
    from optbench.arm import Arm
    from optbench.tuning.request import Tuning

TRAINING = "training."
SCHEDULE = (f"{TRAINING}schedule.warmup", f"{TRAINING}schedule.final")
"""What may be tuned beside the optimizer. Other settings of training decide what is compared."""
MOST_CORNERS = 256


def paths_of(spec: Spec, prefix: str = "") -> list[str]:
    """The paths of all fields of an optimizer that may be tuned, and those of the schedule."""
    found: list[str] = []
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, Spec):
            found += paths_of(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            found += [f"{prefix}{name}.{word}" for word in value]
        elif name != "kind":
            found.append(prefix + name)
    return found if prefix else [*found, *SCHEDULE]


def is_path(path: str, spec: Spec) -> bool:
    """Whether an optimizer has this field. Options of a foreign optimizer may have any name."""
    if path in paths_of(spec):
        return True
    at: Any = spec
    *above, last = path.split(".")
    for part in above:
        if not isinstance(at, Spec) or part not in type(at).model_fields:
            return False
        at = getattr(at, part)
    return isinstance(at, dict) and bool(last)


def check_spaces(node: Node, tuning: Tuning, arms: Sequence[Arm], problems: Problems) -> None:
    """Notes every entry of `spaces` (`node` is their list) that names no optimizer of the arms, or a field that an
    optimizer it names does not have."""
    specs = {arm.optimizer: arm.optimizer_spec for arm in arms}
    for given, fields in zip(node.value, tuning.spaces, strict=True):
        chosen = [name for name in specs if matches(fields.optimizer, name)]
        if not chosen:
            what = f": no optimizer of this suite is named {fields.optimizer!r}; {suggestion(fields.optimizer, specs)}"
            problems.add(given.value["optimizer"].place, what)
        for path in fields.space:
            missing = next((name for name in chosen if not is_path(path, specs[name])), None)
            if missing is not None:
                hint = suggestion(path, paths_of(specs[missing]))
                problems.add(given.value["space"].value[path].key, f": {missing} has no such field to tune; {hint}")


def value_of(arm: Arm, path: str) -> Any:
    """What a path is set to in an arm, as JSON data; None for an option that is not given."""
    at: Any = arm.training if path.startswith(TRAINING) else arm.optimizer_spec
    for part in path.removeprefix(TRAINING).split("."):
        at = at.get(part) if isinstance(at, dict) else getattr(at, part)
    return list(at) if isinstance(at, tuple) else at


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by path as a mapping in mappings: {"rule.lr": 0.1} is {"rule": {"lr": 0.1}}."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        *above, last = path.split(".")
        at = found
        for part in above:
            at = at.setdefault(part, {})
        at[last] = value
    return found


def changes_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by path as what an override sets: fields of the optimizer and of training."""
    optimizer = nested({path: value for path, value in values.items() if not path.startswith(TRAINING)})
    training = nested({path: value for path, value in values.items() if path.startswith(TRAINING)})
    return {**({"optimizer": optimizer} if optimizer else {}), **training}


def with_values(arm: Arm, values: Mapping[str, Any]) -> Arm:
    """The arm with these values put in, as an override would. Raises UserError, at the line of the optimizer, for a
    value that its spec refuses."""
    changes, place = changes_of(values), arm.places["optimizer"]
    optimizer, training = arm.optimizer_spec, arm.training
    if "optimizer" in changes:
        merged = _merged(optimizer.model_dump(), changes["optimizer"])
        optimizer = check(placed(merged, place), AXES["optimizer"].spec)
        check_fraction(optimizer, arm.optimizer, place, training.batch_size)
    if "training" in changes:
        training = check(placed(_merged(training.model_dump(), changes["training"]), place), Training)
    with arm.blaming("optimizer"):
        budget = Budget(**dict(arm.budget))
        steps = steps_of(budget, arm.model_spec, arm.task_spec, optimizer, batch_size=training.batch_size)
    return replace(arm, optimizer_spec=optimizer, training=training.model_copy(update={"steps": steps}))


def check_corners(arm: Arm, space: Space) -> None:
    """Raises UserError where the arm's optimizer refuses the lowest or highest value, or one of the choices, of a
    dimension, or some of them together."""
    ends = {path: _ends(dimension) for path, dimension in space.items()}
    count = 1
    for values in ends.values():
        count *= len(values)
    if count <= MOST_CORNERS:
        corners = [dict(zip(ends, corner, strict=True)) for corner in itertools.product(*ends.values())]
    else:
        corners = [{path: value} for path, values in ends.items() for value in values]
    for corner in corners:
        try:
            with_values(arm, {path: _as_field(arm, path, value) for path, value in corner.items()})
        except UserError as error:
            shown = ", ".join(f"{path} = {value}" for path, value in corner.items())
            raise UserError(f"{error}\n(a corner of the space that {arm.optimizer} is tuned in: {shown})") from error


def is_whole(arm: Arm, path: str, dimension: Dimension) -> bool:
    """Whether a dimension is tuned in whole numbers: its field holds one now, and its bounds are whole."""
    if isinstance(dimension, Choice):
        return False
    now = value_of(arm, path)
    whole = isinstance(now, int) and not isinstance(now, bool)
    return whole and dimension.low.is_integer() and dimension.high.is_integer()


def _as_field(arm: Arm, path: str, value: Any) -> Any:
    now = value_of(arm, path)
    if isinstance(now, int) and not isinstance(now, bool) and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _ends(dimension: Dimension) -> list[Any]:
    return list(dimension.values) if isinstance(dimension, Choice) else [dimension.low, dimension.high]


def _merged(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for name, value in top.items():
        both = isinstance(value, Mapping) and isinstance(found.get(name), dict)
        found[name] = _merged(found[name], value) if both else value
    return found
