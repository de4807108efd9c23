"""What a pretrained model scores before it is trained: what a gain is measured from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from optbench.cell import CellSpec
from optbench.metrics.columns import BEFORE
from optbench.spec import key_of
from optbench.store import write_whole
from optbench.tasks.base import Example, Task

if TYPE_CHECKING:
    from optbench.models.language_model import LanguageModel

PROTOCOL_REVISION = 1
RESULT = "result.json"
KEPT = ("accuracy", "test_nll", "bits_per_byte")
"""Columns that a record has twice: after training, and with `_before` in its name."""


def scores_before(cell: CellSpec, task: Task, model: LanguageModel, root: Path) -> dict[str, float]:
    """The columns of KEPT that the task has, measured on `model` as it was loaded, on the split that the cell is
    evaluated on. Empty for a model that starts from random weights.

    Measured once for all cells of the model and task, and kept below the folder of records.
    """
    if not cell.model.is_pretrained:
        return {}
    key = _key(cell)
    folder = root / "before" / key[:2] / key
    if not (folder / RESULT).is_file():
        training = cell.training
        examples: Sequence[Example] = task.test if training.evaluate == "test" else task.validation
        found = task.evaluate(examples, model, micro_batch=training.micro_batch).result
        result = {name: found[name] for name in KEPT if name in found and np.isfinite(found[name])}

        def fill(target: Path) -> None:
            (target / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

        write_whole(folder, fill)
    kept = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return {name + BEFORE: float(value) for name, value in kept.items()}


def _key(cell: CellSpec) -> str:
    training = cell.training
    parts = {"model": cell.model.identity(), "task": cell.task.identity(), "evaluate": training.evaluate}
    settings = {"precision": training.precision, "attention": training.attention}
    return key_of({"before": PROTOCOL_REVISION, **parts, **settings})
