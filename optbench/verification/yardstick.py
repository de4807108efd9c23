"""Which examples the simplicity panel calls late, and how hard: worked out again from the probe that is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from optbench.cell import CellSpec
from optbench.panels.lessons import deciles
from optbench.panels.simplicity import Simplicity
from optbench.tasks.arithmetic import ArithmeticTask
from optbench.verification.shown import Unavailable, kept_probe


def wrong_yardstick(
    panel: Any, content: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], cell: CellSpec, root: Path
) -> Iterator[str]:
    """What in the table of examples is not what the probe below `root` says. Raises Unavailable where it cannot be
    known here; nothing for other panels."""
    if not isinstance(panel, Simplicity) or "examples" not in tables:
        return
    if not isinstance(cell.task, ArithmeticTask):
        raise Unavailable(f"data of the task {cell.task.kind} is not read again")
    probe = kept_probe(panel.probe, cell, root)
    if content["notes"].get("probe") != probe.key:
        yield f"notes.probe is {content['notes'].get('probe')!r}, but the probe of this panel is {probe.key!r}"
    train = cell.task.build().train
    late = panel.select.find(probe.losses, [example.source for example in train], seed=0)
    rows = np.linspace(0, len(train) - 1, min(panel.examples, len(train))).round().astype(int)
    expected = {
        "id": [train[row].id for row in rows.tolist()],
        "source": [train[row].source for row in rows.tolist()],
        "late": late[rows].tolist(),
        "decile": deciles(probe.losses.mean(axis=1)[rows]).tolist(),
    }
    for name, own in expected.items():
        if tables["examples"][name].tolist() != own:
            yield f"the column {name} of the table examples is not what its probe says"
