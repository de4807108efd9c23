"""The probes that cells need and that are not there yet, and what they will take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from optbench.models.dimensions import Dimensions
from optbench.planning.devices import Device
from optbench.planning.inputs import not_at_hand
from optbench.planning.nominal import probe_seconds
from optbench.planning.workload import workload_of
from optbench.spec import canonical
from optbench.store import Store
from optbench.strategies.probe import ProbeRun

if TYPE_CHECKING:
    from optbench.suite import Cell

PUBLISHED = {
    "EleutherAI/pythia-70m": Dimensions(
        layers=6,
        width=512,
        heads=8,
        kv_heads=8,
        head_dim=64,
        intermediate=2048,
        vocabulary=50304,
        gated=False,
        untied=True,
    )
}
"""Sizes of models that are common as probes, from their config.json, for a plan without the hub."""


def probes_left(cells: Iterable[Cell], store: Store, device: Device, threads: int) -> tuple[list[float], list[str]]:
    """Nominal seconds of each probe that is missing, and what is not known of others, in words."""
    seconds: dict[str, float] = {}
    unknown: dict[str, str] = {}
    for cell in cells:
        for run in _runs(cell):
            here = not not_at_hand(run.subject) and not not_at_hand(cell.arm.task_spec)
            name = run.key if here else canonical([run.spec.dump(), run.subject.dump(), run.precision])
            if name in seconds or name in unknown or (here and run.cached(store.root) is not None):
                continue
            dimensions = _dimensions(run.subject)
            if dimensions is None:
                unknown[name] = (
                    f"the probe's model ({', '.join(not_at_hand(run.subject))}) is not at hand: not estimated"
                )
                continue
            work = workload_of(run.subject, cell.arm.task_spec)
            seconds[name] = probe_seconds(run, dimensions, work, device, threads)
    return list(seconds.values()), list(dict.fromkeys(unknown.values()))


def _runs(cell: Cell) -> Iterator[ProbeRun]:
    """Those of the strategy and of the panels."""
    from optbench.spec import Spec

    arm, training = cell.arm, cell.arm.training
    if "probe" in type(arm.strategy_spec).model_fields:
        # The identity of the task is only known where its data is: a plan without them needs no key.
        task = {} if not_at_hand(arm.task_spec) else arm.task_spec.identity()
        probe: Any = arm.strategy_spec.probe
        yield ProbeRun(probe, arm.model_spec, task, training.precision, training.attention)
    for panel in cell.panels:
        if isinstance(panel, Spec) and not not_at_hand(arm.task_spec):
            found = panel.probe_run(cell.spec)  # type: ignore[attr-defined]
            if found is not None:
                yield found


def _dimensions(model: Any) -> Dimensions | None:
    missing = not_at_hand(model)
    if not missing or "family" in type(model).model_fields:
        found: Dimensions = model.dimensions()
        return found
    return PUBLISHED.get(missing[0])
