"""`list`: what there is to choose from."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

from optbench.axes import AXES, Axis
from optbench.commands.suite_keys import default_text, suite_keys
from optbench.commands.tables import table
from optbench.metrics.columns import COLUMNS
from optbench.models.specs import MODELS
from optbench.optim.ascents import ASCENTS
from optbench.optim.rules import RULES
from optbench.optim.specs import ESTIMATORS
from optbench.panels.specs import PANELS
from optbench.spec import Spec
from optbench.strategies.specs import STRATEGIES
from optbench.suite import PANELS as PANEL_AXIS
from optbench.tasks.specs import TASKS

KINDS: dict[str, dict[str, type[Spec]]] = {
    "model": MODELS,
    "task": TASKS,
    "strategy": STRATEGIES,
    "optimizer.estimator": ESTIMATORS,
    "optimizer.estimator.ascent": ASCENTS,
    "optimizer.rule": RULES,
    "panel": PANELS,
}
"""By the field that takes them."""
CHOICES: dict[str, Axis] = {**AXES, "panel": PANEL_AXIS}
"""What has presets."""


def presets() -> dict[str, Any]:
    """Presets by axis, kinds by the field that takes them, the keys of a suite file, and columns, each with one line
    of explanation."""
    return {
        "presets": {
            axis.plural: {name: _preset_line(axis.name, fields) for name, fields in axis.presets.items()}
            for axis in CHOICES.values()
        },
        "kinds": {
            field: {kind: _first_sentence(spec) for kind, spec in kinds.items()} for field, kinds in KINDS.items()
        },
        "suite": suite_keys(),
        "metrics": {
            name: {"unit": column.unit, "better": column.direction, "doc": column.doc}
            for name, column in COLUMNS.items()
        },
    }


def presets_text(content: Mapping[str, Any]) -> str:
    """`presets` for a terminal."""
    blocks = []
    for plural, lines in content["presets"].items():
        blocks.append(f"{plural}\n{_indented(table(('preset', ''), list(lines.items())))}")
    for field, lines in content["kinds"].items():
        blocks.append(f"kinds of {field}\n{_indented(table(('kind', ''), list(lines.items())))}")
    keys = [[name, default_text(name, key), key["doc"]] for name, key in content["suite"].items()]
    blocks.append(f"keys of a suite file\n{_indented(table(('key', 'default', ''), keys))}")
    rows = [[name, line["unit"], line["better"], line["doc"]] for name, line in content["metrics"].items()]
    blocks.append(f"metrics\n{_indented(table(('column', 'unit', 'better', ''), rows))}")
    return "\n\n".join(blocks)


def _preset_line(axis: str, fields: Mapping[str, Any]) -> str:
    """What a preset is, in a line: its kind, or those that it is made of, what it sets, and what that is."""
    if axis == "optimizer":
        return " x ".join(_kind_and_fields(fields[part]) for part in ("estimator", "rule") if part in fields)
    return f"{_kind_and_fields(fields)}: {_first_sentence(KINDS[axis][fields['kind']])}"


def _kind_and_fields(fields: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name}: {_short(value)}" for name, value in fields.items() if name != "kind")
    return f"{fields['kind']} ({given})" if given else str(fields["kind"])


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and set(value) == {"kind"}:
        return str(value["kind"])
    return json.dumps(value)


def _first_sentence(spec: type[Spec]) -> str:
    """The first sentence of its documentation; one that leads to an indented block ends there."""
    first = about(spec).split("\n")[0]
    return re.sub(r":$", ".", re.split(r"(?<=[.])\s", first, maxsplit=1)[0])


def about(spec: type[Spec]) -> str:
    """Its documentation: a line for each paragraph, and indented lines, such as those of a table, as they are."""
    lines: list[str] = []
    flowing = False
    for line in inspect.cleandoc(spec.__doc__ or "").splitlines():
        flows = bool(line) and not line[0].isspace()
        if flows and flowing:
            lines[-1] += f" {line}"
        elif line:
            lines.append(line)
        flowing = flows
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines()[1:])
