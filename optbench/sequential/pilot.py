"""Whether a pilot fits into a budget: the planned time of cells that have no record yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from optbench.planning.devices import HERE, device_of
from optbench.planning.estimate import costs_of, flops_per_step
from optbench.planning.probes import probes_left
from optbench.planning.recorded import Kind, Past
from optbench.planning.schedule import wall_seconds
from optbench.planning.workload import checked

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Cell, Suite

SMALLEST = 3
"""Seeds of a pilot: two leave one degree of freedom, by which nothing can be planned."""
SLACK = 1.1
"""How much more than planned is asked for, so that the budget that a refusal names is not refused in turn."""


def planned_seconds(suite: Suite, cells: Sequence[Cell], store: Store, *, workers: int) -> float:
    """From the start to the last record of these cells, probes and panels included: at the pace of the suite's records,
    else from a few steps that are measured now, else from nominal speeds (see `planning.estimate.costs_of`)."""
    device = device_of(HERE)
    asked = replace(suite, execution=suite.execution.model_copy(update={"workers": workers}))
    arms = list({id(cell.arm): cell.arm for cell in cells}.values())
    costs = costs_of(asked, device, _past(suite, store, device.kind), arms, "auto")
    probes, _ = probes_left(cells, store, device, suite.execution.threads)
    seconds = []
    for cell in cells:
        own = costs.arms[id(cell.arm)]
        trained = 0.0 if store.has(cell.key) else own.run_seconds
        seconds.append(trained + (own.panels or 0.0 if cell.panels else 0.0))
    return wall_seconds([costs.ratio * own for own in probes], seconds, workers=workers, startup=costs.startup)


def least_hours(seconds: float) -> float:
    """The hours to ask for where so many seconds are planned: a tenth more, rounded up to two digits."""
    hours = SLACK * seconds / 3600
    unit = 10.0 ** (math.floor(math.log10(hours)) - 1)
    return float(f"{math.ceil(hours / unit) * unit:.2g}")


def _past(suite: Suite, store: Store, device: str) -> list[Past]:
    """The finished cells of the suite on this kind of device."""
    found: list[Past] = []
    kinds: dict[int, Kind] = {}
    for cell in suite.cells():
        record = store.record(cell.key)
        if record is None or record.outcome != "completed":
            continue
        if record.measured.get("provenance", {}).get("device_type", device) != device:
            continue
        if id(cell.arm) not in kinds:
            kinds[id(cell.arm)] = Kind.of(cell.arm, flops_per_step(cell.arm, checked(cell.arm)))
        found.append(Past.of(kinds[id(cell.arm)], record))
    return found
