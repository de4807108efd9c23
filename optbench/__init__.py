"""optbench: the same suite of models, tasks and data strategies, run under many optimizers and compared fairly."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optbench.api import cells, contrasts, open_results, report, run
    from optbench.errors import UserError
    from optbench.optim.build import make_optimizer
    from optbench.oracle import Oracle
    from optbench.reweighting.recorded import later_learned
    from optbench.suite import load_suite

    __version__: str

__all__ = [
    "Oracle",
    "UserError",
    "__version__",
    "cells",
    "contrasts",
    "later_learned",
    "load_suite",
    "make_optimizer",
    "open_results",
    "report",
    "run",
]

_HOMES = {
    "Oracle": "optbench.oracle",
    "UserError": "optbench.errors",
    "cells": "optbench.api",
    "contrasts": "optbench.api",
    "later_learned": "optbench.reweighting.recorded",
    "load_suite": "optbench.suite",
    "make_optimizer": "optbench.optim.build",
    "open_results": "optbench.api",
    "report": "optbench.api",
    "run": "optbench.api",
}


def __getattr__(name: str) -> Any:
    # Imported when they are asked for: whoever reads a report need not wait for torch.
    if name == "__version__":
        return importlib.metadata.version("optbench")
    if name not in _HOMES:
        raise AttributeError(f"module 'optbench' has no attribute {name!r}")
    return vars(importlib.import_module(_HOMES[name]))[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
