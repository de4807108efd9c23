"""What is wrong with a tree of values, one message for each problem, in the user's words and at the user's line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from optbench.errors import UserError, suggestion
from optbench.fields import Spot, allowed_kinds, field_names, follow, nested_names
from optbench.yamlfile import Node, Place, Refused


@dataclass
class Problems:
    """Collects problems, so that a user reads all of them at once and each of them once."""

    _lines: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, place: Place, what: str) -> None:
        """Notes that `what` is wrong at `place`."""
        self._lines[place.message(what)] = (place.file, place.line)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Notes what a UserError raised inside says, and goes on after the block."""
        try:
            yield
        except Refused as error:
            for place, what in error.found:
                self.add(place, what)
        except UserError as error:
            self._lines.setdefault(str(error), ("", 0))

    def raise_any(self) -> None:
        """Raises one UserError with all messages, in the order of files and lines, where there are any."""
        if self._lines:
            raise UserError("\n".join(sorted(self._lines, key=lambda line: self._lines[line])))


def check(node: Node, kind: Any) -> Any:
    """The value as the type `kind`, strictly: text is no number, True is no 1, 3.0 is no integer.

    Raises Refused with every problem.
    """
    # The JSON mode of pydantic is strict about scalars and still takes a list for a tuple.
    try:
        return _adapter(kind).validate_json(json.dumps(node.plain()), strict=True)
    except ValidationError as error:
        raise Refused(_explained(error, node, kind)) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _explained(error: ValidationError, node: Node, kind: Any) -> list[tuple[Place, str]]:
    details = [(detail, follow(node, kind, detail["loc"])) for detail in error.errors()]
    found: dict[Place, list[str]] = {}
    paths = [spot.path for _, spot in details]
    for detail, spot in details:
        # A union reports every member that failed; where one got further inside, the others were not meant.
        if spot.in_union and any(len(path) > len(spot.path) and path[: len(spot.path)] == spot.path for path in paths):
            continue
        place, what = _message(detail, spot)
        found.setdefault(place, []).append(what)
    return [(place, what) for place, group in found.items() for what in _joined(group)]


_MUST_BE = "must be "


def _joined(group: list[str]) -> list[str]:
    """The messages about one value; those that only say what type it must be become one."""
    typed = [what for what in group if what.startswith(_MUST_BE) and ", not " in what]
    if len(typed) < 2:
        return group
    nouns = list(dict.fromkeys(what.removeprefix(_MUST_BE).split(", not ")[0] for what in typed))
    return [f"{_MUST_BE}{' or '.join(nouns)}, not {typed[0].split(', not ', 1)[1]}"]


_NOUNS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}

_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _message(detail: Any, spot: Spot) -> tuple[Place, str]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    place = spot.node.place
    if kind == "extra_forbidden":
        return spot.node.key, f"is unknown; {_unknown_field(str(detail['loc'][-1]), spot)}"
    if kind == "missing":
        return place.inside(detail["loc"][-1]), "is missing"
    if kind == "union_tag_not_found":
        words = ", ".join(sorted(allowed_kinds(spot.kind)))
        if isinstance(value, dict):
            return place, f"has no kind; allowed: {words}"
        return place, f"must be a mapping with a kind ({words}), not {_shown(value)}"
    if kind == "union_tag_invalid":
        at = spot.node.value["kind"].place if isinstance(spot.node.value, dict) else place
        return at, f"is {context['tag']!r}; {suggestion(context['tag'], allowed_kinds(spot.kind))}"
    if kind == "literal_error":
        words_of = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        return place, f"is {_shown(value)}; {suggestion(str(value), words_of)}"
    if kind in _NOUNS:
        return place, f"{_MUST_BE}{_NOUNS[kind]}, not {_shown(value)}{_hint(kind, value)}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return place, f"must be {words} {context[name]:g}, not {_shown(value)}"
    if kind in ("too_short", "string_too_short"):
        return place, "is empty"
    if kind == "too_long":
        return place, f"has {context['actual_length']} items, not {context['max_length']}"
    if kind == "finite_number":
        return place, f"must be finite, not {_shown(value)}"
    if kind == "value_error":
        return place, f": {context['error']}"
    return place, f": {detail['msg'].removeprefix('Input ').removeprefix('String ')}, not {_shown(value)}"


def _unknown_field(given: str, spot: Spot) -> str:
    own = field_names(spot.kind)
    if difflib.get_close_matches(given, own, n=1, cutoff=0.6):
        return suggestion(given, own)
    nested = nested_names(spot.parent, spot.kind)
    close = difflib.get_close_matches(given, nested, n=1, cutoff=0.6)
    return f"did you mean {nested[close[0]]}?" if close else suggestion(given, own)


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)


def _hint(kind: str, value: Any) -> str:
    if kind == "string_type" and isinstance(value, int | float | bool):
        return ": put it in quotes"
    if kind == "bool_type" and isinstance(value, str) and value.lower() in ("yes", "no", "on", "off", "y", "n"):
        return f": write {'true' if value.lower() in ('yes', 'on', 'y') else 'false'}"
    if kind in ("int_type", "int_from_float") and isinstance(value, float) and value.is_integer():
        return f": write {value:.0f}"
    if kind in ("int_type", "int_from_float", "float_type") and isinstance(value, str) and _is_number(value):
        return ": write it without quotes"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
