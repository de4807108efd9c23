"""Sharpness against score: whether the flatter solutions are the better ones here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optbench.charts.interval_notes import bars_note
from optbench.charts.left_out import LeftOut
from optbench.charts.points import groups_of, metric_by_group, names_in_order, scores_at
from optbench.charts.scatter import Panel, Scatter
from optbench.charts.style import capital, label, seeds_in_words, spoken
from optbench.metrics.columns import column
from optbench.reports.grid import place_of

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report
    from optbench.reports.standings import Standings

MEASURES = {
    "hessian_top": "largest Hessian eigenvalue",
    "sam_sharpness": "SAM sharpness: rise of the loss along the gradient",
}
"""Columns of the panel `sharpness` that are drawn, and what they are called."""


def data_of(report: Report, table: Standings) -> Scatter:
    """The points of all models and measures. Raises LeftOut where the panel has not looked at any cell of the table."""
    rows: dict[str, dict[str, Panel]] = {}
    for name, words in MEASURES.items():
        if name not in report.cells or not report.cells[name].notna().any():
            continue
        by_group = metric_by_group(report, table, name)
        panels = {}
        for group in groups_of(table):
            points = scores_at(table, group).join(by_group[group])
            # On a logarithmic axis only what is above 0 has a place.
            points = points[points["x"] > 0]
            if len(Panel(points).shown):
                panels[group] = Panel(points)
        if panels:
            rows[f"{words} ({column(name).unit}), lower is flatter"] = panels
    if not rows:
        raise LeftOut("no result of the panel sharpness; `panels: [sharpness]` in the suite asks for it")
    seeds = table.n.to_numpy()
    return Scatter(
        title=f"{capital(spoken(table.score))} against sharpness: {label(place_of(table), 60)}, "
        f"{seeds_in_words(int(seeds[seeds > 0].min()), table.seeds)}",
        score=table.score,
        rows=rows,
        optimizers=names_in_order(report, table, "optimizer"),
        strategies=names_in_order(report, table, "strategy"),
        notes=[bars_note(table)],
        logarithmic=list(rows),
    )
