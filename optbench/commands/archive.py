"""`archive`: the records of suites in one small file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optbench.archive import open_store, write_archive
from optbench.suite import load_suite


def archive(suites: Sequence[Path], results: Path, target: Path) -> str:
    """Writes the archive and says what is in it. Raises UserError as `write_archive` does."""
    keys = {cell.key for path in suites for cell in load_suite(path).cells()}
    written = write_archive(sorted(keys), open_store(results), target)
    size = target.stat().st_size / 1e6
    missing = f"; {len(keys) - written} cells have no record yet" if written < len(keys) else ""
    return f"{target}: {written} of {len(keys)} records, {size:.1f} MB{missing}"
