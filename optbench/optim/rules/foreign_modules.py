"""Modules as their source says them: found and read, never imported. What a module binds at its top, and to what.

Only what is said plainly is taken for known: names that are bound once, by a class or an import.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """What a file binds at its top: each name by the last statement that does, and `from x import *`.

    `sets_step`: it gives a class or an object another `step` than the body of a class says.
    """

    names: Mapping[str, ast.stmt]
    stars: Sequence[ast.ImportFrom]
    sets_step: bool


@dataclass(frozen=True)
class Module:
    """A module. `package` is what its relative imports start from; empty for a file of one's own."""

    source: Source
    package: str


def module_at(where: str) -> Module | None:
    """The module at the path of a file that ends in `.py`, or of a dotted name; None for one that has no source, is not
    found or is no Python."""
    return _parsed_file(Path(where), "") if where.endswith(".py") else _installed(where)


def imported(statement: ast.ImportFrom, name: str) -> str:
    """What `from x import y as name` takes."""
    return next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)


def absolute(module: Module, statement: ast.ImportFrom) -> str:
    """The module that `from x import` names; empty where that is relative to nothing."""
    if statement.level == 0:
        return statement.module or ""
    parents = module.package.split(".") if module.package else []
    if statement.level > len(parents):
        return ""
    kept = parents[: len(parents) - statement.level + 1]
    return ".".join([*kept, statement.module] if statement.module else kept)


def module_called(module: Module, word: str) -> str:
    """The module that `word` stands for after `import x`, `import x as word` or `from x import word`; empty if none."""
    bound = module.source.names.get(word)
    if isinstance(bound, ast.Import):
        # Without `as`, `import a.b` binds `a`.
        return next((alias.name for alias in bound.names if alias.asname == word), word)
    if isinstance(bound, ast.ImportFrom) and (source := absolute(module, bound)):
        return f"{source}.{imported(bound, word)}"
    return ""


def dotted_name(module: Module, written: ast.expr) -> str:
    """What `name` or `module.name` is called in full, such as `torch.no_grad`; empty where the imports do not say."""
    words = ast.unparse(written).split(".")
    if not isinstance(written, ast.Name | ast.Attribute) or not all(word.isidentifier() for word in words):
        return ""
    root = module_called(module, words[0])
    return ".".join([root, *words[1:]]) if root else ""


def names_bound(statement: ast.stmt) -> set[str]:
    """The names that a statement binds or, being a branch or a loop, may bind."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    nodes = [*ast.walk(statement)]
    # What a comprehension counts with is bound inside it alone.
    inside = {inner for node in nodes if isinstance(node, ast.comprehension) for inner in ast.walk(node.target)}
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in inside:
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.split(".")[0])
    return found


def _installed(dotted: str) -> Module | None:
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


def _parsed_file(path: Path, package: str) -> Module | None:
    try:
        found = path.stat()
        return Module(_parsed(path, found.st_mtime_ns, found.st_size), package)
    except (OSError, SyntaxError, ValueError):
        return None


@lru_cache(maxsize=256)
def _parsed(path: Path, changed: int, size: int) -> Source:
    """A file that was last `changed` then: a suite with a sweep asks for the same one often."""
    names: dict[str, ast.stmt] = {}
    stars = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            stars.append(statement)
        else:
            names |= dict.fromkeys(names_bound(statement), statement)
    return Source(names, stars, any(_sets_step(node, names) for node in ast.walk(tree)))


def _sets_step(node: ast.AST, names: Mapping[str, ast.stmt]) -> bool:
    """Whether it is `X.step = ...`, or the same by `setattr`, of what the file binds at its top or of the object that a
    method belongs to. What a function does to the optimizer that it is given is no matter of a class."""
    if isinstance(node, ast.Attribute) and node.attr == "step" and not isinstance(node.ctx, ast.Load):
        owner = node.value
    elif isinstance(node, ast.Call) and _names_step(node):
        owner = node.args[0]
    else:
        return False
    if isinstance(owner, ast.Name) and owner.id in ("self", "cls"):
        return True
    while isinstance(owner, ast.Attribute | ast.Subscript):
        owner = owner.value
    return not isinstance(owner, ast.Name) or owner.id in names


def _names_step(call: ast.Call) -> bool:
    """Whether it is a `setattr` or `delattr` of what is, or may be, the step."""
    if not isinstance(call.func, ast.Name) or call.func.id not in ("setattr", "delattr") or len(call.args) < 2:
        return False
    what = call.args[1]
    return not isinstance(what, ast.Constant) or what.value == "step"
