"""What the rows of the standings cost, as a table of texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from optbench.reports.compute import ANCHOR
from optbench.reports.figures import NOTHING, compact
from optbench.reports.frame import records_of
from optbench.reports.front_grid import front_columns_of, front_notes_of
from optbench.reports.grid import Entry, Grid, place_of
from optbench.reports.standings import Standings

LEAST = 1e-3
"""What is above a budget by less is not worth a word."""


def cost_grid(table: Standings) -> Grid:
    """What each row of the standings cost, in the same order."""
    unit = f" /{ANCHOR}" if table.relative else ""
    known = {
        "step_seconds": f"step time{unit}",
        "flops": f"FLOPs{unit}",
        "compute": "compute",
        "compute_shared": "probe shared",
        "passes": "passes",
        "state_bytes": "state",
        "peak_bytes": "peak memory",
        "probe_share": "probe",
        "rewrite_seconds": "rewriting",
        "format_error": "format error",
    }
    # At equal compute the FLOPs are in the bill, and so is the probe: one table of 100 columns holds no more.
    left_out = ("flops", "probe_share") if table.of_compute else ("compute", "compute_shared")
    shown = [
        name
        for name in known
        if name not in left_out and name not in _idle(table.costs) and table.costs[name].notna().any()
    ]
    fronts = front_columns_of(table)
    rows = []
    for place, ((optimizer, strategy), cost) in enumerate(zip(table.costs.index, records_of(table.costs), strict=True)):
        texts = _cost_texts(cost, table.relative)
        marks = [column[place] for column in fronts.values()]
        rows.append([Entry(optimizer), Entry(strategy), *(Entry(texts[name]) for name in shown), *marks])
    answers = ", and answers without a readable result" if "format_error" in shown else ""
    header = ["optimizer", "strategy", *(known[name] for name in shown), *fronts]
    return Grid(f"{place_of(table)}: costs{answers}", header, rows, names=2)


def cost_notes_of(table: Standings) -> list[str]:
    """The lines that say how to read the costs."""
    notes = ["passes: forward + backward of a batch. state: kept by the optimizer. Means over models."]
    if table.relative:
        notes.append(f"/{ANCHOR}: divided by {ANCHOR} of the same model and strategy (geometric mean over models).")
    if len(table.devices) > 1:
        notes.append(f"~ taken on different devices ({', '.join(table.devices)}): shown, never ranked.")
    elif table.costs["contended"].any():
        notes.append("~ taken beside other running cells: shown, never ranked; --workers 1 measures alone.")
    return notes + _bill_notes_of(table) + front_notes_of(table)


def _bill_notes_of(table: Standings) -> list[str]:
    """At equal compute: what is in the bill, and who is above the budget with it."""
    notes = []
    if table.of_compute:
        probed = "compute_shared" not in _idle(table.costs)
        whole = " and the strategy's probe, in full, as who runs this row alone would pay" if probed else ""
        anchor = " ".join(table.anchor)
        notes.append(f"compute: FLOPs of training{whole}, over those of {anchor} (geometric mean over models).")
        if table.unit == "passes":
            notes[-1] += " Passes leave out the optimizer's own operations; they are in here."
        if probed:
            notes.append("probe shared: the same, with a probe paid for once by all runs of this suite that used it.")
        above = table.costs["over_budget"]
        by_strategy = above[above > LEAST].groupby("strategy", sort=False)
        beyond = [f"{strategy} {_range(part.min(), part.max())}" for strategy, part in by_strategy]
        if beyond:
            notes.append(f"Above the common budget of {table.budget} by the price of the probe: {', '.join(beyond)}.")
    if "rewrite_seconds" not in _idle(table.costs):
        notes.append("rewriting: time of writing new examples; its operations are counted nowhere.")
    return notes


def _idle(costs: pd.DataFrame) -> list[str]:
    """The columns that would say nothing: no rewriting of a second or more, no probe to be shared."""
    idle = {
        "rewrite_seconds": not (costs["rewrite_seconds"] >= 1).any(),
        "compute_shared": not (costs["compute_shared"] < costs["compute"] * (1 - LEAST)).any(),
    }
    return [name for name, holds in idle.items() if holds]


def _range(low: float, high: float) -> str:
    first, last = f"{100 * low:.1f}", f"{100 * high:.1f}"
    return f"+{last}%" if first == last else f"+{first} to +{last}%"


def _cost_texts(cost: Mapping[str, Any], relative: bool) -> dict[str, str]:
    beside = "~" if cost["contended"] else ""
    time = f"{cost['step_seconds']:.2f}" if relative else f"{1000 * cost['step_seconds']:.3g} ms"
    flops = f"{cost['flops']:.2f}" if relative else f"{cost['flops']:.3g}"
    texts = {
        "step_seconds": beside + time,
        "flops": flops,
        "compute": f"{cost['compute']:.2f}",
        "compute_shared": f"{cost['compute_shared']:.2f}",
        "passes": f"{cost['passes']:,.0f}",
        "state_bytes": _bytes(cost["state_bytes"]),
        "peak_bytes": beside + _bytes(cost["peak_bytes"]),
        "probe_share": f"{100 * cost['probe_share']:.1f}%",
        "rewrite_seconds": f"{compact(cost['rewrite_seconds'])} s",
        "format_error": f"{100 * cost['format_error']:.1f}%",
    }
    return {name: NOTHING if math.isnan(cost[name]) else text for name, text in texts.items()}


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
