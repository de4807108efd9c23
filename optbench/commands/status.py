"""`status`: how far a suite has come."""

from __future__ import annotations

from collections import Counter
from typing import Any

from optbench.commands.tables import table
from optbench.store import Store
from optbench.suite import Arm, Suite

MISSING, PANELS_MISSING = "missing", "panels_missing"
"""No record; a record, but not what all panels of the suite find."""


def status(suite: Suite, store: Store) -> dict[str, Any]:
    """Cells by what became of them, for the suite and for each arm."""
    found: dict[int, tuple[Arm, Counter[str]]] = {}
    for cell in suite.cells():
        record = store.record(cell.key)
        outcomes = found.setdefault(id(cell.arm), (cell.arm, Counter()))[1]
        lacking = PANELS_MISSING if cell.missing_panels(store) else ""
        outcomes[MISSING if record is None else lacking or record.outcome] += 1
    totals = sum((outcomes for _, outcomes in found.values()), Counter[str]())
    return {
        "suite": suite.name,
        **_counted(totals),
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
    return f"{table(header, rows)}\n\n{content['suite']}: {content['done']} of {content['cells']} cells done ({parts})"


def _counted(outcomes: Counter[str]) -> dict[str, Any]:
    cells = outcomes.total()
    return {"cells": cells, "done": cells - outcomes[MISSING] - outcomes[PANELS_MISSING], "outcomes": dict(outcomes)}
