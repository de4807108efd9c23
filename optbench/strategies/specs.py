"""The strategies by kind, and the presets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optbench.plugins import one_of, with_entry_points
from optbench.spec import Spec
from optbench.strategies.later_learned import Augment, RandomAugment, RandomUpsample, Upsample
from optbench.strategies.uniform import Uniform

STRATEGIES: dict[str, type[Spec]] = with_entry_points(
    "strategies",
    {
        "uniform": Uniform,
        "upsample": Upsample,
        "augment": Augment,
        "random_upsample": RandomUpsample,
        "random_augment": RandomAugment,
    },
)

if TYPE_CHECKING:
    StrategySpec = Any
else:
    StrategySpec = one_of(STRATEGIES)

PRESETS: dict[str, dict[str, Any]] = {kind: {"kind": kind} for kind in STRATEGIES}
"""Strategies by name: each kind with its defaults."""
