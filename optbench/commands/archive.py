"""`archive`: the records of suites in one small file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from optbench.archive import open_store, write_archive
from optbench.commands.chosen_cells import keys_of


def archive(
    suites: Sequence[Path], results: Path, target: Path, *, overrides: Sequence[str] = (), model: str = ""
) -> str:
    """Writes the archive and says what is in it. Raises UserError as `keys_of` and `write_archive` do."""
    store = open_store(results)
    keys = keys_of(suites, store, overrides=overrides, model=model)
    replaced = ", replaced" if os.path.isfile(target) else ""
    written = write_archive(sorted(keys), store, target)
    missing = f"; {len(keys) - written} cells have no record yet" if written < len(keys) else ""
    return f"{target}: {written} of {len(keys)} records, {_size(target.stat().st_size)}{replaced}{missing}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
