"""The panels by kind, and the presets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optbench.panels.eigen_directions import EigenDirections
from optbench.panels.sharpness import Sharpness
from optbench.panels.simplicity import Simplicity
from optbench.plugins import one_of, with_entry_points
from optbench.spec import Spec

PANELS: dict[str, type[Spec]] = with_entry_points(
    "panels", {"sharpness": Sharpness, "simplicity": Simplicity, "eigen_directions": EigenDirections}
)

if TYPE_CHECKING:
    PanelSpec = Any
else:
    PanelSpec = one_of(PANELS)

PRESETS: dict[str, dict[str, Any]] = {kind: {"kind": kind} for kind in PANELS}
"""Panels by name: each kind with its defaults."""
