"""`export`: the records of suites in one file, with answers, curves and findings of panels."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from optbench.archive import open_store
from optbench.bundling import write_bundle
from optbench.commands.chosen_cells import keys_of


def export(
    suites: Sequence[Path],
    results: Path,
    target: Path,
    *,
    without: Collection[str] = (),
    weights: bool = False,
    overrides: Sequence[str] = (),
    model: str = "",
) -> str:
    """Writes the bundle, with the files of `overrides` beside the suites, and says what is in it. Raises UserError as
    `keys_of` and `write_bundle` do."""
    store = open_store(results)
    keys = keys_of(suites, store, overrides=overrides, model=model)
    replaced = ", replaced" if os.path.isfile(target) else ""
    made = write_bundle(
        keys, suites, store, target, without=without, weights=weights, overrides=[Path(file) for file in overrides]
    )
    missing = f"; {len(keys) - made.records} cells have no record yet" if made.records < len(keys) else ""
    each = f"{made.bytes / made.records / 1e3:.1f} kB a record"
    return f"{target}: {made.records} of {len(keys)} records, {_size(made.bytes)}, {each}{replaced}{missing}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
