"""`status`: how far a suite has come, and how far cells got that were interrupted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from optbench.arm import Arm
from optbench.checkpoint import progress_of
from optbench.commands.tables import table
from optbench.store import Store
from optbench.suite import Suite

MISSING, PANELS_MISSING = "missing", "panels_missing"
"""No record; a record, but not what all panels of the suite find."""


def status(suite: Suite, store: Store) -> dict[str, Any]:
    """Cells by what became of them, for the suite and for each arm."""
    found: dict[int, tuple[Arm, Counter[str]]] = {}
    unfinished = []
    for cell in suite.cells():
        record = store.record(cell.key)
        kept = progress_of(store.root, cell.key) if record is None else None
        if kept is not None:
            name = {"arm": cell.arm.name, "seed": cell.seed, "key": cell.key}
            unfinished.append({**name, "steps_done": kept.step, "steps": kept.steps})
        outcomes = found.setdefault(id(cell.arm), (cell.arm, Counter()))[1]
        lacking = PANELS_MISSING if cell.missing_panels(store) else ""
        outcomes[MISSING if record is None else lacking or record.outcome] += 1
    totals = sum((outcomes for _, outcomes in found.values()), Counter[str]())
    return {
        "suite": suite.name,
        **_counted(totals),
        "unfinished": unfinished,
        "arms": [{**arm.described(), **_counted(outcomes)} for arm, outcomes in found.values()],
    }


def status_text(content: dict[str, Any]) -> str:
    """`status` for a terminal."""
    outcomes = sorted({outcome for arm in content["arms"] for outcome in arm["outcomes"]})
    header = ["arm", "cells", "done", *outcomes]
    rows = [
        [arm["name"], str(arm["cells"]), str(arm["done"]), *(str(arm["outcomes"].get(o, 0)) for o in outcomes)]
        for arm in content["arms"]
    ]
    parts = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in sorted(content["outcomes"].items()))
    lines = [f"{content['suite']}: {content['done']} of {content['cells']} cells done ({parts})"]
    lines += [
        f"  {cell['arm']} seed {cell['seed']}: {cell['steps_done']} of {cell['steps']} steps are in a checkpoint"
        for cell in content["unfinished"]
    ]
    return f"{table(header, rows)}\n\n" + "\n".join(lines)


def _counted(outcomes: Counter[str]) -> dict[str, Any]:
    cells = outcomes.total()
    return {"cells": cells, "done": cells - outcomes[MISSING] - outcomes[PANELS_MISSING], "outcomes": dict(outcomes)}
