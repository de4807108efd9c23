"""optbench inside other people's trainers: transformers' `Trainer` and TRL's `SFTTrainer`.

Nothing is imported before it is asked for: torch, transformers and trl are heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optbench.trainers.mixin import OptimizerMixin
    from optbench.trainers.recorder import LossRecorder
    from optbench.trainers.sft import OptbenchSFTTrainer
    from optbench.trainers.trainer import OptbenchTrainer

__all__ = ["LossRecorder", "OptbenchSFTTrainer", "OptbenchTrainer", "OptimizerMixin"]

_HOMES = {
    "LossRecorder": "optbench.trainers.recorder",
    "OptbenchSFTTrainer": "optbench.trainers.sft",
    "OptbenchTrainer": "optbench.trainers.trainer",
    "OptimizerMixin": "optbench.trainers.mixin",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'optbench.trainers' has no attribute {name!r}")
    return vars(importlib.import_module(_HOMES[name]))[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
