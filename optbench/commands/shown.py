"""`show`: the full spec of a preset, the fields of a kind, the keys of a suite file, as YAML with what they mean."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from optbench.commands.presets import CHOICES, KINDS, about
from optbench.commands.suite_keys import BLOCKS, data, explanations, fields_of
from optbench.errors import UserError, suggestion
from optbench.problems import check
from optbench.spec import Spec
from optbench.yamlfile import Place, placed

_INDENT, _WIDTH = 2, 100


def shown(name: str) -> dict[str, Any]:
    """The full spec of every preset of this name, by axis, all defaults stated; of a kind or a part of a suite file,
    its fields and meaning. Fields that have an explanation have it as a comment.

    Raises UserError for another name.
    """
    found: dict[str, Any] = {}
    for axis in CHOICES.values():
        if name in axis.presets:
            node = placed(axis.presets[name], Place(f"preset {name}", 1, axis.name))
            found[axis.name] = _stated(check(node, axis.spec), depth=1)
    if not found:
        found = {field: _described(kinds[name]) for field, kinds in KINDS.items() if name in kinds}
    if not found and name in BLOCKS:
        found = {name: _described(BLOCKS[name])}
    if not found:
        names = [preset for axis in CHOICES.values() for preset in axis.presets]
        kinds = [kind for table in KINDS.values() for kind in table]
        allowed = suggestion(name, dict.fromkeys([*names, *kinds, *BLOCKS]))
        raise UserError(f"no preset, kind or part of a suite file is named {name!r}; {allowed}")
    return found


def shown_text(found: Mapping[str, Any]) -> str:
    """Specs as YAML, ready to be pasted into a suite file."""
    yaml = YAML()
    yaml.width = _WIDTH
    text = io.StringIO()
    yaml.dump(dict(found), text)
    return text.getvalue().rstrip()


def _described(kind: type[Spec]) -> CommentedMap:
    """The fields of a kind with their defaults, and its documentation."""
    content = {"about": data(about(kind)), "fields": _commented(fields_of(kind), explanations(kind), depth=2)}
    return CommentedMap(content)


def _stated(spec: Spec, depth: int) -> CommentedMap:
    """Every field of a spec, at so many levels into the document."""
    values = {name: getattr(spec, name) for name in type(spec).model_fields}
    content = {
        name: _stated(value, depth + 1) if isinstance(value, Spec) else data(value) for name, value in values.items()
    }
    return _commented(content, explanations(type(spec)), depth)


def _commented(content: Mapping[str, Any], said: Mapping[str, str], depth: int) -> CommentedMap:
    found = CommentedMap(content)
    for name, text in said.items():
        if text:
            lines = textwrap.fill(text, _WIDTH - _INDENT * depth - 2)
            found.yaml_set_comment_before_after_key(name, before=lines, indent=_INDENT * depth)
    return found
