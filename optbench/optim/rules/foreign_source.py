"""The step of a foreign class as its source says it: no line of it is run, and no package is imported.

Suites are read and planned without running code that may fail or never end, and what no run could take is still to be
refused there. A refusal has to be certain: wherever a decorator, a base, a metaclass or an assignment may have changed
the step that is written, it is not known, and running it decides.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from optbench.optim.rules.foreign_modules import Module, absolute, dotted_name, imported, module_at, names_bound
from optbench.optim.rules.foreign_step import Arguments, arguments_in_source

DEPTH = 12
"""Imports and bases that are followed one from another; more are a circle."""
SAME_ARGUMENTS = {
    "abc.abstractmethod",
    "torch.autograd.grad_mode.enable_grad",
    "torch.autograd.grad_mode.no_grad",
    "torch.enable_grad",
    "torch.inference_mode",
    "torch.no_grad",
    "torch.optim.optimizer._use_grad_for_differentiable",
    "typing.override",
    "typing_extensions.override",
}
"""Decorators of a step that leave its arguments as they are written."""
INERT = {"abc.ABC", "abc.ABCMeta"}
"""Bases and metaclasses, beside `object`, that change no method."""


@dataclass(frozen=True)
class _Class:
    """A class, and the module that it is written in."""

    module: Module
    tree: ast.ClassDef


def step_of(where: str, name: str) -> Arguments | None:
    """The arguments that the class's `step` takes, its own or inherited; None where the source does not say plainly.

    `where` is the path of a file that ends in `.py`, or a dotted module.
    """
    try:
        found = _class_there(where, name, DEPTH)
        return None if found is None or not _is_as_written(found, DEPTH) else _step(found, DEPTH)
    except (RecursionError, MemoryError):
        # Nested deeper than Python can read.
        return None


def _class_there(where: str, name: str, depth: int) -> _Class | None:
    module = module_at(where) if where else None
    return None if module is None else _class(module, name, depth)


def _class(module: Module, name: str, depth: int) -> _Class | None:
    """The class that a module calls by this name; None, too, where the module gives any class another step."""
    if depth == 0 or module.source.sets_step:
        return None
    bound = module.source.names.get(name)
    if isinstance(bound, ast.ClassDef):
        return _Class(module, bound)
    if isinstance(bound, ast.ImportFrom):
        return _class_there(absolute(module, bound), imported(bound, name), depth - 1)
    if bound is None:
        every = (_class_there(absolute(module, star), name, depth - 1) for star in reversed(module.source.stars))
        return next((found for found in every if found is not None), None)
    return None


def _base(module: Module, written: ast.expr, depth: int) -> _Class | None:
    """A base, written as `Base`, `module.Base` or `package.module.Base`."""
    if isinstance(written, ast.Name):
        return _class(module, written.id, depth)
    where, _, name = dotted_name(module, written).rpartition(".")
    return _class_there(where, name, depth)


def _is_inert(module: Module, written: ast.expr) -> bool:
    if isinstance(written, ast.Name) and written.id == "object":
        return "object" not in module.source.names
    return dotted_name(module, written) in INERT


def _is_as_written(found: _Class, depth: int) -> bool:
    """Whether a class has the methods that its body and its bases say: no decorator, metaclass or `__init_subclass__`
    of its own or of any base has a say in it."""
    own, module = found.tree, found.module
    if depth == 0 or own.decorator_list or any("__init_subclass__" in names_bound(line) for line in own.body):
        return False
    if not all(word.arg == "metaclass" and _is_inert(module, word.value) for word in own.keywords):
        return False
    for written in own.bases:
        if _is_inert(module, written):
            continue
        base = _base(module, written, depth - 1)
        if base is None or not _is_as_written(base, depth - 1):
            return False
    return True


def _step(found: _Class, depth: int) -> Arguments | None:
    for statement in reversed(found.tree.body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == "step":
            return arguments_in_source(statement) if _has_its_arguments(found.module, statement) else None
        if "step" in names_bound(statement):
            return None
    # With one base, what it says holds; of several it would take the order of methods to know whose.
    base = _base(found.module, found.tree.bases[0], depth - 1) if len(found.tree.bases) == 1 else None
    return None if base is None else _step(base, depth - 1)


def _has_its_arguments(module: Module, step: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether all decorators leave the arguments as they are, called as `@torch.no_grad()` or not."""
    for decorator in step.decorator_list:
        written = decorator.func if isinstance(decorator, ast.Call) else decorator
        if dotted_name(module, written) not in SAME_ARGUMENTS:
            return False
    return True
