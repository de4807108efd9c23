"""What a trainer's arguments and an optimizer's spec say together: one learning rate, one place that clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optbench.errors import UserError, suggestion
from optbench.optim.rules import RULES
from optbench.optim.specs import PRESETS


@dataclass(frozen=True)
class Wanted:
    """A spec with the rates that it left open filled in; `lr` is the base rate, the scheduler's factor 1."""

    content: Mapping[str, Any]
    fields: Mapping[str, Any]
    lr: float


def checked_name(spec: str | Mapping[str, Any]) -> None:
    """Raises UserError for a name that is no preset: known before a trainer prepares its data."""
    if isinstance(spec, str) and spec not in PRESETS:
        raise UserError(f"no optimizer is named {spec!r}; {suggestion(spec, PRESETS)}")


def wanted(spec: str | Mapping[str, Any], fields: Mapping[str, Any], *, learning_rate: float) -> Wanted:
    """The spec, with `learning_rate` wherever a rate of its rule (`lr`, for Muon `adamw_lr` too) is not named.

    Raises UserError where the spec clips: a trainer clips by its own `max_grad_norm`, and only once.
    """
    given = PRESETS[spec] if isinstance(spec, str) else spec
    if "max_norm" in given or "max_norm" in fields:
        raise UserError(
            "max_norm: a trainer clips by TrainingArguments(max_grad_norm=...), 0 for never; take it out of the spec"
        )
    rule = dict(given.get("rule", {}))
    known = RULES[rule["kind"]].model_fields if rule.get("kind") in RULES else {}
    for name in known:
        if (name == "lr" or name.endswith("_lr")) and name not in rule:
            rule[name] = learning_rate
    lr = fields.get("lr", rule.get("lr", learning_rate))
    return Wanted({**given, "rule": rule}, fields, lr)
