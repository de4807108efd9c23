"""The tables of a challenge: the challenger beside its baselines, and what a step costs by the profiler."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from optbench.metrics.columns import column
from optbench.page.tables import Column, Item, Kind, Table, item_of
from optbench.profiling.rows import Profile, Row
from optbench.profiling.settings import BASELINE
from optbench.profiling.tables import number, percent, seconds, status
from optbench.reports.cost_grid import cost_grid
from optbench.reports.figures import NOTHING, compact
from optbench.reports.grid import Entry, notes_of, score_grid
from optbench.reports.standings import rows_of

if TYPE_CHECKING:
    from optbench.challenge.content import Content
    from optbench.reports.standings import Standings

COSTS = ("FLOPs", "compute", "passes", "state")
"""The columns of a report's costs that stand beside the scores, by how their titles begin."""


def board_of(content: Content, standings: Standings, name: str, colors: Mapping[str, str]) -> Table:
    """Scores and costs in one table, the challenger first, then the baselines in their order.

    Scores, passes, FLOPs and state are those of the report; step time and memory are the profiler's, of one column for
    each model that was profiled.
    """
    scores, costs = score_grid(standings, intervals=True), cost_grid(standings)
    chosen = [place for place, title in enumerate(costs.header) if place >= costs.names and title.startswith(COSTS)]
    rows = rows_of(standings.mean)
    several = len({strategy for _, strategy in rows}) > 1
    names = [0, 1] if several else [0]
    measured = [(profile, model) for profile in content.profiles for model in profile.models()]
    header = [scores.header[place] for place in names]
    of_scores = [str(name) for name in standings.mean.columns]
    header += of_scores if len(of_scores) > 1 else [score_text(standings)]
    header += ["seeds", *(costs.header[place] for place in chosen)]
    for _, model in measured:
        header += [f"{title}{f', {model}' if len(measured) > 1 else ''}" for title in ("step time /adamw", "memory")]
    kinds: list[Kind] = ["name" if place < len(names) else "number" for place in range(len(header))]
    columns = [Column(title, kind) for title, kind in zip(header, kinds, strict=True)]
    table = []
    for place in _order(content, rows):
        entries = [scores.rows[place][column] for column in (*names, *range(scores.names, len(scores.header)))]
        entries.append(Entry(str(int(standings.n.iloc[place].max()))))
        entries += [costs.rows[place][column] for column in chosen]
        for profile, model in measured:
            found = row_of(profile, model, rows[place][0])
            entries += [Entry(ratio_text(found)), Entry(memory_text(found))]
        items = [item_of(entry, kind, {}) for entry, kind in zip(entries, kinds, strict=True)]
        items[0] = _named(items[0], rows[place][0], content, colors)
        table.append(items)
    notes = [*notes_of(standings), *_notes_of(standings, content)]
    return Table(name, scores.title, columns, table, notes)


def profile_table_of(profile: Profile, name: str, colors: Mapping[str, str]) -> Table:
    """What a step of each optimizer took, how its measurements spread, and what memory it needs."""
    model = len(profile.models()) > 1
    header = ["optimizer", *(["model"] if model else []), "found", "median step", "95th percentile", "/adamw"]
    header += ["quartiles", "steps timed", "tokens/s", "FLOPs a step", "memory, estimated", "state, measured"]
    names = 3 if model else 2
    kinds: list[Kind] = ["name" if place < names else "number" for place in range(len(header))]
    rows = []
    for row in profile.rows:
        texts = [row.optimizer, *([row.model] if model else []), status(row)]
        texts += [seconds(row.step_seconds), seconds(row.step_seconds_p95), number(row.ratio, 2)]
        texts += [quartiles_text(row), str(row.timed_steps) if row.timed_steps else NOTHING]
        texts += [number(row.tokens_per_second, 0), compact(row.flops), memory_text(row), bytes_text(row.state_bytes)]
        rows.append([item_of(Entry(text), kind, colors) for text, kind in zip(texts, kinds, strict=True)])
    columns = [Column(title, kind) for title, kind in zip(header, kinds, strict=True)]
    return Table(name, f"What a step costs: {', '.join(profile.models())}", columns, rows, [])


def split_text(row: Row) -> str:
    """Where a step goes, the largest share first; empty where it is not known."""
    known = {part: share for part, share in row.split.items() if math.isfinite(share) and share >= 0.005}
    parts = sorted(known.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{part.replace('_', ' ')} {percent(share)}%" for part, share in parts)


def row_of(profile: Profile, model: str, optimizer: str) -> Row | None:
    """The row of an optimizer in a profile; None where it was not profiled."""
    return next((row for row in profile.rows if (row.model, row.optimizer) == (model, optimizer)), None)


def ratio_text(row: Row | None) -> str:
    """The cost of a step over that of AdamW with its quartiles over rounds."""
    if row is None or not math.isfinite(row.ratio):
        return NOTHING
    text = quartiles_text(row)
    return f"{row.ratio:.2f} ({text})" if text != NOTHING and row.optimizer != BASELINE else f"{row.ratio:.2f}"


def quartiles_text(row: Row) -> str:
    """The quartiles of the ratio over rounds."""
    known = math.isfinite(row.ratio_low) and math.isfinite(row.ratio_high)
    return f"{row.ratio_low:.2f} to {row.ratio_high:.2f}" if known else NOTHING


def memory_text(row: Row | None) -> str:
    """The estimated peak of the whole model."""
    return NOTHING if row is None else bytes_text(row.memory_peak)


def bytes_text(value: float) -> str:
    """A size in three digits, in the unit that fits; a dash where it is not known."""
    if not math.isfinite(value):
        return NOTHING
    unit, size = next(
        ((unit, size) for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if value >= size), ("B", 1)
    )
    return f"{compact(value / size)} {unit}"


def score_text(standings: Standings) -> str:
    """What is scored, and in which unit."""
    known = column(standings.score)
    unit = "%" if known.unit == "fraction" else known.unit
    return f"{known.name.replace('_', ' ')}{f', {unit}' if unit else ''}"


def _order(content: Content, rows: Sequence[tuple[str, str]]) -> list[int]:
    """The places of the rows: the challenger, the baselines as they were named, then whatever else the suite has."""
    first = {optimizer: place for place, optimizer in enumerate((content.name, *content.against))}
    return sorted(range(len(rows)), key=lambda place: (first.get(rows[place][0], len(first)), place))


def _named(item: Item, optimizer: str, content: Content, colors: Mapping[str, str]) -> Item:
    said = " (challenger)" if optimizer == content.name else ""
    return Item(item.value + said, strong=optimizer == content.name, color=colors.get(optimizer, ""))


def _notes_of(standings: Standings, content: Content) -> list[str]:
    given = "" if standings.inference.looks else " and take the number of seeds as given"
    notes = [f"Intervals in this table are of one row alone{given}: no verdict rests on them."]
    if standings.relative:
        notes.append("FLOPs /adamw: of training, divided by those of adamw; passes: forward + backward of a batch.")
    if content.profiles:
        notes.append("Step time and memory: by the profiler, under the conditions of the section on cost.")
    return notes
