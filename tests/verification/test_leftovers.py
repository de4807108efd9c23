"""What a process was writing when it was killed: no record and no findings, wherever records are read."""

import json
import os
import shutil

import pytest

from optbench.archive import write_archive
from optbench.bundling import write_bundle
from optbench.merging import merge
from optbench.store import PANELS, Store, panels_in, remove_leftovers, temporary_for
from optbench.verification.problem import Findings
from optbench.verification.walk import evidence_at


def copied(folder, process):
    """A whole copy of the folder under the name at which this process would write it."""
    ours = temporary_for(folder)
    copy = ours.with_name(ours.name.replace(f"-{os.getpid()}-", f"-{process}-"))
    shutil.copytree(folder, copy)
    return copy


@pytest.fixture
def leftovers(desk):
    """Of a record, and in it of a panel, by a process that is gone."""
    return [copied(desk.folder / PANELS / panels_in(desk.folder)[0], 999999999), copied(desk.folder, 999999999)]


def test_they_are_no_records_and_no_findings(desk, leftovers):
    keys = sorted(cell.key for cell in desk.suite.cells())
    panels = {key: panels_in(desk.store.folder(key)) for key in keys}
    assert {len(found) for found in panels.values()} == {len(desk.suite.panels)}
    assert [record.key for record in desk.store.records()] == keys
    archive, bundle = desk.root.parent / "all.jsonl", desk.root.parent / "all.zip"
    write_archive(keys, desk.store, archive)
    lines = [json.loads(line) for line in archive.read_text().splitlines()]
    assert {line["key"]: sorted(line["panels"]) for line in lines} == panels
    write_bundle(keys, [desk.path], desk.store, bundle)
    merged = Store(desk.root.parent / "merged")
    assert merge(bundle, merged).added == len(keys)
    assert {key: panels_in(merged.folder(key)) for key in keys} == panels


def test_they_are_named_and_the_next_run_removes_them(desk, leftovers):
    found = Findings()
    list(evidence_at(desk.root, found))
    assert sorted(problem.path for problem in found.problems) == sorted(map(str, leftovers))
    remove_leftovers(desk.root)
    assert not any(path.exists() for path in leftovers)


def test_what_a_living_process_writes_is_let_alone(desk):
    ours = [copied(desk.folder / PANELS / panels_in(desk.folder)[0], os.getpid()), copied(desk.folder, os.getpid())]
    found = Findings()
    list(evidence_at(desk.root, found))
    assert not found.problems
    remove_leftovers(desk.root)
    assert all(path.exists() for path in ours)
    merged = Store(desk.root.parent / "merged")
    assert merge(desk.root, merged).added == len(desk.suite.cells())
    assert panels_in(merged.folder(desk.key)) == panels_in(desk.folder)
    assert not list(merged.root.rglob("*.tmp"))
