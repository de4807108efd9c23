"""From a budget in any unit to a number of steps, so that one arm in two units is one cell."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from optbench.cell import Budget
from optbench.errors import UserError

if TYPE_CHECKING:
    from optbench.models.specs import ModelSpec
    from optbench.optim.specs import OptimizerSpec
    from optbench.tasks.specs import TaskSpec


def steps_of(budget: Budget, model: ModelSpec, task: TaskSpec, optimizer: OptimizerSpec, *, batch_size: int) -> int:
    """The optimizer steps that the budget pays for; at least 1.

    steps: as they are. epochs: as many as it takes to see the training set that often, rounded up. passes and flops:
    as many as fit, rounded down. tokens: rounded to the nearest. Raises UserError where that is no step at all.
    """
    if budget.unit == "steps":
        return int(budget.amount)
    # As a decimal: 1.1 epochs of 10 steps are 11 steps, though 1.1 * 10 is above 11 in floating point.
    amount = Fraction(repr(budget.amount))
    per_step: Fraction
    if budget.unit == "epochs":
        per_step = Fraction(batch_size, task.num_train())
        return math.ceil(amount / per_step)
    if budget.unit == "passes":
        per_step = optimizer.estimator.passes_per_step
        steps = math.floor(amount / per_step)
    elif budget.unit == "tokens":
        from optbench.cost import tokens_per_step

        per_step = Fraction(tokens_per_step(model, task, batch_size))
        steps = round(amount / per_step)
    else:
        from optbench.cost import flops_per_step

        per_step = Fraction(flops_per_step(model, task, optimizer, batch_size))
        steps = math.floor(amount / per_step)
    if steps < 1:
        raise UserError(f"{budget.amount:g} {budget.unit} are not enough for one step, which takes {float(per_step):g}")
    return steps
