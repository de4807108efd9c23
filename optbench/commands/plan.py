"""`plan`: what a suite consists of, what is done already, what the rest will cost, and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optbench.commands.tables import duration, table
from optbench.planning.devices import HERE, Device, device_of, workers_on
from optbench.planning.estimate import ArmCost, Costs, Pace, costs_of, flops_per_step
from optbench.planning.fits import reason, share_of, size, told_once
from optbench.planning.inputs import not_at_hand
from optbench.planning.probes import probes_left
from optbench.planning.recorded import Kind, Past
from optbench.planning.schedule import wall_seconds
from optbench.planning.workload import checked
from optbench.spec import canonical
from optbench.store import Store

if TYPE_CHECKING:
    from optbench.suite import Cell, Suite


def plan(suite: Suite, store: Store, *, device: str = HERE, pace: Pace = "auto") -> dict[str, Any]:
    """Cells, done, and for the runs that remain: steps, FLOPs of training (without probes), seconds, memory, disk.

    Cells of the same content share one run. `seconds` are those of the runs over the workers, `wall_seconds` those from
    the start to the end, with workers' starts, probes and panels. They are at the pace of the suite's own records, or
    measured, or nominal, as `basis` says: see `planning.estimate.costs_of`. `refused` names the arms that do not fit.
    """
    there = device_of(device)
    found = _Cells.of(suite, store, there)
    left = list({id(run.arm): run.arm for run in found.left}.values())
    costs = costs_of(suite, there, found.past, left, pace)
    return _content(suite, store, there, found, costs)


@dataclass
class _Cells:
    """The cells of a suite by what identifies them. `keys` holds the key of each, None where what it depends on is not
    at hand, `done` those with record and findings, `looks` those with a record alone, and whether they are trained
    again for the rest; `left` the runs."""

    keys: list[tuple[Cell, str, str | None]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    looks: dict[str, bool] = field(default_factory=dict)
    left: list[Cell] = field(default_factory=list)
    past: list[Past] = field(default_factory=list)

    @classmethod
    def of(cls, suite: Suite, store: Store, device: Device) -> _Cells:
        """Every cell, and the records of this kind of device."""
        found, seen = cls(), set()
        kinds: dict[int, Kind] = {}
        for cell in suite.cells():
            missing = any(not_at_hand(spec) for spec in cell.arm.specs().values())
            key = None if missing else cell.key  # the key first: it says best what is not there
            name = key or canonical(cell.spec.dump())
            found.keys.append((cell, name, key))
            if name in seen:
                continue
            seen.add(name)
            if key is not None and cell.is_done(store):
                found.done.add(name)
            elif key is not None and store.has(key):
                # A run that lacks only what a panel finds is trained again if the panel looks along training.
                missing_panels = cell.missing_panels(store)
                found.looks[name] = any(p.along_training for p in missing_panels) or not cell.arm.model_spec.is_small
            if found.looks.get(name, name not in found.done):
                found.left.append(cell)
            if key is not None and store.has(key):
                found.past += _past(cell, store, device, kinds)
        return found


def _past(cell: Cell, store: Store, device: Device, kinds: dict[int, Kind]) -> list[Past]:
    """The record of a cell, if it was completed on this kind of device; `kinds` are those of arms, worked out once."""
    record = store.record(cell.key)
    if record is None or record.outcome != "completed":
        return []
    if record.measured.get("provenance", {}).get("device_type", device.kind) != device.kind:
        return []
    arm = cell.arm
    if id(arm) not in kinds:
        kinds[id(arm)] = Kind.of(arm, flops_per_step(arm, checked(arm)))
    return [Past.of(kinds[id(arm)], record)]


def _content(suite: Suite, store: Store, device: Device, found: _Cells, costs: Costs) -> dict[str, Any]:
    workers = workers_on(device, suite)
    rows = {id(arm): _row(costs.arms[id(arm)]) for arm in suite.arms}
    for cell, name, key in found.keys:
        rows[id(cell.arm)]["cells"].append({"seed": cell.seed, "key": key, "done": name in found.done})
    of_left = [costs.arms[id(cell.arm)] for cell in found.left]
    probes, unknown = probes_left(found.left, store, device, suite.execution.threads)
    probes = [costs.ratio * seconds for seconds in probes]
    runs = [cost.run_seconds for cost in of_left]
    bases = sorted({cost.phases.basis for cost in of_left})
    content = {
        "suite": suite.name,
        "question": suite.question,
        "cells": len(found.keys),
        "done": sum(name in found.done for _, name, _ in found.keys),
        "remaining": {
            "runs": len(of_left),
            "panels_alone": len(found.looks),
            "steps": sum(cost.arm.training.steps for cost in of_left),
            "flops": sum(cost.flops_per_step * cost.arm.training.steps for cost in of_left),
            "seconds": sum(runs) / workers,
            "basis": "+".join(bases) if bases else "records",
            "panel_seconds": sum(cost.panels or 0.0 for cost in of_left),
            "probe_seconds": sum(probes),
            "device_seconds": sum(cost.seconds for cost in of_left) + sum(probes),
            "wall_seconds": wall_seconds(
                probes, [cost.seconds for cost in of_left], workers=workers, startup=costs.startup
            ),
            "peak_bytes": max((cost.peak.bytes for cost in of_left), default=0.0),
            "disk_bytes": sum(cost.kept for cost in of_left),
            "checkpoint_bytes": workers * max((cost.checkpoints for cost in of_left), default=0.0),
            "download_bytes": sum(_downloads(of_left)),
        },
        "workers": workers,
        "device": {
            "name": device.name,
            "product": device.product_name,
            "memory_bytes": share_of(device, workers),
            "nominal": device.nominal,
            "at_hand": device.at_hand,
        },
        "assumed": [*costs.assumed, *unknown, *_unknown_panels(suite, of_left)],
        "arms": list(rows.values()),
    }
    wanted = {id(cell.arm) for cell in found.left}
    unfit = [cost for arm, cost in costs.arms.items() if arm in wanted and cost.fits == "no"]
    content["refused"] = [
        {"arm": cost.arm.name, "reason": reason(cost.arm, cost.peak, cost.work, device, workers)} for cost in unfit
    ]
    return content


def _row(cost: ArmCost) -> dict[str, Any]:
    """What is said of one arm, of which each cell costs the same."""
    phases, steps = cost.phases, cost.arm.training.steps
    return {
        **cost.arm.described(),
        "flops": cost.flops_per_step * steps,
        "cells": [],
        "seconds": cost.seconds,
        "phases": {
            "setup": phases.setup,
            "training": steps * phases.step,
            "evaluation": phases.evaluation,
            "panels": cost.panels,
        },
        "basis": phases.basis,
        "peak_bytes": cost.peak.bytes,
        "training_peak_bytes": cost.peak.training,
        "peak_at": cost.peak.at,
        "memory": cost.peak.parts,
        "fits": cost.fits,
        "disk_bytes": cost.kept,
        "checkpoint_bytes": cost.checkpoints,
    }


def _downloads(costs: Sequence[ArmCost]) -> list[float]:
    """Of each model once."""
    return list({cost.arm.model: cost.download for cost in costs}.values())


def _unknown_panels(suite: Suite, left: Sequence[ArmCost]) -> list[str]:
    if any(cost.panels is None for cost in left):
        names = ", ".join(panel.kind for panel in suite.panels)
        return [f"the time of some panels is not known and not included ({names})"]
    return []


def plan_text(content: Mapping[str, Any]) -> str:
    """`plan` for a terminal."""
    rows = []
    for arm in content["arms"]:
        done = sum(cell["done"] for cell in arm["cells"])
        rows.append(
            [
                arm["name"],
                str(len(arm["cells"])),
                str(done),
                str(arm["steps"]),
                f"{arm['flops']:.3g}",
                duration(arm["seconds"]),
                size(arm["peak_bytes"]),
                arm["fits"],
                size(arm["disk_bytes"]),
            ]
        )
    header = ["arm", "cells", "done", "steps", "FLOPs", "time", "memory", "fits", "disk"]
    left, device = content["remaining"], content["device"]
    kept = f" ({left['panels_alone']} are recorded and lack a panel alone)" if left["panels_alone"] else ""
    lines = [
        table(header, rows),
        "FLOPs, time, memory and disk are those of one cell.",
        "",
        f"{content['suite']}: {content['cells']} cells, {content['done']} done{kept}, {left['runs']} to run: "
        f"{left['steps']:,} steps, {left['flops']:.3g} FLOPs",
        *_totals(content),
    ]
    lines += [f"  {words}" for words in content["assumed"]]
    memory = "" if device["memory_bytes"] is None else f", {size(device['memory_bytes'])} for a cell"
    lines.append(f"  device: {device['name']} ({device['product']}{memory})")
    if content["refused"]:
        lines += ["", f"{len(content['refused'])} of {len(content['arms'])} arms do not fit:"]
        lines += [f"  {line}" for line in told_once({r["arm"]: r["reason"] for r in content["refused"]})]
    return "\n".join(lines)


BASES = {
    "records": "at the pace of this suite's records",
    "measured": "from a few steps measured now",
    "nominal": "a guess from nominal speeds: nothing was run yet",
}


def _totals(content: Mapping[str, Any]) -> list[str]:
    """Time, memory and disk of all runs that are left."""
    left, device = content["remaining"], content["device"]
    if not left["runs"]:
        return ["time: nothing is left to run"]
    basis = "; ".join(BASES[word] for word in left["basis"].split("+"))
    if not device["at_hand"]:
        hours = left["device_seconds"] / 3600
        when = f"{f'{hours:,.0f}' if hours >= 100 else f'{hours:.3g}'} GPU-hours in all on one {device['name']}"
    else:
        workers = f"{content['workers']} worker{'s' if content['workers'] > 1 else ''}"
        when = f"{duration(left['wall_seconds'])} with {workers}"
    parts = [f"panels {duration(left['panel_seconds'])}"] if left["panel_seconds"] else []
    parts += [f"probes {duration(left['probe_seconds'])}"] if left["probe_seconds"] else []
    among = f"; of it {', '.join(parts)}" if parts else ""
    disk = f"disk: {size(left['disk_bytes'])} of records, {size(left['checkpoint_bytes'])} of checkpoints while running"
    if left["download_bytes"]:
        disk += f", {size(left['download_bytes'])} to download"
    return [f"time: {when} ({basis}{among})", f"memory: {size(left['peak_bytes'])} for the largest cell; {disk}"]
