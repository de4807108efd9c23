"""What an arm costs, in the four prices that rows of the standings are compared by."""

from __future__ import annotations

import numpy as np
import pandas as pd

GEOMETRIC = ("time", "compute")
"""Prices that are averaged over models as ratios are, so that the largest model does not decide alone."""
MEASURED = ("time", "peak_bytes")
"""Prices that no two runs share; the others are counted, and exact."""
PRICES = ("time", "compute", "peak_bytes", "state_bytes")


def prices_of(arms: pd.DataFrame) -> pd.DataFrame:
    """One row per arm of `arms` (`arms_of` beside `compute_of`), a column for each of `PRICES`; NaN where not known.

    time: seconds of training, the median step times the number of steps; of one step where the budget is in steps, for
        all arms take equally many. Without the probe of the strategy. NaN where measured beside other running cells.
    compute: as in `compute_of`, relative to the anchor, the probe in full.
    peak_bytes: peak memory of the run. NaN where measured beside other running cells.
    state_bytes: what the optimizer keeps between two steps.
    """
    known = arms.reindex(columns=["step_seconds", "steps_done", "compute", "peak_bytes", "state_bytes"])
    in_steps = pd.Series(["steps" in budget for budget in arms["budget"]], index=arms.index, dtype=bool)
    alone = ~arms["contended"].astype(bool)
    prices = pd.DataFrame(index=arms.index)
    prices["time"] = (known["step_seconds"] * known["steps_done"].where(~in_steps, 1.0)).where(alone)
    prices["compute"] = known["compute"]
    prices["peak_bytes"] = known["peak_bytes"].where(alone)
    prices["state_bytes"] = known["state_bytes"]
    return prices.astype(float).replace([np.inf, -np.inf], np.nan)
