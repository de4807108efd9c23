"""The cells of a trial, and what their records say of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optbench.cell import CellSpec
from optbench.errors import UserError, suggestion
from optbench.metrics.columns import COLUMNS
from optbench.store import Record, Store
from optbench.suite import Cell
from optbench.tuning.record import Sampler, Trial
from optbench.tuning.space import with_values

if TYPE_CHECKING:
    from optbench.tuning.study import Planned


def cells_of(planned: Planned, values: Mapping[str, Any], sampler: Sampler, seeds: Sequence[int]) -> list[Cell]:
    """The cells of a trial: every arm of the study with these values, evaluated on validation, at each of the seeds.

    The suite's own values are those of each arm, also where the arms do not agree on one.
    """
    cells = []
    for arm in planned.arms:
        tried = arm if sampler == "suite" else with_values(arm, values)
        training = tried.training.model_copy(update={"evaluate": "validation"})
        cells += [Cell(tried, seed, CellSpec(**tried.specs(), training=training, seed=seed)) for seed in seeds]
    return cells


def trial_of(values: Mapping[str, Any], sampler: Sampler, cells: Sequence[Cell], store: Store, score: str) -> Trial:
    """The trial, from the records of all of its cells. Raises UserError where they have no such column."""
    records = [_record(cell, store) for cell in cells]
    outcomes = Counter(record.outcome for record in records)
    found: float | None = None
    if set(outcomes) == {"completed"}:
        found = math.fsum(_score(cell, record, score) for cell, record in zip(cells, records, strict=True)) / len(cells)
    if found is not None and not math.isfinite(found):
        found = None
    return Trial(
        values=dict(values),
        sampler=sampler,
        score=found,
        outcomes=dict(sorted(outcomes.items())),
        keys=[cell.key for cell in cells],
        seconds=math.fsum(float(record.measured.get("total_seconds", 0.0)) for record in records),
    )


def check_records(cells: Sequence[Cell], store: Store) -> None:
    """Reads the records that are there. Raises UserError for one that is damaged: it is never written over."""
    for cell in cells:
        store.check_place(cell.key)
        store.record(cell.key)


def _record(cell: Cell, store: Store) -> Record:
    record = store.record(cell.key)
    assert record is not None, "trials are counted once all of their cells have records"
    return record


def _score(cell: Cell, record: Record, score: str) -> float:
    if score not in record.result:
        columns = [name for name in record.result if name in COLUMNS and COLUMNS[name].direction != "neither"]
        raise UserError(
            f"tuning.score: the task {cell.arm.task} has no column {score!r} to choose by; {suggestion(score, columns)}"
        )
    return float(record.result[score])
