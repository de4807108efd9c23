"""What trials, seeds and panels of a challenge will take here, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optbench.challenge.budget import Prices
from optbench.planning.devices import HERE, device_of, workers_on
from optbench.planning.estimate import Pace, costs_of
from optbench.planning.probes import probes_left
from optbench.planning.schedule import wall_seconds

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Suite

WORTH_MEASURING = 300.0
"""Seconds of a budget from which on some of it may be spent on measuring a few steps of each optimizer; the first trial
measures them anyway."""
PAGE = 20.0
"""Seconds for report, figures, page and bundle of a small suite on a machine that is busy; those of each record come on
top."""
PAGE_RECORD = 0.05


def prices_of(
    suite: Suite, store: Store, *, budget: float, workers: int | None, panels: Sequence[Any], seeds: int
) -> Prices:
    """The prices of the suite's arms on the device that `run` would take, `panels` being those that may look.

    Full prices: records that are there already make a challenge cheaper than this, and nobody knows by how much before
    the values are chosen. Raises UserError as planning does.
    """
    device = device_of(HERE)
    asked = replace(suite, panels=list(panels))
    if workers is not None:
        asked = replace(asked, execution=suite.execution.model_copy(update={"workers": workers}))
    count = workers or workers_on(device, suite)
    pace: Pace = "auto" if budget >= WORTH_MEASURING else "nominal"
    costs = costs_of(asked, device, [], suite.arms, pace)
    run = [costs.arms[id(arm)].run_seconds for arm in suite.arms]
    looks = [costs.arms[id(arm)].panels for arm in suite.arms]
    cells = [cell for cell in asked.cells() if cell.seed == suite.seeds[0]]
    probes, unknown = probes_left(cells, store, device, suite.execution.threads)
    known = not unknown and all(seconds is not None for seconds in looks)
    again = [one + (look or 0.0) for one, look in zip(run, looks, strict=True)]
    of_panels = wall_seconds([costs.ratio * own for own in probes], again, workers=count, startup=0.0)
    return Prices(
        cells=wall_seconds([], run * len(suite.tuning.seeds), workers=count, startup=0.0),
        seed=wall_seconds([], run, workers=count, startup=0.0),
        panels=of_panels if known else math.inf,
        startup=costs.startup,
        page=PAGE + PAGE_RECORD * seeds * len(suite.arms),
        workers=count,
    )
