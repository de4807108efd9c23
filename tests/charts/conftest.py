"""Records made of numbers alone, with curves and with what the panel simplicity keeps."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reports.conftest import Bench, Cell

from optbench.store import CURVES, PANEL, PANELS, Store


def write_curve(bench: Bench, cell: Cell, losses: Sequence[float], *, passes: float = 1.0, loss_at=None) -> None:
    """The curve of a cell: one loss per step, `passes` passes each; `loss_at` says where each was taken."""
    steps = np.arange(len(losses))
    curve = pd.DataFrame({"step": steps, "loss": losses, "passes": passes * (steps + 1)})
    if loss_at is not None:
        curve["loss_at"] = loss_at
    curve.to_parquet(bench.store.folder(cell.key) / CURVES, index=False)


def write_lessons(bench: Bench, cell: Cell, learned: Sequence[float], never: float, *, key: str = "p" * 16) -> None:
    """What the panel simplicity keeps of a cell: looks at steps 0, 50 and 100, and when each example was learned."""
    folder = bench.store.folder(cell.key) / PANELS / key
    folder.mkdir(parents=True)
    found = {
        "panel": {"kind": "simplicity"},
        "result": {"learned": float(np.mean(learned)), "never_learned": never},
        "notes": {"looks": [0, 50, 100]},
    }
    (folder / PANEL).write_text(json.dumps(found))
    pd.DataFrame({"learned": learned}).to_parquet(folder / "examples.parquet", index=False)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Store(tmp_path / "runs"))
