"""A foreign class as its source says it, found by reading: no line of it is run, and no package is imported.

Suites are read and planned without running code that may fail or never end, and what no run could take is still to be
refused there. Only what the source says plainly is taken for known: names that are bound once at the top of a module,
by a class or an import, and bases that can be followed in the same way.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from optbench.optim.rules.foreign_step import Arguments, arguments_in_source

DEPTH = 12
"""Imports and bases that are followed one from another; more are a circle."""


@dataclass(frozen=True)
class _Source:
    """What a file binds at its top: each name by the last statement that does, and `from x import *`."""

    names: Mapping[str, ast.stmt]
    stars: Sequence[ast.ImportFrom]


@dataclass(frozen=True)
class _Module:
    """A module. `package` is what its relative imports start from; empty for a file of one's own."""

    source: _Source
    package: str


def step_of(where: str, name: str) -> Arguments | None:
    """The arguments that the class's `step` takes, its own or inherited; None where the source does not say plainly.

    `where` is the path of a file that ends in `.py`, or a dotted module.
    """
    module = _parsed_file(Path(where), "") if where.endswith(".py") else _module(where)
    return None if module is None else _step(module, name, DEPTH)


def _step(module: _Module, name: str, depth: int) -> Arguments | None:
    """The step of what a module calls by this name."""
    if depth == 0:
        return None
    bound = module.source.names.get(name)
    if isinstance(bound, ast.ClassDef):
        return _step_of_class(module, bound, depth)
    if isinstance(bound, ast.ImportFrom):
        return _step_there(_absolute(module, bound), _imported(bound, name), depth - 1)
    if bound is None:
        every = (_step_there(_absolute(module, star), name, depth - 1) for star in reversed(module.source.stars))
        return next((found for found in every if found is not None), None)
    return None


def _step_there(dotted: str, name: str, depth: int) -> Arguments | None:
    module = _module(dotted) if dotted else None
    return None if module is None else _step(module, name, depth)


def _step_of_class(module: _Module, found: ast.ClassDef, depth: int) -> Arguments | None:
    if found.decorator_list:
        return None
    for statement in reversed(found.body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == "step":
            return arguments_in_source(statement)
        if "step" in _bound(statement):
            return None
    # The first base comes first in the order of methods; what lies behind it is told only where all of it is known.
    return _step_of_base(module, found.bases[0], depth - 1) if len(found.bases) == 1 else None


def _step_of_base(module: _Module, base: ast.expr, depth: int) -> Arguments | None:
    """The step of a base, written as `Base`, `module.Base` or `package.module.Base`."""
    if isinstance(base, ast.Name):
        return _step(module, base.id, depth)
    dotted = ast.unparse(base).split(".")
    if not isinstance(base, ast.Attribute) or not all(word.isidentifier() for word in dotted):
        return None
    root = _module_called(module, dotted[0])
    return _step_there(".".join([root, *dotted[1:-1]]), dotted[-1], depth) if root else None


def _imported(statement: ast.ImportFrom, name: str) -> str:
    """What `from x import y as name` takes."""
    return next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)


def _absolute(module: _Module, statement: ast.ImportFrom) -> str:
    """The module that `from x import` names; empty where that is relative to nothing."""
    if statement.level == 0:
        return statement.module or ""
    parents = module.package.split(".") if module.package else []
    if statement.level > len(parents):
        return ""
    kept = parents[: len(parents) - statement.level + 1]
    return ".".join([*kept, statement.module] if statement.module else kept)


def _module_called(module: _Module, word: str) -> str:
    """The module that `word` stands for after `import x`, `import x as word` or `from x import word`; empty if none."""
    bound = module.source.names.get(word)
    if isinstance(bound, ast.Import):
        # Without `as`, `import a.b` binds `a`.
        return next((alias.name for alias in bound.names if alias.asname == word), word)
    if isinstance(bound, ast.ImportFrom) and (source := _absolute(module, bound)):
        return f"{source}.{_imported(bound, word)}"
    return ""


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement binds or, being a branch or a loop, may bind."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    found: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.split(".")[0])
    return found


def _module(dotted: str) -> _Module | None:
    """The source of an installed module; None for one that has none or is not found."""
    top, *rest = dotted.split(".")
    try:
        # Of a top-level name only: for `a.b` Python would import `a` to look for `b`.
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        is_package = spec.submodule_search_locations is not None
        return _parsed_file(Path(spec.origin), top if is_package else "") if spec.origin else None
    for folder in spec.submodule_search_locations or []:
        path = Path(folder).joinpath(*rest)
        if (path / "__init__.py").is_file():
            return _parsed_file(path / "__init__.py", dotted)
        if path.with_suffix(".py").is_file():
            return _parsed_file(path.with_suffix(".py"), dotted.rpartition(".")[0])
    return None


def _parsed_file(path: Path, package: str) -> _Module | None:
    try:
        found = path.stat()
        return _Module(_parsed(path, found.st_mtime_ns, found.st_size), package)
    except (OSError, SyntaxError, ValueError):
        return None


@lru_cache(maxsize=256)
def _parsed(path: Path, changed: int, size: int) -> _Source:
    """A file that was last `changed` then: a suite with a sweep asks for the same one often."""
    names: dict[str, ast.stmt] = {}
    stars = []
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            stars.append(statement)
        else:
            names |= dict.fromkeys(_bound(statement), statement)
    return _Source(names, stars)
