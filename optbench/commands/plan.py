"""`plan`: what a suite consists of, what is done already, and what the rest will cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optbench.commands.tables import duration, table
from optbench.cost import FULL_PACE, NANO_PACE, Work, mean_work, training_flops
from optbench.spec import canonical
from optbench.store import Store
from optbench.suite import Arm, Suite

OVERHEAD = 1.5
"""Seconds of a cell that are not training: building model and data, answering questions, writing the record."""


PER_PASS = 0.7e-3
"""Seconds that a pass takes whatever its size: what the smallest models cost."""


def plan(suite: Suite, store: Store) -> dict[str, Any]:
    """Cells, done, and for the runs that remain: steps, FLOPs of training (without probes), and seconds.

    Cells of the same content share one run. `seconds` is at the pace of the suite's own records, or, where there is
    none yet, at the nominal pace of a CPU, as `basis` says.
    """
    estimate = _Flops()
    arms: dict[int, dict[str, Any]] = {}
    flops: dict[str, float] = {}
    nominal: dict[str, float] = {}
    steps: dict[str, int] = {}
    looks: dict[str, bool] = {}
    for cell in suite.cells():
        arm, key = cell.arm, cell.key  # the key first: it says best what is not there
        if id(arm) not in arms:
            arms[id(arm)] = {**arm.described(), "flops": estimate.of(arm), "cells": []}
        row = arms[id(arm)]
        complete = cell.is_done(store)
        row["cells"].append({"seed": cell.seed, "key": key, "done": complete})
        if not complete and store.has(key):
            looks[key] = any(p.along_training for p in cell.missing_panels(store)) or not arm.model_spec.is_small
        flops[key], steps[key] = row["flops"], row["steps"]
        nominal[key] = row["flops"] / (NANO_PACE if arm.model_spec.is_small else FULL_PACE)
        nominal[key] += PER_PASS * row["steps"] * float(arm.optimizer_spec.estimator.passes_per_step)
    cells = [cell for row in arms.values() for cell in row["cells"]]
    done = {cell["key"]: flops[cell["key"]] for cell in cells if cell["done"] or cell["key"] in looks}
    # A run that lacks only what a panel finds is trained again if the panel looks along training.
    left = [key for key in flops if looks.get(key, key not in done)]
    flops_left = sum(flops[key] for key in left)
    pace = _pace(store, done)
    guess = sum(nominal[key] / suite.execution.threads + OVERHEAD for key in left)
    seconds = guess if pace is None else pace * flops_left
    return {
        "suite": suite.name,
        "question": suite.question,
        "cells": len(cells),
        "done": sum(cell["done"] for cell in cells),
        "remaining": {
            "runs": len(left),
            "panels_alone": len(looks),
            "steps": sum(steps[key] for key in left),
            "flops": flops_left,
            "seconds": seconds / suite.execution.workers,
            "basis": "nominal" if pace is None else "records",
        },
        "workers": suite.execution.workers,
        "arms": list(arms.values()),
    }


def plan_text(content: Mapping[str, Any]) -> str:
    """`plan` for a terminal."""
    rows = []
    for arm in content["arms"]:
        done = sum(cell["done"] for cell in arm["cells"])
        rows.append([arm["name"], str(len(arm["cells"])), str(done), str(arm["steps"]), f"{arm['flops']:.3g}"])
    left = content["remaining"]
    seconds = duration(left["seconds"])
    workers = f"{content['workers']} worker{'s' if content['workers'] > 1 else ''}"
    rough = " (a guess for CPUs: nothing was run yet)" if left["basis"] == "nominal" else ""
    kept = f" ({left['panels_alone']} are recorded and lack a panel alone)" if left["panels_alone"] else ""
    lines = [
        table(["arm", "cells", "done", "steps", "FLOPs per cell"], rows),
        "",
        f"{content['suite']}: {content['cells']} cells, {content['done']} done{kept}, {left['runs']} to run: "
        f"{left['steps']:,} steps, {left['flops']:.3g} FLOPs; time with {workers}: {seconds}{rough}",
    ]
    return "\n".join(lines)


class _Flops:
    """Training FLOPs of a cell. The data is looked at once for each model and task."""

    def __init__(self) -> None:
        self._work: dict[str, Work] = {}

    def of(self, arm: Arm) -> float:
        """FLOPs of all steps."""
        parts = (arm.model_spec, arm.task_spec, arm.training.batch_size)
        same = canonical(list(parts))
        with arm.blaming("model"):
            dimensions = arm.model_spec.dimensions()
            if same not in self._work:
                arm.model_spec.tokenizer()
        with arm.blaming("task"):
            if same not in self._work:
                self._work[same] = mean_work(*parts)
        per_step = training_flops(dimensions, arm.optimizer_spec, self._work[same], steps=1)
        return per_step * arm.training.steps


def _pace(store: Store, done: Mapping[str, float]) -> float | None:
    """Seconds per operation of the suite's own records; None where there is none."""
    pace = []
    for key, flops in done.items():
        record = store.record(key)
        if record is not None and record.outcome == "completed":
            pace.append((float(record.measured["total_seconds"]), flops))
    if not pace:
        return None
    return sum(seconds for seconds, _ in pace) / sum(flops for _, flops in pace)
