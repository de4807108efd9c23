"""Merging: the records of a bundle or another results folder, added to those that are there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet

from optbench.archive import open_store
from optbench.bundle import SUFFIX, Bundle
from optbench.bundling import same_table
from optbench.errors import UserError
from optbench.seal import SEAL
from optbench.sequential.journal import stated_in
from optbench.spec import canonical
from optbench.store import CURVES, PANELS, QUESTIONS, WEIGHTS, Store, panels_in, write_whole
from optbench.verification.evidence import Evidence
from optbench.verification.examine import Examiner
from optbench.verification.problem import Findings
from optbench.verification.walk import evidence_at


@dataclass
class Merged:
    """What became of the records: how many were added, were there already, and got further panels; the keys of those
    that were there with other content, with what differs; and why others were not taken."""

    added: int = 0
    equal: int = 0
    panels: int = 0
    conflicts: dict[str, str] = field(default_factory=dict)
    refused: Findings = field(default_factory=Findings)

    @property
    def is_well(self) -> bool:
        """Whether every record is there now, as the source has it."""
        return not self.conflicts and not self.refused.problems


def merge(source: Path, target: Store) -> Merged:
    """Adds the records at `source` that `target` lacks, each whole or not at all; those that are there stay.

    A record is taken where its hashes, its key and everything that follows from its content are right. Raises
    UserError, before anything is written, for a source that is not there, is an archive (which keeps numbers alone), or
    is a bundle in which any file differs from its hash. Seeds that were added to a suite there are added seeds here,
    too.
    """
    if not source.exists():
        raise UserError(f"{source}: is not there; merge takes a bundle (*{SUFFIX}) or a folder of records")
    if source.is_file():
        _check_bundle(source)
    elif target.root.exists() and source.resolve() == target.root.resolve():
        raise UserError(f"{source}: is the folder that is merged into")
    journals = [stated_in(*own, target.root) for own in open_store(source).journals().items()]
    merged, examiner = Merged(), Examiner()
    for evidence in evidence_at(source, merged.refused):
        if not evidence.kept:
            raise UserError(f"{evidence.where}: is a line of an archive, which keeps numbers alone: merge a bundle")
        examiner.examine(evidence, merged.refused)
        place = evidence.record.label(evidence.record.folder)
        if not any(problem.path.startswith(place) for problem in merged.refused.problems):
            _take(evidence, target, merged)
    if not (merged.added or merged.equal or merged.conflicts or merged.refused.problems):
        raise UserError(f"{source}: no records there; merge takes a bundle (*{SUFFIX}) or a folder of records")
    for journal, entries in journals:
        journal.join(entries)
    return merged


def _check_bundle(path: Path) -> None:
    if path.suffix != SUFFIX:
        raise UserError(f"{path}: is no bundle; merge takes a bundle (*{SUFFIX}) or a folder of records")
    with Bundle(path) as bundle:
        damaged = [*bundle.damaged_beside(), *(found for key in bundle.keys() for found in bundle.damaged(key))]
    if damaged:
        name, what = damaged[0]
        more = f", and {len(damaged) - 1} more files are damaged" if len(damaged) > 1 else ""
        raise UserError(f"{path}!{name}: {what}{more}; nothing was merged: get or export the bundle again")


def _take(evidence: Evidence, target: Store, merged: Merged) -> None:
    key, source = evidence.key, evidence.record.folder
    try:
        there = target.record(key)
    except UserError as error:
        merged.conflicts[key] = f"the record that is there is damaged: {error}"
        return
    if there is None:
        write_whole(target.folder(key), lambda folder: _copy(source, folder))
        merged.added += 1
        return
    assert evidence.content is not None
    differences = [*_other_content(evidence.content, there.content()), *_other_tables(source, target.folder(key))]
    for panel in sorted(evidence.panels):
        place = target.folder(key) / PANELS / panel
        if target.has_panel(key, panel):
            differences += _other_findings(evidence, target, panel)
        elif not differences:
            own = source / PANELS / panel
            write_whole(place, lambda folder, own=own: _copy_files(own, folder))  # type: ignore[misc]
            merged.panels += 1
    if differences:
        merged.conflicts[key] = f"differs in {', '.join(differences[:6])}"
    else:
        merged.equal += 1


def _copy(source: Path, folder: Path) -> None:
    """The files of a record and the findings of its panels; seals are made anew, for the files as they are now."""
    _copy_files(source, folder)
    for panel in panels_in(source):
        own = source / PANELS / panel
        write_whole(folder / PANELS / panel, lambda inner, own=own: _copy_files(own, inner))  # type: ignore[misc]


def _copy_files(source: Path, folder: Path) -> None:
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name != SEAL:
            shutil.copyfile(path, folder / path.name)


def _other_content(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """The blocks that are not alike; what was measured never is, and is no content."""
    for block in ("outcome", "plan", "optimizer"):
        if canonical({"x": one[block]}) != canonical({"x": other[block]}):
            yield block
    for name in sorted({*one["result"], *other["result"]}):
        if one["result"].get(name) != other["result"].get(name):
            yield f"result.{name}"


def _other_tables(source: Path, there: Path) -> Iterator[str]:
    for name in (QUESTIONS, CURVES):
        if (source / name).is_file() and (there / name).is_file() and not _same_file(source / name, there / name):
            yield name
    if (source / WEIGHTS).is_file() and (there / WEIGHTS).is_file():
        if (source / WEIGHTS).read_bytes() != (there / WEIGHTS).read_bytes():
            yield WEIGHTS


def _other_findings(evidence: Evidence, target: Store, panel: str) -> Iterator[str]:
    found, there = evidence.panels[panel].content, target.panel(evidence.key, panel)
    assert found is not None and there is not None
    for block in ("result", "notes"):
        if canonical({"x": found.get(block)}) != canonical({"x": there.get(block)}):
            yield f"{block} of the panel {panel}"


def _same_file(one: Path, other: Path) -> bool:
    left, right = (pyarrow.parquet.read_table(path, use_threads=False) for path in (one, other))
    return same_table(left, right)
