"""What an executor has to do: probes first, then the cells that have no record, or lack what a panel finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from optbench.cell import CellSpec
from optbench.errors import UserError
from optbench.panels.base import panel_key
from optbench.store import Store

if TYPE_CHECKING:
    from optbench.strategies.probe import ProbeRun
    from optbench.suite import Cell


@dataclass(frozen=True)
class Job:
    """A probe, a cell with its panels, or the panels that a recorded cell lacks.

    `spec` is the cell's content as JSON data, `panels` that of the panels. For a probe they are those of a cell that
    needs it: of its panel where one is given, else of its strategy. `after` holds the keys of the probes that have to
    be there first.
    """

    kind: Literal["probe", "cell", "panels"]
    key: str
    name: str
    spec: dict[str, Any]
    steps: int
    after: Sequence[str] = ()
    panels: Sequence[dict[str, Any]] = ()


def jobs_for(cells: Sequence[Cell], store: Store) -> list[Job]:
    """One job for each probe and each cell that is missing or lacks findings, each once.

    Long ones go first, otherwise in the order of the suite: workers then run out of work at nearly the same time.
    """
    probes: dict[str, Job] = {}
    jobs: dict[str, Job] = {}
    for cell in cells:
        if cell.key in jobs or cell.is_done(store):
            continue
        content, arm = cell.spec.dump(), cell.arm
        recorded = store.has(cell.key)
        panels = cell.missing_panels(store)
        after = []
        for probe, panel in _probes(cell.spec, panels, recorded=recorded):
            if not _is_there(probe, store):
                given = () if panel is None else (panel.dump(),)
                job = Job("probe", probe.key, f"probe {arm.model}/{arm.task}", content, steps=0, panels=given)
                probes.setdefault(probe.key, job)
                after.append(probe.key)
        kind: Literal["cell", "panels"] = "panels" if recorded else "cell"
        name = f"{arm.name} seed {cell.seed}"
        given = tuple(panel.dump() for panel in panels)
        jobs[cell.key] = Job(kind, cell.key, name, content, cell.spec.training.steps, tuple(after), given)
    length = {cell.key: _length(cell.spec) for cell in cells}
    return [*probes.values(), *sorted(jobs.values(), key=lambda job: -length[job.key])]


def _length(cell: CellSpec) -> float:
    """Passes of examples, which cells of one model and task take their time from: no model, no data, no clock."""
    training = cell.training
    return training.steps * training.batch_size * float(cell.optimizer.estimator.passes_per_step)


def _probes(cell: CellSpec, panels: Sequence[Any], *, recorded: bool) -> Iterator[tuple[ProbeRun, Any]]:
    """The probes that a cell needs, each with the panel that asks for it, or None for the strategy."""
    from optbench.trained import probe_of

    own = probe_of(cell)
    if own is not None and (not recorded or any(panel.along_training for panel in panels)):
        yield own, None
    for panel in panels:
        yardstick = panel.probe_run(cell)
        if yardstick is not None:
            yield yardstick, panel


def _is_there(probe: ProbeRun, store: Store) -> bool:
    """Whether the probe was run before. Raises UserError, naming its folder, for one that cannot be read."""
    try:
        return probe.cached(store.root) is not None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        folder = probe.folder(store.root)
        raise UserError(f"{folder}: damaged probe ({error}); delete it to run the probe again") from error


def is_done(job: Job, store: Store) -> bool:
    """Whether what the job is for is in the store."""
    if job.kind == "probe":
        return _is_there(probe_of_job(job), store)
    return store.has(job.key) and all(store.has_panel(job.key, panel_key(panel)) for panel in panels_of(job))


def outcome_of(job: Job, store: Store) -> str:
    """How the cell of a job that is done ended; a probe's outcome is `probe`."""
    record = None if job.kind == "probe" else store.record(job.key)
    return "probe" if record is None else record.outcome


def cell_of(job: Job) -> CellSpec:
    """The spec of the job's cell."""
    return CellSpec.model_validate(job.spec)


def panels_of(job: Job) -> list[Any]:
    """The specs of the job's panels."""
    from pydantic import TypeAdapter

    from optbench.panels.specs import PanelSpec

    return [TypeAdapter(PanelSpec).validate_python(content) for content in job.panels]


def probes_of(job: Job) -> list[ProbeRun]:
    """The probes that the job reads."""
    return [probe for probe, _ in _probes(cell_of(job), panels_of(job), recorded=job.kind == "panels")]


def probe_of_job(job: Job) -> ProbeRun:
    """The probe that the job is to run."""
    from optbench.trained import probe_of

    cell = cell_of(job)
    panels = panels_of(job)
    found: ProbeRun | None = panels[0].probe_run(cell) if panels else probe_of(cell)
    assert found is not None, "a job of kind probe was made for a probe"
    return found
