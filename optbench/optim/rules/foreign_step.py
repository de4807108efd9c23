"""What the step of a foreign optimizer asks for, and whether a rule can give it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

Arguments = Mapping[str, bool]
"""The arguments of a step by name, and whether each has to be given."""


def refusal(target: str, arguments: Arguments) -> str:
    """Why a step with these arguments cannot do with the gradient alone; empty where it can."""
    if "hessian" in arguments:
        return (
            f"{target} needs estimates of the Hessian, or a gradient with its graph to make them from, and a rule is "
            "given the gradient alone: it cannot be run here"
        )
    if arguments.get("closure", False):
        return f"{target} needs a closure that evaluates the loss again, and a rule is given the gradient alone"
    return ""


def arguments_of_class(kind: Callable[..., Any]) -> Arguments:
    """Those of the step of a class that was imported."""
    known = inspect.signature(kind.step).parameters  # type: ignore[attr-defined]
    return {name: own.default is inspect.Parameter.empty for name, own in known.items()}


def arguments_in_source(step: ast.FunctionDef | ast.AsyncFunctionDef) -> Arguments:
    """Those of a step as it is written."""
    own = step.args
    by_place = [*own.posonlyargs, *own.args]
    free = len(by_place) - len(own.defaults)
    found = {argument.arg: place < free for place, argument in enumerate(by_place)}
    by_name = zip(own.kwonlyargs, own.kw_defaults, strict=True)
    return found | {argument.arg: default is None for argument, default in by_name}
