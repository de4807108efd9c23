"""Where the search space of an arm comes from: the suite, the code of its rule and estimator, or the suite's rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optbench.axes import matches
from optbench.errors import UserError
from optbench.optim.rules.torch_optimizer import TorchOptimizer
from optbench.optim.search import Dimension, Range, Searchable, Space
from optbench.tuning.space import value_of

if TYPE_CHECKING:
    from optbench.arm import Arm
    from optbench.tuning.request import Tuning

AROUND = 10.0
"""The factor to either side of a rate of which nothing is declared."""


def declared_space(tuning: Tuning, arms: Sequence[Arm]) -> tuple[dict[str, Dimension], str]:
    """The space that arms of one optimizer share, by path, and who declared it: see `record.Study`.

    Entries of the suite replace what is declared beside the code, so that what a suite names is all that is tuned.
    Imports the class of a foreign optimizer, and so torch. Raises UserError where nothing says what to tune.
    """
    given = [fields for fields in tuning.spaces if matches(fields.optimizer, arms[0].optimizer)]
    if given:
        return {path: dimension for fields in given for path, dimension in fields.space.items()}, "suite"
    spec = arms[0].optimizer_spec
    space: dict[str, Dimension] = {}
    declared_by = "rule"
    if isinstance(spec.rule, TorchOptimizer):
        with arms[0].blaming("optimizer"):
            found = spec.rule.search_space()
        declared_by = "file" if found else "around"
        space.update(_below("rule", found or _around(arms)))
    elif isinstance(spec.rule, Searchable):
        space.update(_below("rule", spec.rule.SEARCH))
    else:
        declared_by = "around"
        space.update(_below("rule", _around(arms)))
    if isinstance(spec.estimator, Searchable):
        space.update(_below("estimator", spec.estimator.SEARCH))
    return space, declared_by


def _below(part: str, space: Space) -> dict[str, Dimension]:
    return {f"{part}.{name}": dimension for name, dimension in space.items()}


def _around(arms: Sequence[Arm]) -> Space:
    """The rates of the arms, times and divided by ten."""
    rule = arms[0].optimizer_spec.rule
    if "lr" not in type(rule).model_fields:
        raise (
            arms[0]
            .places["optimizer"]
            .problem(
                f": nothing says what of {arms[0].optimizer} may be tuned, and it has no lr: declare SEARCH beside its "
                "rule, or an entry of tuning.spaces"
            )
        )
    rates = [value_of(arm, "rule.lr") for arm in arms]
    if not all(isinstance(rate, int | float) and rate > 0 for rate in rates):
        raise UserError(f"{arms[0].optimizer}: its lr is no number above 0 that could be tuned around")
    return {"lr": Range(low=min(rates) / AROUND, high=max(rates) * AROUND)}
