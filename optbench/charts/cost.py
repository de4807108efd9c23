"""Score against cost: what an optimizer reaches, for which price, and who is on the Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optbench.charts.interval_notes import bars_note
from optbench.charts.left_out import LeftOut
from optbench.charts.points import groups_of, names_in_order, scores_at
from optbench.charts.scatter import Panel, Scatter
from optbench.charts.style import capital, label, seeds_in_words, spoken
from optbench.metrics.columns import column
from optbench.reports.grid import place_of
from optbench.reports.pareto import ALLOWANCE, Axis, pareto_front
from optbench.reports.prices import MEASURED

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report
    from optbench.reports.standings import Standings

AXIS: Axis = "time"
"""The front of the standings that is drawn: score against time, or compute where time was not measured alone."""


def data_of(report: Report, table: Standings) -> Scatter:
    """The points of all models and prices. Raises LeftOut where no row has both a score and a price."""
    anchor = " ".join(label(name) for name in table.anchor)
    words = {
        "compute": f"FLOPs with the probe, relative to {anchor}",
        "time": f"time of training, relative to {anchor}",
    }
    rows: dict[str, dict[str, Panel]] = {}
    for price, title in words.items():
        panels = {}
        for group in groups_of(table):
            points = scores_at(table, group)
            cost = table.prices[price][group]
            points["x"] = (cost / cost.loc[table.anchor]).to_numpy(float)
            points["x_half"] = np.nan
            if len(Panel(points).shown):
                panels[group] = Panel(points, _front(table, price, group, points))
        if panels:
            rows[title] = panels
    if not rows:
        raise LeftOut("no row has both a score and a price relative to the anchor")
    seeds = table.n.to_numpy()
    return Scatter(
        title=f"{capital(spoken(table.score))} against cost: {label(place_of(table), 60)}, "
        f"{seeds_in_words(int(seeds[seeds > 0].min()), table.seeds)}",
        score=table.score,
        rows=rows,
        optimizers=names_in_order(report, table, "optimizer"),
        strategies=names_in_order(report, table, "strategy"),
        notes=_notes(table, timed=words["time"] in rows),
    )


def _front(table: Standings, price: str, group: str, points: pd.DataFrame) -> pd.DataFrame:
    """The rows on the front by their means, by x: those of the standings where their front is of this price. None where
    the price of a row is not known: it might be on the front."""
    front = table.fronts[AXIS]
    score, cost = points["y"].to_numpy(), points["x"].to_numpy()
    # Rows that failed have no place on the front of the standings, and get none here.
    placed = (front.mark[group] != "").to_numpy()
    if front.price[group] == price:
        chosen = front.by_means[group].to_numpy(bool)
    elif np.isfinite(cost[placed]).all():
        better = score if column(table.score).direction == "higher" else -score
        allowance = ALLOWANCE if price in MEASURED else 0.0
        chosen = pareto_front(np.where(placed, better, np.nan), cost, allowance=allowance)
    else:
        chosen = np.zeros(len(points), dtype=bool)
    return points.loc[chosen, ["x", "y"]].sort_values("x", kind="stable")


def _notes(table: Standings, *, timed: bool) -> list[str]:
    notes = [bars_note(table)]
    notes.append("Dashed: the Pareto front of the means; nothing scores better than it for the same cost or less.")
    if not timed:
        notes.append("No chart of times: they were taken beside other running cells, or are not recorded.")
    return [" ".join(notes)]
