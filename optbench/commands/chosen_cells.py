"""The cells of the suites that a command names, for what writes their records elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.errors import UserError
from optbench.sequential.journal import with_added
from optbench.suite import load_suite

if TYPE_CHECKING:
    from optbench.store import Store


def keys_of(suites: Sequence[Path], store: Store, *, overrides: Sequence[str] = (), model: str = "") -> set[str]:
    """The keys of all cells of the suites, with the seeds that were added to them in this store. `overrides` and
    `model` as for `load_suite`. Raises UserError for overrides of several suites: they name the arms of one."""
    if overrides and len(suites) > 1:
        raise UserError(
            f"--overrides {overrides[0]}: names arms of one suite, and here are {len(suites)}: give each a command of "
            "its own"
        )
    return {cell.key for path in suites for cell in with_added(load_suite(path, overrides, model), store).cells()}
