"""The spec of an optimizer, the tables of its parts, and the presets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from optbench.optim.bartlett import GaussNewtonBartlett
from optbench.optim.estimators import Plain, SharpnessAware
from optbench.optim.rules import RULES
from optbench.plugins import one_of, with_entry_points
from optbench.spec import Spec

if TYPE_CHECKING:
    from optbench.optim.base import Optimizer, Parameter

ESTIMATORS: dict[str, type[Spec]] = with_entry_points(
    "estimators",
    {"plain": Plain, "sharpness_aware": SharpnessAware, "gauss_newton_bartlett": GaussNewtonBartlett},
)

if TYPE_CHECKING:
    EstimatorSpec = Any
    RuleSpec = Any
else:
    EstimatorSpec = one_of(ESTIMATORS)
    RuleSpec = one_of(RULES)


class OptimizerSpec(Spec):
    """Estimator x rule. The gradient is clipped to the global norm `max_norm` after estimation; inf is no clipping."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    estimator: EstimatorSpec = Plain()
    """Where the gradient is taken."""
    rule: RuleSpec
    """What is done with it."""
    max_norm: Annotated[float, Field(gt=0.0)] = math.inf
    """The gradient is clipped to this global norm after estimation; .inf: it is not clipped."""

    @model_validator(mode="after")
    def _parts_fit(self) -> OptimizerSpec:
        self.estimator.check_rule(preconditions=self.rule.preconditions, has_direction=self.rule.has_direction)
        gives, wants = getattr(self.estimator, "gives_diagonal", False), getattr(self.rule, "wants_diagonal", False)
        if wants and not gives:
            raise ValueError(
                f"the rule {self.rule.kind} needs estimates of a diagonal, which the estimator {self.estimator.kind} "
                "does not give: take preset: sophia, or estimator: {kind: gauss_newton_bartlett}"
            )
        if gives and not wants:
            raise ValueError(
                f"the estimator {self.estimator.kind} pays for a diagonal, and the rule {self.rule.kind} uses none: "
                "take the rule sophia, or the estimator plain"
            )
        return self

    def build(self, parameters: Sequence[Parameter]) -> Optimizer:
        """The optimizer of these parameters."""
        from optbench.optim.base import Optimizer

        return Optimizer(self.estimator.build(), self.rule.build(parameters), parameters, max_norm=self.max_norm)


def _sharpness_aware(**fields: Any) -> dict[str, Any]:
    return {"estimator": {"kind": "sharpness_aware", **fields}, "rule": {"kind": "adamw"}}


PRESETS: dict[str, dict[str, Any]] = {
    "gd": {"rule": {"kind": "gd"}},
    "adamw": {"rule": {"kind": "adamw"}},
    "muon": {"rule": {"kind": "muon"}},
    "sophia": {"estimator": {"kind": "gauss_newton_bartlett"}, "rule": {"kind": "sophia"}},
    "sam": _sharpness_aware(),
    "functional_sam": _sharpness_aware(functional=True),
    "preconditioned_sam": _sharpness_aware(ascent={"kind": "preconditioned"}),
    "preconditioned_functional_sam": _sharpness_aware(ascent={"kind": "preconditioned"}, functional=True),
}
"""Optimizers by name; a suite may override any field."""
