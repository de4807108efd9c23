"""The challenger: what stands in the suite for it, and the file of its code."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optbench.axes import check_name
from optbench.conformance.target import mapping_of, specs_of
from optbench.errors import UserError
from optbench.optim.specs import PRESETS
from optbench.yamlfile import Place, placed


@dataclass(frozen=True)
class Entrant:
    """A challenger: its display name, its entry in the list of optimizers, and the file of its code, if it is one.

    `is_preset` says that it is an optimizer of the package as it comes, which a suite may know already. `lr_from` says
    in words where its base rate comes from; empty where it has none of its own.
    """

    name: str
    entry: Mapping[str, Any]
    source: Path | None = None
    is_preset: bool = False
    lr_from: str = ""

    def moved(self, to: Path) -> Entrant:
        """The same with its code at another place."""
        rule = {**self.entry["rule"], "target": f"{to.as_posix()}:{self.entry['rule']['target'].rpartition(':')[2]}"}
        return Entrant(self.name, {**self.entry, "rule": rule}, to, self.is_preset, self.lr_from)


def entrant_of(
    target: str, name: str, against: Sequence[str], *, lr: float | None, options: Mapping[str, Any], suites_lr: float
) -> Entrant:
    """The challenger of the command line. `suites_lr` is the base rate of AdamW in the suite, which it starts from
    where neither `lr` nor its class says another.

    Raises UserError for a file, class, preset or mapping that is not there or not valid, and for a name that a baseline
    has. Nothing of it is run.
    """
    if name:
        check_name(placed(name, Place("--name", 1, "the name")))
    if target in PRESETS or target.lstrip().startswith("{"):
        if lr is not None or options:
            raise UserError("--lr, --options: are for file:Class and package:Class; write them into a JSON mapping")
        entrant = _preset(target, name) if target in PRESETS else _mapping(target, name)
    else:
        entrant = _plug_in(target, name, lr, dict(options), suites_lr)
    if entrant.name in against:
        raise UserError(f"--against {entrant.name}: is what the challenger is called, too; choose another --name")
    return entrant


def _preset(target: str, name: str) -> Entrant:
    return Entrant(name or target, {"name": name or target, **PRESETS[target]}, is_preset=not name or name == target)


def _mapping(text: str, name: str) -> Entrant:
    if not name:
        raise UserError("a JSON mapping needs a --name")
    found = [*specs_of(mapping_of(text, name), text).values()]
    if len(found) != 1:
        raise UserError(f"{text}: a sweep is {len(found)} optimizers, and a challenge has one challenger")
    return Entrant(name, {"name": name, **found[0].dump()})


def _plug_in(target: str, name: str, lr: float | None, options: dict[str, Any], suites_lr: float) -> Entrant:
    where, colon, cls = target.rpartition(":")
    if not colon or not where or not cls.isidentifier():
        raise UserError(
            f"{target}: is no optimizer: give file.py:Class, package.module:Class, a JSON mapping, or a preset "
            f"({', '.join(PRESETS)})"
        )
    source = Path(where) if where.endswith(".py") else None
    rate, lr_from = lr, "--lr"
    if rate is None:
        own = _default_rate(source, cls) if source is not None else _rate_of_class(target)
        rate, lr_from = (own, "its class's default") if own is not None else (suites_lr, "AdamW's in the suite")
    rule = {"kind": "torch", "target": target, "lr": rate, **({"options": options} if options else {})}
    entry = {"name": name or cls, "rule": rule}
    specs_of(entry, target)
    return Entrant(name or cls, entry, source, lr_from=lr_from)


def _default_rate(source: Path, cls: str) -> float | None:
    """The default of `lr` in the class's own `__init__`, read and not run; None where it has none that is a number."""
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None  # The check of the spec says what is wrong.
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == cls:
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                    return _default_of(inner.args)
    return None


def _default_of(arguments: ast.arguments) -> float | None:
    plain = [*arguments.posonlyargs, *arguments.args]
    pairs = [*zip(reversed(plain), reversed(arguments.defaults), strict=False)]
    pairs += [(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None]
    for argument, default in pairs:
        if argument.arg == "lr" and isinstance(default, ast.Constant) and isinstance(default.value, int | float):
            return float(default.value)
    return None


def _rate_of_class(target: str) -> float | None:
    """The same of a class of an installed package, whose code is run when it is imported."""
    import importlib
    import inspect

    where, _, cls = target.rpartition(":")
    try:
        found = importlib.import_module(where)
    except ImportError as error:
        raise UserError(f"{target}: {error}") from error
    kind = vars(found).get(cls)
    if not isinstance(kind, type):
        raise UserError(f"{target}: {where} has no class {cls!r}")
    known = inspect.signature(kind).parameters.get("lr")
    return float(known.default) if known is not None and isinstance(known.default, int | float) else None
