"""The keys of a suite file and of its parts that are no axis: which must be given, what the others are by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ruamel.yaml.scalarstring import LiteralScalarString

from optbench.cell import Budget, Schedule, Training
from optbench.spec import Spec
from optbench.suitefile import Execution, SuiteFields
from optbench.tuning.request import Tuning

BLOCKS: dict[str, type[Spec]] = {
    "suite": SuiteFields,
    "training": Training,
    "schedule": Schedule,
    "budget": Budget,
    "execution": Execution,
    "tuning": Tuning,
}
REQUIRED = "(required)"


def fields_of(kind: type[Spec]) -> dict[str, Any]:
    """The fields that a user gives, each with its default as YAML data, or that it is required."""
    return {
        name: REQUIRED if field.is_required() else data(field.get_default(call_default_factory=True))
        for name, field in kind.model_fields.items()
        if (kind, name) != (Training, "steps")  # The budget sets it.
    }


def explanations(kind: type[Spec]) -> dict[str, str]:
    """What is said of each of those fields, on one line; empty where nothing is."""
    return {name: " ".join((kind.model_fields[name].description or "").split()) for name in fields_of(kind)}


def suite_keys() -> dict[str, dict[str, Any]]:
    """The keys of a suite file: whether it is required, else its default, and what it is."""
    said = explanations(SuiteFields)
    return {
        name: {"required": default == REQUIRED, "default": None if default == REQUIRED else default, "doc": said[name]}
        for name, default in fields_of(SuiteFields).items()
    }


def default_text(name: str, key: Mapping[str, Any]) -> str:
    """What a table says of the default of one of `suite_keys`."""
    default = key["default"]
    if key["required"]:
        return "required"
    if default in ("", [], {}):
        return "none"
    return f"`optbench show {name}`" if isinstance(default, Mapping) else str(default)


def data(value: Any) -> Any:
    """The value as YAML data; text of several lines as such."""
    if isinstance(value, Spec):
        return {name: data(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {key: data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [data(item) for item in value]
    return LiteralScalarString(value) if isinstance(value, str) and "\n" in value else value
