"""The tables of a report in their order, each with its notes: what every format for readers walks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optbench.reports.before_grid import before_grid, before_notes_of
from optbench.reports.cost_grid import cost_grid, cost_notes_of
from optbench.reports.grid import Grid, notes_of, score_grid
from optbench.reports.panel_grid import panel_grid, panel_notes_of
from optbench.reports.tuning_grid import shorter, tuning_grid, tuning_notes_of, values_grid, values_notes_of

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report


@dataclass(frozen=True)
class Section:
    """A table with its notes; `brief` is the same table with fewer intervals, for where the whole does not fit."""

    grid: Grid
    notes: Sequence[str]
    brief: Grid


def sections_of(report: Report) -> Iterator[Section]:
    """For each task and budget: the standings, what training gained where models were pretrained, costs, and panels.
    Then how the suite was tuned, where trials are recorded."""
    for standings in report.standings:
        brief = score_grid(standings, intervals=False)
        yield Section(score_grid(standings, intervals=True), notes_of(standings), brief)
        gained = before_grid(standings, report.cells)
        if gained is not None:
            yield Section(gained, before_notes_of(standings), gained)
        costs = cost_grid(standings)
        yield Section(costs, cost_notes_of(standings), costs)
        for table in report.panels:
            if table.standings is standings:
                found = panel_grid(table)
                yield Section(found, panel_notes_of(table), found)
    yield from tuning_sections_of(report)


def tuning_sections_of(report: Report) -> Iterator[Section]:
    """What every study cost and found, and the values that it chose; nothing where no study is about these arms."""
    if report.tuning is None or not report.tuning.searches:
        return
    tables = (
        (tuning_grid(report.tuning), tuning_notes_of(report.tuning)),
        (values_grid(report.tuning), values_notes_of(report.tuning)),
    )
    for grid, notes in tables:
        yield Section(grid, notes, shorter(grid))
