"""YAML 1.2 files as trees whose every value knows its place: file, line and path within the document."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.tokens import DirectiveToken, TagToken

from optbench.errors import UserError

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Place:
    """Where a value stands, for messages. `label` is its path, such as `optimizers[1].rule.lr`; empty for the file."""

    file: str
    line: int
    label: str

    def message(self, what: str) -> str:
        """What is wrong here: `suites/x.yaml:12: optimizers[1].lrr is unknown`."""
        joint = "" if what.startswith(":") else " "
        return f"{self.file}:{self.line}: {(self.label or 'the file')}{joint}{what}"

    def problem(self, what: str) -> Refused:
        """The error that says so."""
        return Refused([(self, what)])

    def inside(self, key: str | int, line: int | None = None) -> Place:
        """The place of an item of a mapping or a list; on the same line unless told."""
        if isinstance(key, int):
            label = f"{self.label}[{key}]"
        else:
            label = f"{self.label}.{key}" if self.label else key
        return Place(self.file, self.line if line is None else line, label)


class Refused(UserError):
    """Values that cannot be taken: what is wrong, each with its place."""

    def __init__(self, found: list[tuple[Place, str]]) -> None:
        super().__init__("\n".join(place.message(what) for place, what in found))
        self.found = found


@dataclass(frozen=True)
class Node:
    """A value and its place; `key` is the place of the mapping key that it belongs to, which may be another line."""

    value: Any
    place: Place
    key: Place

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def without(self, *keys: str) -> Node:
        """This mapping with some keys left out."""
        return Node({key: item for key, item in self.value.items() if key not in keys}, self.place, self.key)


def placed(value: Any, place: Place) -> Node:
    """Plain data as a tree, every part of it on the line of `place`."""
    if isinstance(value, Mapping):
        return Node({key: placed(item, place.inside(key)) for key, item in value.items()}, place, place)
    if isinstance(value, list | tuple):
        return Node([placed(item, place.inside(index)) for index, item in enumerate(value)], place, place)
    return Node(value, place, place)


def merge(base: Node, top: Node) -> Node:
    """`base` with the values of `top` put over it, mapping by mapping, each value with its own place.

    A mapping that changes `kind` replaces the one below, whose other fields belong to the other kind.
    """
    if not (isinstance(base.value, dict) and isinstance(top.value, dict)) or _changes_kind(base.value, top.value):
        return top
    merged = dict(base.value)
    for key, item in top.value.items():
        merged[key] = merge(merged[key], item) if key in merged else item
    return Node(merged, top.place, top.key)


def _changes_kind(base: dict[str, Node], top: dict[str, Node]) -> bool:
    return "kind" in base and "kind" in top and base["kind"].plain() != top["kind"].plain()


def read(path: Path | str, *, label: str = "") -> Node:
    """The tree of the one document in the file; `label` is what messages call it.

    Raises UserError, naming file and line, for a file that cannot be read, is not UTF-8 or not YAML, is empty, has
    duplicate keys, keys that are not text, tags, directives, or a number that is none.
    """
    file = str(path)
    text = _text(Path(path))
    try:
        for token in YAML(typ="safe", pure=True).scan(text):
            _refuse_magic(token, file)
        root = YAML(typ="safe", pure=True).compose(text)
        if root is None:
            raise UserError(f"{file}:1: the file is empty")
        line = root.start_mark.line + 1
        return _Reader(file).node(root, Place(file, line, label))
    except MarkedYAMLError as error:
        raise UserError(_syntax_message(file, error)) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{file}:{line}: a character that YAML does not allow: {chr(error.character)!r}") from error
    except YAMLError as error:
        raise UserError(f"{file}: not YAML: {error}") from error
    except RecursionError as error:
        raise UserError(f"{file}: nested too deeply") from error


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        folder = path.parent
        near = [str(other) for pattern in ("*.yaml", "*.yml") for other in folder.glob(pattern)]
        close = difflib.get_close_matches(str(path), near, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"{path}: no such file{hint}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 text ({error.reason})") from error


def _refuse_magic(token: Any, file: str) -> None:
    where = f"{file}:{token.start_mark.line + 1}"
    if isinstance(token, TagToken):
        tag = "".join(part for part in token.value if part)
        raise UserError(f"{where}: tags such as {tag} are not allowed: values are plain data")
    if isinstance(token, DirectiveToken):
        raise UserError(f"{where}: directives are not allowed; the file is read as YAML 1.2")


def _syntax_message(file: str, error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    problem = error.problem or "not YAML"
    if "'\\t'" in problem:
        problem = "a tab; YAML is indented by spaces"
    elif "another document" in problem:
        problem = "a second document begins here; a file holds one"
    elif "mapping values are not allowed here" in problem:
        problem = "a colon where none may stand; text with a colon needs quotes, and items of a mapping one indentation"
    elif error.context is not None:
        started = f" that began on line {error.context_mark.line + 1}" if error.context_mark is not None else ""
        problem = f"{problem} ({error.context}{started})"
    return f"{file}:{line}: not YAML: {problem}"


class _Reader:
    """Turns ruamel's nodes into ours."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[int] = []
        self._scalars = YAML(typ="safe", pure=True).constructor

    def node(self, node: Any, place: Place, key: Place | None = None) -> Node:
        key = place if key is None else key
        if isinstance(node, ScalarNode):
            return Node(self._scalar(node, place), place, key)
        if id(node) in self._open:
            raise place.problem("contains itself")
        self._open.append(id(node))
        value: Any
        if isinstance(node, SequenceNode):
            value = [self.node(item, place.inside(i, _line(item))) for i, item in enumerate(node.value)]
        else:
            value = self._mapping(node, place)
        self._open.pop()
        return Node(value, place, key)

    def _scalar(self, node: ScalarNode, place: Place) -> Any:
        kind = str(node.ctag).removeprefix(_TAG)
        if kind not in ("int", "float", "bool", "null"):
            return node.value  # dates and the like are text
        try:
            value = self._scalars.construct_object(node)
        except ValueError as error:
            raise place.problem(f"is not a number: {node.value}") from error
        if isinstance(value, float) and math.isnan(value):
            raise place.problem("is not a number (nan)")
        return value

    def _mapping(self, node: MappingNode, place: Place) -> dict[str, Node]:
        value: dict[str, Node] = {}
        inherited: dict[str, Node] = {}
        for key_node, item in node.value:
            name = self._key(key_node, place)
            key_place = place.inside(name, _line(key_node))
            if str(key_node.ctag) == f"{_TAG}merge":
                for other in self._merged(item, key_place):
                    inherited = {**other, **inherited}
                continue
            if name in value:
                raise key_place.problem(f"is given twice (first on line {value[name].key.line})")
            empty = isinstance(item, ScalarNode) and not item.value  # its mark is wherever the next thing begins
            line = key_place.line if empty else _line(item)
            value[name] = self.node(item, place.inside(name, line), key_place)
        return {**inherited, **value}

    def _merged(self, item: Any, place: Place) -> Iterator[dict[str, Node]]:
        for source in item.value if isinstance(item, SequenceNode) else [item]:
            if not isinstance(source, MappingNode):
                raise place.problem("merges something that is not a mapping")
            outer = Place(place.file, place.line, place.label.removesuffix("<<").removesuffix("."))
            found = self.node(source, outer).value
            assert isinstance(found, dict)
            yield found

    def _key(self, node: Any, place: Place) -> str:
        if isinstance(node, ScalarNode) and str(node.ctag).removeprefix(_TAG) not in ("int", "float", "bool", "null"):
            return str(node.value)
        shown = f": put {node.value!r} in quotes" if isinstance(node, ScalarNode) and node.value else ""
        raise Place(self._file, _line(node), place.label).problem(f"has a key that is not text{shown}")


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1
