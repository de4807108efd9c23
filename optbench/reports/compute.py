"""What an arm spent, with the probe of its strategy in the bill: budgets of passes and FLOPs leave the probe out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from optbench.suite import Suite

ANCHOR, ANCHOR_STRATEGY = "adamw", "uniform"
"""The optimizer that costs are divided by, and the strategy that goes with it where the strategy has a price too."""

EQUAL = {
    "steps": "equal steps",
    "passes": "equal compute",
    "flops": "equal compute",
    "epochs": "equal epochs",
    "tokens": "equal tokens",
}
"""What a budget in each unit makes equal."""

SPENT = {"passes": "passes", "flops": "flops"}
"""The column that says how much of a budget was spent, for the units that are compute."""


def anchor_of(arms: pd.DataFrame) -> tuple[str, str]:
    """Optimizer and strategy that the others are compared with: adamw with uniform data, else the first arm's."""
    pairs = list(zip(arms["optimizer"], arms["strategy"], strict=True))
    return (ANCHOR, ANCHOR_STRATEGY) if (ANCHOR, ANCHOR_STRATEGY) in pairs else pairs[0]


def compute_of(suite: Suite, cells: pd.DataFrame) -> pd.DataFrame:
    """One row per arm, means over the cells with a record; NaN where there is none.

    Columns:
        compute: FLOPs of training and of the probe, which every run pays in full, as who runs this arm alone would;
            divided by those of the anchor (`anchor_of`) with the same model, task and budget.
        compute_shared: the same, where the runs of this suite that used a probe share its price.
        over_budget: the share of the budget that probe and training took together, less 1. Of a budget in passes the
            probe takes its FLOPs in passes of the arm itself. NaN where the budget is not of compute.

    A control that only borrows the size of another strategy's choice was charged nothing, and is charged nothing here.
    Writing new examples counts in neither: its seconds are recorded, its operations are not.
    """
    flops = cells["flops"]
    probe = flops * cells["probe_share"].fillna(0.0)
    bill = pd.DataFrame(
        {"arm": cells["arm"], "compute": flops + probe, "compute_shared": flops + probe / _users(cells)}
    )
    bill["over_budget"] = _spent(suite, cells) * (1 + cells["probe_share"].fillna(0.0)) - 1
    means = bill.groupby("arm").mean().reindex(pd.RangeIndex(len(suite.arms)))
    axes = pd.DataFrame([arm.axes() for arm in suite.arms])
    if len(axes):
        own = [axes["model"], axes["task"], axes["budget"]]
        optimizer, strategy = anchor_of(axes)
        anchors = means["compute"].where((axes["optimizer"] == optimizer) & (axes["strategy"] == strategy))
        means[["compute", "compute_shared"]] = means[["compute", "compute_shared"]].div(
            anchors.groupby(own).transform("max"), axis=0
        )
    return means


def _users(cells: pd.DataFrame) -> pd.Series:
    """For each cell, how many runs paid for the same probe; a run that two arms share is one."""
    charged = cells["probe_share"].fillna(0.0) > 0
    # Where a record does not name its probe, nobody is known to share it.
    probe = cells["probe"].where(cells["probe"] != "", cells["key"])
    runs = cells["key"].where(charged).groupby(probe).transform("nunique")
    return runs.clip(lower=1)


def _spent(suite: Suite, cells: pd.DataFrame) -> pd.Series:
    """The share of its budget that the training of each cell took; NaN where the budget is not of compute."""
    share = pd.Series(math.nan, index=cells.index)
    for unit, name in SPENT.items():
        amounts = cells["arm"].map({place: arm.budget.get(unit, math.nan) for place, arm in enumerate(suite.arms)})
        share = share.where(amounts.isna(), cells[name] / amounts)
    return share
