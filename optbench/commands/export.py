"""`export`: the records of suites in one file, with answers, curves and findings of panels."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from optbench.archive import open_store
from optbench.bundling import write_bundle
from optbench.sequential.journal import with_added
from optbench.suite import load_suite


def export(
    suites: Sequence[Path], results: Path, target: Path, *, without: Collection[str] = (), weights: bool = False
) -> str:
    """Writes the bundle and says what is in it. Raises UserError as `write_bundle` does."""
    store = open_store(results)
    keys = {cell.key for path in suites for cell in with_added(load_suite(path), store).cells()}
    replaced = ", replaced" if os.path.isfile(target) else ""
    made = write_bundle(keys, suites, store, target, without=without, weights=weights)
    missing = f"; {len(keys) - made.records} cells have no record yet" if made.records < len(keys) else ""
    each = f"{made.bytes / made.records / 1e3:.1f} kB a record"
    return f"{target}: {made.records} of {len(keys)} records, {_size(made.bytes)}, {each}{replaced}{missing}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
