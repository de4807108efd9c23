"""Panels of a challenge: on the first seeds alone, when the contrasts have got all the seeds they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.panels.specs import PANELS
from optbench.store import Store

if TYPE_CHECKING:
    from optbench.suite import Suite

USUAL = ("sharpness", "simplicity")
"""What looks where the suite asks for no panel."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Looked:
    """How many of the cells have all findings, of how many, and the failures by the names of cells."""

    done: int
    total: int
    failed: dict[str, str] = field(default_factory=dict)


def panels_for(suite: Suite) -> list[Any]:
    """The suite's own panels; else those of the usual ones that apply to all of its tasks."""
    if suite.panels:
        return list(suite.panels)
    specs = [PANELS[kind].model_validate({"kind": kind}) for kind in USUAL]
    return [spec for spec in specs if all(_applies(spec, arm.task_spec) for arm in suite.arms)]


def look(
    suite: Suite,
    panels: Sequence[Any],
    results: Path,
    *,
    seeds: Sequence[int],
    workers: int | None,
    left: Callable[[], float],
    cell_seconds: float,
) -> Looked:
    """Has the panels look at the cells of these seeds, one seed after another, as long as `left()` seconds hold another
    cell, which is expected to take `cell_seconds`. Records stay as they are."""
    from optbench.executors.devices import visible_gpus, worker_count
    from optbench.executors.events import failure
    from optbench.executors.local import execute

    asked = replace(suite, panels=list(panels), seeds=list(seeds), added=None)
    cells = sorted(asked.cells(), key=lambda cell: list(seeds).index(cell.seed))
    said, store = suite.execution, Store(results)
    summary = execute(
        cells,
        results,
        workers=worker_count(workers, said.workers, visible_gpus()),
        threads=said.threads,
        checkpoint_minutes=said.checkpoint_minutes,
        may_begin=lambda: left() > cell_seconds,
    )
    failed = {name: failure(reason, log) for name, (reason, log) in summary.failed.items()}
    return Looked(sum(cell.is_done(store) for cell in cells), len(cells), failed)


def _applies(panel: Any, task: Any) -> bool:
    medium = getattr(task, "medium", "text")
    reads = panel.medium == "any" or medium.startswith(panel.medium)
    return bool(reads and (getattr(task, "asks_questions", True) or not panel.needs_answers))
