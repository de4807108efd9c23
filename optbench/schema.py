"""The JSON schema of a suite file, for editors: completion, and red ink before the first run.

It is wider than what `load_suite` takes (with a preset every field is optional, and only the loader knows which preset
has which fields), so that it never marks a suite that runs.
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import TypeAdapter

from optbench.axes import AXES, Axis
from optbench.cell import Budget, Training
from optbench.suite import PANELS
from optbench.suitefile import SuiteFields

_ENTRY_FIELDS: dict[str, dict[str, Any]] = {
    "name": {"type": "string", "description": "Display name; by default that of the preset or the kind."},
    "preset": {"type": "string", "description": "A preset that the other fields are merged into."},
    "sweep": {
        "type": "object",
        "description": "Fields to lists of values, such as {rule.lr: [0.001, 0.003]}: one entry per combination.",
        "additionalProperties": {"type": "array", "minItems": 1},
    },
}


def suite_schema() -> dict[str, Any]:
    """The schema, as JSON data (draft 2020-12)."""
    schema = SuiteFields.model_json_schema()
    definitions = schema["$defs"]
    change = definitions["Change"]["properties"]
    for axis in AXES.values():
        fields = _partial(axis.spec, definitions)
        schema["properties"][axis.plural]["items"] = _entry(axis, fields, definitions)
        change[axis.name] = fields
    panels = _partial(PANELS.spec, definitions)
    schema["properties"]["panels"]["items"] = _entry(PANELS, panels, definitions)
    training, budget = _partial(Training, definitions), _partial(Budget, definitions)
    definitions["Training"]["properties"].pop("steps")  # the budget sets it
    schema["properties"]["training"] = change["training"] = training
    schema["properties"]["budget"] = {"anyOf": [budget, {"type": "array", "minItems": 1, "items": budget}]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "optbench suite"}


def _entry(axis: Axis, fields: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """An entry of an axis: a preset's name, or fields with name, preset and sweep beside them."""
    members = fields.get("anyOf", [fields])
    names = [member["$ref"].rsplit("/", 1)[1] for member in members if "$ref" in member]
    mappings = []
    for name in names:
        whole = definitions[name]
        title = f"{name}Entry"
        preset = {**_ENTRY_FIELDS["preset"], "enum": list(axis.presets)}
        definitions[title] = {
            **whole,
            "title": title,
            "properties": {**_ENTRY_FIELDS, "preset": preset, **whole.get("properties", {})},
        }
        mappings.append({"$ref": f"#/$defs/{title}"})
    return {"anyOf": [{"type": "string", "enum": list(axis.presets)}, *mappings]}


def _partial(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type with every field optional; what it defines goes to `definitions`."""
    schema: dict[str, Any] = _optional(TypeAdapter(kind).json_schema())
    definitions.update(schema.pop("$defs", {}))
    if "properties" not in schema:
        return schema
    definitions[schema["title"]] = schema
    return {"$ref": f"#/$defs/{schema['title']}"}


def _optional(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_optional(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    relaxed = {name: _optional(value) for name, value in schema.items() if name not in ("required", "discriminator")}
    if "default" in relaxed and not _is_json(relaxed["default"]):
        relaxed.pop("default")
    if "oneOf" in relaxed:
        # Without its kind a mapping fits several members, and some may be given by their bare name.
        relaxed["anyOf"] = [*relaxed.pop("oneOf"), {"type": "string"}]
    return relaxed


def _is_json(value: Any) -> bool:
    """Whether the value has no infinity in it, which JSON cannot write."""
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    return not isinstance(value, float) or math.isfinite(value)
