"""What an executor has to do: probes first, then the cells that have no record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from optbench.cell import CellSpec
from optbench.store import Store

if TYPE_CHECKING:
    from optbench.suite import Cell


@dataclass(frozen=True)
class Job:
    """A probe or a cell. `spec` is the cell's content as JSON data: for a probe, that of a cell that needs it.

    `after` is the key of the probe that has to be there first, or empty.
    """

    kind: Literal["probe", "cell"]
    key: str
    name: str
    spec: dict[str, Any]
    steps: int
    after: str = ""


def jobs_for(cells: Sequence[Cell], store: Store) -> list[Job]:
    """One job for each probe and each cell that is missing, each once."""
    from optbench.runner import probe_of

    probes: dict[str, Job] = {}
    jobs: dict[str, Job] = {}
    for cell in cells:
        if store.has(cell.key) or cell.key in jobs:
            continue
        content = cell.spec.dump()
        probe = probe_of(cell.spec)
        after = ""
        if probe is not None and probe.cached(store.root) is None:
            after = probe.key
            name = f"probe {cell.arm.model}/{cell.arm.task}"
            probes.setdefault(after, Job("probe", after, name, content, steps=0))
        name = f"{cell.arm.name} seed {cell.seed}"
        jobs[cell.key] = Job("cell", cell.key, name, content, cell.spec.training.steps, after)
    return [*probes.values(), *jobs.values()]


def cell_of(job: Job) -> CellSpec:
    """The spec of the job's cell."""
    return CellSpec.model_validate(job.spec)
