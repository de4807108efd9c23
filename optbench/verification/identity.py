"""The key of a record against its content: a key is the hash of what a cell is, so an edited cell has another one."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from optbench.bundle import SOURCES, is_name
from optbench.cell import PROTOCOL_REVISION, CellSpec
from optbench.errors import UserError
from optbench.models.specs import MODELS
from optbench.optim.rules import RULES
from optbench.optim.specs import ESTIMATORS
from optbench.panels.base import panel_key
from optbench.panels.specs import PANELS
from optbench.spec import ByContent, Spec, key_of
from optbench.strategies.specs import STRATEGIES
from optbench.tasks.specs import TASKS

Verdict = Literal["agrees", "edited", "not here", "earlier revision"]
STAND_IN = "torch.optim:AdamW"
MOST_REVISIONS = 256
"""Combinations of earlier revisions that are tried at most."""


@dataclass(frozen=True)
class Identity:
    """Whether a key belongs to a content, why not, and the cell (or panel) where it could be read.

    `not here`: it depends on something outside the record (a file, a checkpoint, a plug-in) that is not here or is
    another one. `earlier revision`: made by code whose numbers have changed since; no suite finds it.
    """

    verdict: Verdict
    why: str = ""
    spec: Any = None


def identity_of_cell(key: str, content: Any, sources: Path | None = None, stated: Sequence[Any] = ()) -> Identity:
    """Whether `key` is that of the cell with this content. `sources` is a folder of code that came along, by the paths
    that records name: an optimizer's file is hashed there, and neither read as Python nor run. `stated` are identities
    of checkpoints that the record states: where they entered, they are no reason for another key."""
    if not isinstance(content, Mapping):
        return Identity("edited", "its cell is no mapping")
    foreign = _foreign(content)
    try:
        if sources is not None and (came := _came_along(content, sources)):
            return _with_source(key, content, came, stated)
        cell = CellSpec.model_validate(dict(content))
    except ValidationError as error:
        return _not_valid(error, foreign, content)
    return _compared(key, cell, lambda: cell.key, {"protocol": PROTOCOL_REVISION, "cell": None}, "cell", stated)


def _came_along(content: Mapping[str, Any], sources: Path) -> Path | None:
    """The file of an optimizer's code among those that came along."""
    optimizer = content.get("optimizer")
    rule = optimizer.get("rule") if isinstance(optimizer, Mapping) else None
    if not isinstance(rule, Mapping) or rule.get("kind") != "torch" or not isinstance(rule.get("target"), str):
        return None
    where, _, _ = rule["target"].rpartition(":")
    if not is_name(f"{SOURCES}/{where}"):
        return None
    path = sources / where
    return path if path.is_file() else None


def _with_source(key: str, content: Mapping[str, Any], source: Path, stated: Sequence[Any]) -> Identity:
    """The identity of a cell whose optimizer's code is `source`. The spec that is found names the path of the record,
    so that nothing can be built from the code that came along."""
    optimizer = content["optimizer"]
    target = optimizer["rule"]["target"]
    cls = target.rpartition(":")[2]
    if not cls.isidentifier():
        return Identity("edited", f"its cell is not valid: {target!r} names no class")
    # Any installed class will do: what is checked of a file is read as Python, and this one is a stranger's.
    rule = {**optimizer["rule"], "target": STAND_IN}
    stand_in = CellSpec.model_validate({**content, "optimizer": {**optimizer, "rule": rule}})

    def named(where: str) -> CellSpec:
        given = stand_in.optimizer
        renamed = given.model_copy(update={"rule": given.rule.model_copy(update={"target": where})})
        return stand_in.model_copy(update={"optimizer": renamed})

    there = f"{source}:{cls}"
    cell = named(there)
    frame = {"protocol": PROTOCOL_REVISION, "cell": None}
    found = _compared(key, cell, lambda: cell.key, frame, "cell", stated, at_hand=there)
    return Identity(found.verdict, found.why, named(target))


def identity_of_panel(key: str, content: Any) -> Identity:
    """Whether `key` is that of the panel with this content."""
    if not isinstance(content, Mapping) or content.get("kind") not in PANELS:
        kind = content.get("kind") if isinstance(content, Mapping) else None
        return Identity(
            "not here" if isinstance(kind, str) else "edited", f"no panel of the kind {kind!r} is installed"
        )
    try:
        panel = PANELS[content["kind"]].model_validate(dict(content))
    except ValidationError as error:
        return Identity("edited", f"its spec is not valid: {_first(error)}")
    return _compared(key, panel, lambda: panel_key(panel), {"protocol": PROTOCOL_REVISION, "panel": None}, "panel")


