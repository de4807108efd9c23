"""From the location in an error of pydantic to the user's value, along the type that was asked for.

Such a location mixes field names with marks of the chosen member of a union (`rule`, `adamw`, `lr`), and only the type
tells which is which.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag

from optbench.yamlfile import Node


@dataclass(frozen=True)
class Spot:
    """Where a location leads: the value, the mapping around it, and the type there (of the mapping, where the location
    names no field of it). `path` holds the keys that were followed; `in_union` says that the last step chose among
    types that carry no `kind`."""

    node: Node
    parent: Node
    kind: Any
    path: tuple[str | int, ...]
    in_union: bool


def follow(node: Node, kind: Any, location: Sequence[str | int]) -> Spot:
    """The spot at the end of the location."""
    parent, path, in_union = node, [], False
    for part in location:
        kind = _bare(kind)
        if _is_union(kind) and part in allowed_kinds(kind):
            kind = _member(kind, str(part))
            continue
        in_union = _is_union(kind) and not _only(kind)
        if in_union:
            kind = _named(kind, str(part))
            continue
        kind = _step(_only(kind) or kind, part)
        parent, node = node, _item(node, part)
        path.append(part)
    return Spot(node, parent, _bare(kind), tuple(path), in_union)


def field_names(kind: Any) -> list[str]:
    """The fields of a spec; none for any other type."""
    kind = _bare(kind)
    kind = _only(kind) or kind
    return list(kind.model_fields) if _is_spec(kind) else []


def nested_names(node: Node, kind: Any) -> dict[str, str]:
    """The fields one mapping deeper, as given or by default, each with its dotted name: `lr` -> `rule.lr`."""
    found: dict[str, str] = {}
    kind = _bare(kind)
    if not _is_spec(kind):
        return found
    for name, field in kind.model_fields.items():
        given = node.value.get(name) if isinstance(node.value, dict) else None
        inner = _bare(field.annotation)
        if given is not None and isinstance(given.value, dict) and "kind" in given.value:
            chosen = given.value["kind"].value
            inner = _member(inner, chosen) if chosen in allowed_kinds(inner) else inner
        elif isinstance(field.default, BaseModel):
            inner = type(field.default)
        for word in field_names(inner):
            if word != "kind":
                found.setdefault(word, f"{name}.{word}")
    return found


def allowed_kinds(kind: Any) -> list[str]:
    """The kinds of a union of specs; none for any other type."""
    if not _is_union(_bare(kind)):
        return []
    return [mark.tag for member in get_args(_bare(kind)) for mark in _marks(member) if isinstance(mark, Tag)]


def _marks(kind: Any) -> Iterable[Any]:
    return kind.__metadata__ if get_origin(kind) is Annotated else ()


def _bare(kind: Any) -> Any:
    return _bare(kind.__origin__) if get_origin(kind) is Annotated else kind


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _is_spec(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _member(kind: Any, tag: str) -> Any:
    members = get_args(_bare(kind))
    return next(m for m in members for mark in _marks(m) if isinstance(mark, Tag) and mark.tag == tag)


def _only(kind: Any) -> Any:
    """X of X | None: pydantic adds no mark for it."""
    members = [member for member in get_args(kind) if member is not types.NoneType] if _is_union(kind) else []
    return members[0] if len(members) == 1 else None


def _named(kind: Any, mark: str) -> Any:
    """The member of a union that pydantic's mark (`Spec`, `list[int]`, `dict[str,any]`) means; Any for a scalar."""
    for member in map(_bare, get_args(kind)):
        if _is_spec(member) and member.__name__ == mark:
            return member
        origin = get_origin(member)
        if isinstance(origin, type) and mark.startswith(f"{origin.__name__}["):
            return member
    return Any


def _step(kind: Any, part: str | int) -> Any:
    """The type of an item; the type itself where it has no such field."""
    kind = _bare(kind)
    if _is_spec(kind):
        return kind.model_fields[part].annotation if part in kind.model_fields else kind
    arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
    if get_origin(kind) is dict:
        return arguments[1]
    if get_origin(kind) in (list, tuple):
        return arguments[min(int(part), len(arguments) - 1)]
    return Any


def _item(node: Node, part: str | int) -> Node:
    """The item, or the node itself where the user gave none."""
    if isinstance(node.value, dict) and part in node.value:
        found: Node = node.value[part]
        return found
    if isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
        return node.value[part]  # type: ignore[no-any-return]
    return node
