"""Seconds of panels, from what a pass of the model takes."""

from __future__ import annotations

from typing import Any

SHARPNESS_PASSES = 100.0
"""Gradient-equivalents that a look at sharpness takes of its budget of 118 on most cells."""
GRAPH = 1.25
"""Second derivatives and vectors beside the passes they are counted in."""


def panel_seconds(panel: Any, pass_seconds: float, batch_size: int, steps: int) -> float | None:
    """Seconds of all looks of a panel, from those of a forward and backward pass of a batch; None for a panel that is
    not known."""
    if panel.kind == "sharpness":
        passes = min(panel.budget, SHARPNESS_PASSES) / (1 if panel.mode == "exact" else 2)
        return float(GRAPH * (panel.looks + 1) * passes * pass_seconds * panel.examples / batch_size)
    if panel.kind == "simplicity":
        return float((panel.looks + 1) * pass_seconds / 3 * panel.examples / batch_size)
    if panel.kind == "eigen_directions":
        return float(min(panel.looks, steps)) * 1e-4
    return None