def _compared(
    key: str,
    spec: Spec,
    current: Callable[[], str],
    frame: dict[str, Any],
    slot: str,
    known: Sequence[Any] = (),
    *,
    at_hand: str = "",
) -> Identity:
    """`known` are identities of checkpoints, `at_hand` is a file: both are outside the record, and known to be what it
    was made with."""
    try:
        if current() == key:
            return Identity("agrees", spec=spec)
        identity, outside = spec.identity(), sorted(set(_outside(spec, known)) - {at_hand})
    except (OSError, UserError) as error:
        return Identity("not here", f"{' '.join(str(error).split())}", spec)
    if outside:
        return Identity("not here", f"source differs: {', '.join(outside)}", spec)
    for revision in range(frame["protocol"], 0, -1):
        for older in _older(identity):
            if key_of({**frame, "protocol": revision, slot: older}) == key:
                return Identity("earlier revision", "made by code whose numbers have changed since", spec)
    return Identity("edited", "its key is not that of its content", spec)


def _not_valid(error: ValidationError, foreign: str, content: Mapping[str, Any]) -> Identity:
    if foreign:
        return Identity("not here", f"no {foreign} is installed")
    outside = [text for text in _texts(content) if text.endswith(".py") or ".py:" in text or "/" in text]
    messages = " ".join(str(each["msg"]) for each in error.errors())
    if any(text.split(":")[0] in messages for text in outside) or "is installed" in messages:
        return Identity("not here", _first(error))
    return Identity("edited", f"its cell is not valid: {_first(error)}")


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, found['loc']))}: {' '.join(str(found['msg']).split())}"


def _foreign(cell: Mapping[str, Any]) -> str:
    """The first kind that no table has, in words."""
    optimizer = cell.get("optimizer", {})
    tables = (
        ("model", cell.get("model"), MODELS),
        ("task", cell.get("task"), TASKS),
        ("strategy", cell.get("strategy"), STRATEGIES),
        ("estimator", optimizer.get("estimator") if isinstance(optimizer, Mapping) else None, ESTIMATORS),
        ("rule", optimizer.get("rule") if isinstance(optimizer, Mapping) else None, RULES),
    )
    for name, content, table in tables:
        kind = content.get("kind") if isinstance(content, Mapping) else None
        if isinstance(kind, str) and kind not in table:
            return f"{name} of the kind {kind!r}"
    return ""


def _outside(spec: Spec, known: Sequence[Any]) -> Iterator[str]:
    """What the identity of a spec takes from outside the record: files, plug-ins, and checkpoints whose identities are
    not `known`."""
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        if isinstance(value, Spec):
            yield from _outside(value, known)
        elif value and any(isinstance(mark, ByContent) for mark in field.metadata):
            yield str(value)
    if not type(spec).__module__.startswith("optbench."):
        yield f"{type(spec).__module__}.{type(spec).__name__}"
    elif type(spec).identity is not Spec.identity:
        plain, own = Spec.identity(spec), spec.identity()
        for name in own:
            if own[name] != plain.get(name) and own[name] not in known and not _is_pinned(own[name], spec):
                yield str(plain.get(name, own[name]))


def _is_pinned(value: Any, spec: Spec) -> bool:
    """Whether this is data of the hub at a commit that the spec itself names: nothing here has a say in it."""
    return isinstance(value, dict) and "hub" in value and value.get("commit") == getattr(spec, "hub_revision", None)


def _older(identity: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The identity, and what it was at all earlier revisions of the specs in it, up to a number of combinations."""
    places = list(_revisions(identity, ()))
    choices = itertools.product(*(range(value, 0, -1) for _, value in places))
    for chosen in itertools.islice(choices, MOST_REVISIONS):
        older = copy.deepcopy(identity)
        for (path, _), value in zip(places, chosen, strict=True):
            inner = older
            for word in path:
                inner = inner[word]
            inner.pop("revision")
            if value > 1:
                inner["revision"] = value
        yield older


def _revisions(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(value, dict):
        if isinstance(value.get("revision"), int):
            yield path, value["revision"]
        for name, item in value.items():
            yield from _revisions(item, (*path, name))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
