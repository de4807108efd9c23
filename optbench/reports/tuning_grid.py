"""Tuning as two tables of texts: what every study cost and found, and the values that it chose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from optbench.metrics.columns import column, worst
from optbench.reports.figures import NOTHING, figure
from optbench.reports.grid import Entry, Grid
from optbench.reports.tuning import NEAR, Tuning
from optbench.reports.tuning_text import (
    DECLARED,
    chosen_text,
    failures_text,
    near_text,
    space_text,
    value_text,
)
from optbench.tuning.edges import EDGE

EVERYWHERE = "all its arms"
"""Of a study that no axis but the optimizer's selects."""
_LESS = ("space from", "tried")


def tuning_grid(tuning: Tuning) -> Grid:
    """One row per study: its trials, the scores of the suite's own values and of the best, how many are near-best, and
    what half of the quasi-random trials would have found on average."""
    half = half_of(tuning)
    header = ["optimizer", "tuned on", "space from", "trials", "no score", "suite's values", "best", "near-best"]
    header += [f"best of {half}"] * bool(half)
    rows = [
        [
            Entry(search.optimizer),
            Entry(search.place or EVERYWHERE),
            Entry(DECLARED.get(search.declared_by, search.declared_by)),
            Entry(str(search.trials)),
            Entry(failures_text(search.failed)),
            Entry(_score(search.before, tuning.score) if search.own in ("", "completed") else _spoken(search.own)),
            Entry(_score(search.after, tuning.score)),
            Entry(str(search.near)),
            *[Entry(_score(search.expected[half - 1], tuning.score)) for _ in range(bool(half))],
        ]
        for search in tuning.searches
    ]
    return _placed(Grid(f"Tuning: {score_text(tuning)}", header, rows, names=3), tuning)


def tuning_notes_of(tuning: Tuning) -> list[str]:
    """The lines that say how to read it."""
    half = half_of(tuning)
    fraction = column(tuning.score).unit == "fraction"
    within = "a point" if fraction else f"{NEAR:.0%}"
    every = "Every trial was run with seed" + "s" * (len(tuning.seeds) > 1)
    notes = [f"{every} {', '.join(map(str, tuning.seeds))}; near-best: within {within} of the best score."]
    if half:
        notes.append(
            f"best of {half}: the mean best score of so many of the quasi-random trials, over all choices of them; "
            f"{NOTHING} where they may all have failed. An optimizer that is easily tuned is good after few."
        )
    if any(search.failed for search in tuning.searches):
        value = worst(tuning.score)
        counts = f"each counts as {tuning.score} {value:g}" if math.isfinite(value) else "each counts as the worst"
        notes.append(f"no score: trials of which a cell diverged or ran out of memory; {counts}.")
    return notes


def values_grid(tuning: Tuning) -> Grid:
    """One row per hyper-parameter of each study."""
    important = any(found.importance is not None for search in tuning.searches for found in search.found)
    header = ["optimizer", "tuned on", "hyper-parameter", "suite's", "chosen"]
    header += [*["importance"] * important, "near-best", "tried"]
    rows = []
    for search in tuning.searches:
        for found in search.found:
            names = [search.optimizer, search.place or EVERYWHERE, found.path]
            texts = [value_text(found.before), chosen_text(found)]
            if important:
                texts.append(NOTHING if found.importance is None else f"{100 * found.importance:.0f}%")
            texts += [near_text(found), space_text(found.dimension)]
            rows.append([Entry(text) for text in (*names, *texts)])
    return _placed(Grid("Tuning: hyper-parameters before and after", header, rows, names=3), tuning)


def values_notes_of(tuning: Tuning) -> list[str]:
    """The lines that say how to read it, and only of what occurs in it."""
    notes = ["near-best: what the near-best trials had; a wide range of it means that the value matters little."]
    if any(search.at_edge for search in tuning.searches):
        notes.append(
            f"edge: in the first or last {EDGE:.0%} of the range that was tried, on its own scale, or at the first or "
            "last of the numbers to choose from: the best may lie beyond."
        )
    if any(found.importance is not None for search in tuning.searches for found in search.found):
        notes.append(
            "importance: the share of each in what tells the better trials from all (PED-ANOVA), one hyper-parameter "
            f"at a time; rough with few trials, and {NOTHING} with fewer than ten."
        )
    return notes


def shorter(grid: Grid) -> Grid:
    """The same table without the columns that say where the search was made."""
    return _without(grid, _LESS)


def score_text(tuning: Tuning) -> str:
    """The score that trials were compared by, where it was taken, its unit, and which way is better."""
    unit = "%" if column(tuning.score).unit == "fraction" else column(tuning.score).unit
    words = [f"{tuning.score} on the validation split", unit, f"{tuning.direction} is better"]
    return ", ".join(word for word in words if word)


def half_of(tuning: Tuning) -> int:
    """Half of the quasi-random trials that every study has at least, rounded up; 0 where one has none."""
    return (min((len(search.expected) for search in tuning.searches), default=0) + 1) // 2


def _placed(grid: Grid, tuning: Tuning) -> Grid:
    """The table without the column of places where no study has one."""
    return grid if any(search.place for search in tuning.searches) else _without(grid, ("tuned on",))


def _without(grid: Grid, names: Sequence[str]) -> Grid:
    chosen = [place for place, name in enumerate(grid.header) if name not in names]
    return replace(grid.columns(chosen), names=sum(place < grid.names for place in chosen))


def _spoken(outcome: str) -> str:
    return outcome.replace("_", " ")


def _score(value: float | None, score: str) -> str:
    return NOTHING if value is None else figure(value, score, digits=4)
