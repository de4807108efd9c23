"""How much disk a cell takes: its record for good, its checkpoints while it runs."""

from __future__ import annotations

from typing import Any

from optbench.planning.memory import Trained
from optbench.planning.rules import state_per_entry
from optbench.planning.workload import Workload
from optbench.profiling.memory import FLOAT32

RECORD = 9e3
"""Bytes of a record with its seal and the heads of its tables."""
PER_STEP = 48.0
"""Bytes of a step in the table of curves."""
PER_QUESTION = 60.0
"""Bytes of a question in the table of answers, beside the texts, which are packed: a third of a byte per character."""
PER_TOKEN = 1.6
PANEL_EXAMPLE = 400.0
"""Bytes that a panel keeps for each example that it follows."""
CHECKPOINTS = 2
"""Kept of a running cell at most."""
HALF = 2
"""Bytes per parameter of a checkpoint on the hub."""


def record_bytes(model: Any, training: Any, panels: Any, work: Workload) -> float:
    """What a finished cell leaves: record, curves, answers, findings of panels, weights of small models."""
    answers = float((work.prompts + work.answers).sum()) * PER_TOKEN + PER_QUESTION * len(work.prompts)
    weights = FLOAT32 * Trained.of(model.dimensions()).entries if model.is_small else 0.0
    found = sum(PANEL_EXAMPLE * examples_of(panel) / 2 for panel in panels)
    return float(RECORD + PER_STEP * training.steps + answers + weights + found)


def checkpoint_bytes(model: Any, optimizer: Any) -> float:
    """What a cell holds on disk while it runs, if it runs long enough for checkpoints: weights and state, twice."""
    trained = Trained.of(model.dimensions())
    hidden, others = state_per_entry(optimizer)
    once = (FLOAT32 + hidden) * trained.hidden + (FLOAT32 + others) * trained.others
    return CHECKPOINTS * once


def download_bytes(model: Any) -> float:
    """What a checkpoint on the hub takes in its cache, at two bytes per parameter."""
    return HALF * float(model.dimensions().matrix_parameters)


def examples_of(panel: Any) -> int:
    """How many examples a panel looks at; none for one that names no number."""
    return int(panel.examples) if "examples" in type(panel).model_fields else 0
