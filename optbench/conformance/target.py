"""Optimizers from the words of the command line: a class of a file or package, a preset, or a mapping in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optbench.axes import AXES, entries
from optbench.errors import UserError, suggestion
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.problems import Problems
from optbench.yamlfile import Place, placed

RATE = 1e-3
"""The base rate of a class that is named without one."""


def targets_of(words: Sequence[str], lr: float | None) -> dict[str, OptimizerSpec]:
    """The specs by what they are called. `lr` is the base rate of each, where given.

    A word is `file.py:Class`, `package.module:Class`, the name of a preset, or an entry of a suite's optimizers in
    JSON, with `NAME=` before it if wanted. Raises UserError for anything else, with the messages that suites have; no
    code of a target is run.
    """
    found: dict[str, OptimizerSpec] = {}
    for word in words:
        for name, spec in specs_of(_content(word, lr), word).items():
            # Two files may have classes of one name: what is a class is called by where it is.
            found[word if _is_class(word) else name] = spec
    return found


def specs_of(content: Mapping[str, Any], word: str) -> dict[str, OptimizerSpec]:
    """The specs of one entry of a suite's optimizers, by name: several where it sweeps. `word` is what it came from.

    Raises UserError, which names the word and the field, for an entry that is not valid. No code of it is run.
    """
    problems = Problems()
    given = placed([dict(content)], Place(word, 1, "optimizers"))
    try:
        read = entries(AXES["optimizer"], given, problems)
        problems.raise_any()
    except UserError as error:
        raise UserError(str(error).replace(f"{word}:1: optimizers[0]", f"{_short(word)}: optimizer")) from error
    return {entry.name: entry.spec for entry in read}


def _content(word: str, lr: float | None) -> dict[str, Any]:
    """The entry that a suite would have for the word."""
    name, equals, rest = word.partition("=")
    if word.startswith("{"):
        content = mapping_of(word, "")
    elif equals and rest.startswith("{"):
        content = mapping_of(rest, name)
    elif _is_class(word):
        rule = {"kind": "torch", "target": word, "lr": RATE}
        content = {"name": word.rpartition(":")[2] or "optimizer", "rule": rule}
    elif word.endswith(".py"):
        raise UserError(f"{word}: which class of it? Write {word}:Class{_classes(word)}")
    elif word not in PRESETS:
        raise UserError(
            f"no optimizer is named {word!r}; {suggestion(word, PRESETS)}; a class is named file.py:Class or "
            "package.module:Class"
        )
    else:
        content = {"preset": word}
    if lr is not None:
        rule = content.get("rule", {})
        if not isinstance(rule, dict):
            raise UserError(f"{_short(word)}: optimizer.rule must be a mapping")
        content["rule"] = {**rule, "lr": lr}
    return content


def _is_class(word: str) -> bool:
    return ":" in word and "{" not in word


def mapping_of(text: str, name: str) -> dict[str, Any]:
    """An entry in JSON, called `name` where that is not empty, else by its own name, its preset or its kind."""
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{_short(text)}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{_short(text)}: is not a mapping")
    if name:
        content["name"] = name
    if "name" not in content and "preset" not in content:
        rule = content.get("rule")
        word = (rule.get("target") or rule.get("kind") or "") if isinstance(rule, dict) else ""
        content["name"] = str(word).rpartition(":")[2] or "optimizer"
    return content


def _classes(word: str) -> str:
    """The names of the classes in a file, as the end of a message."""
    import ast

    try:
        tree = ast.parse(Path(word).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ""
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    return f"; its classes: {', '.join(names)}" if names else ""


def _short(word: str) -> str:
    return word if len(word) <= 80 else f"{word[:77]}..."
