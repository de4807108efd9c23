"""`merge`: the records of a bundle or another folder, added to those that are there."""

from __future__ import annotations

from pathlib import Path

from optbench.merging import Merged, merge
from optbench.reports.escape import plain
from optbench.store import Store


def merged_into(source: Path, results: Path) -> tuple[str, bool]:
    """Merges, and says what became of the records; and whether all of them are there now. Raises UserError as `merge`
    does."""
    store = Store(results)
    found = merge(source, store)
    lines = [*found.refused.lines()]
    for key, what in sorted(found.conflicts.items()):
        lines.append(plain(f"{store.folder(key)}: conflict: {what}; the record that is there stays"))
    return "\n".join([*lines, _summary(found, source, results)]), found.is_well


def _summary(found: Merged, source: Path, results: Path) -> str:
    parts = [f"{found.added} added", f"{found.equal} there already"]
    if found.panels:
        parts.append(f"{found.panels} findings of panels added")
    if found.conflicts:
        parts.append(f"{len(found.conflicts)} in conflict")
    if found.refused.problems:
        parts.append(f"{len(found.refused.problems)} problems")
    return f"{source} into {results}: {', '.join(parts)}"
