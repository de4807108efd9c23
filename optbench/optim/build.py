"""An optimizer from a name or a mapping, for any model: the way in for people with a loop of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from torch import nn

from optbench.errors import UserError, suggestion
from optbench.models.roles import parameters_of
from optbench.optim.base import Optimizer
from optbench.optim.rules import RULES
from optbench.optim.specs import ESTIMATORS, PRESETS, OptimizerSpec


def make_optimizer(spec: str | Mapping[str, Any], model: nn.Module, **fields: Any) -> Optimizer:
    """The optimizer of a preset's name, or of a mapping `{"estimator": {...}, "rule": {...}}`, for `model`.

    Further fields go where they belong: `lr` to the rule, `rho` to the estimator, `max_norm` to the optimizer itself.
    Raises UserError for anything unknown.
    """
    if isinstance(spec, str):
        if spec not in PRESETS:
            raise UserError(f"no optimizer is named {spec!r}; {suggestion(spec, PRESETS)}")
        content = {name: _copied(value) for name, value in PRESETS[spec].items()}
    else:
        content = {name: _copied(value) for name, value in spec.items()}
    for name, value in fields.items():
        _place(content, name, value)
    try:
        built = OptimizerSpec.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"optimizer: {where or 'spec'}: {first['msg']}") from error
    optimizer: Optimizer = built.build(parameters_of(model))
    return optimizer


def _copied(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _place(content: dict[str, Any], name: str, value: Any) -> None:
    """Puts a field where it belongs; the rule first, for `lr` is what everybody sets."""
    rule = content.setdefault("rule", {})
    estimator = content.setdefault("estimator", {"kind": "plain"})
    known = {
        "rule": set(RULES[rule["kind"]].model_fields) if rule.get("kind") in RULES else set(),
        "estimator": set(ESTIMATORS[estimator["kind"]].model_fields) if estimator.get("kind") in ESTIMATORS else set(),
    }
    if name in known["rule"] - {"kind"}:
        rule[name] = value
    elif name in known["estimator"] - {"kind"}:
        estimator[name] = value
    elif name == "max_norm":
        content[name] = value
    else:
        allowed = (known["rule"] | known["estimator"] | {"max_norm"}) - {"kind"}
        raise UserError(f"this optimizer has no field {name!r}; {suggestion(name, allowed)}")
