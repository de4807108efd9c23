"""Records that cannot be read and folders that cannot be written to: named, with what to do, before anything runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import UPSAMPLE

import optbench.commands.run as command
from optbench.commands.status import status
from optbench.errors import UserError
from optbench.executors import worker
from optbench.executors.events import Summary
from optbench.executors.jobs import jobs_for
from optbench.panels.base import panel_key
from optbench.reports.leaderboard import render
from optbench.runner import run_cell
from optbench.store import PANEL, PANELS, RECORD, Store, is_leftover, temporary_for
from optbench.suite import load_suite

LOOKS = "panels: [eigen_directions]\n"


@pytest.fixture
def recorded(suite, tmp_path):
    """A suite of one cell with its record and what a panel found."""
    loaded = load_suite(suite(more=LOOKS))
    store = Store(tmp_path / "r")
    (cell,) = loaded.cells()
    run_cell(cell.spec, store, cell.panels)
    return loaded, cell, store


@pytest.fixture
def never(monkeypatch):
    monkeypatch.setattr(command, "execute", lambda *given, **more: pytest.fail("something was run"))


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def edit(path):
    path.write_bytes(path.read_bytes().replace(b'"steps_done": 4', b'"steps_done": 9'))


def strange(path):
    content = json.loads(path.read_bytes()) | {"result": "good"}
    path.write_text(json.dumps(content))
    (path.parent / "seal.json").unlink()


def folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = {
    "cut": (cut, "damaged record"),
    "empty": (lambda path: path.write_bytes(b""), "damaged record"),
    "noise": (lambda path: path.write_bytes(bytes(range(256))), "damaged record"),
    "deep": (lambda path: path.write_text("[" * 100_000), "damaged record"),
    "other": (lambda path: path.write_text("[]"), "damaged record (no key, cell"),
    "edited": (edit, "does not match its seal"),
    "strange": (strange, "damaged record (bad result)"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_record_is_named_by_run_status_and_report_and_stays_as_it_is(recorded, never, case):
    loaded, cell, store = recorded
    damage, words = DAMAGE[case]
    path = store.folder(cell.key) / RECORD
    damage(path)
    before = {each: each.read_bytes() for each in store.root.rglob("*") if each.is_file()}
    for ask in (
        lambda: command.run(loaded, store.root),
        lambda: status(loaded, store),
        lambda: render(loaded, store, "table", width=100, color=False),
    ):
        with pytest.raises(UserError) as said:
            ask()
        assert str(said.value).startswith(f"{path}: {words}")
        assert "delete its folder to run the cell again" in str(said.value)
    assert {each: each.read_bytes() for each in store.root.rglob("*") if each.is_file()} == before


def test_a_damaged_panel_is_named(recorded, never):
    loaded, cell, store = recorded
    path = store.folder(cell.key) / PANELS / panel_key(cell.panels[0]) / PANEL
    cut(path)
    with pytest.raises(UserError, match="damaged panel"):
        command.run(loaded, store.root)


@pytest.mark.parametrize("take_away", [lambda path: path.unlink(), folder], ids=["gone", "a folder"])
def test_a_folder_without_its_record_is_in_the_way_and_named(recorded, never, take_away):
    loaded, cell, store = recorded
    take_away(store.folder(cell.key) / RECORD)
    with pytest.raises(UserError) as said:
        command.run(loaded, store.root)
    assert str(said.value).startswith(f"{store.folder(cell.key)}: has no record.json; delete its folder")
    # Whoever writes there after all is told, too: the new record would be dropped.
    with pytest.raises(UserError, match="delete its folder to run the cell again"):
        run_cell(cell.spec, store)


def test_a_record_that_may_not_be_read_is_named(recorded, never, monkeypatch):
    loaded, cell, store = recorded

    def refused(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(store.root), "read_bytes", refused)
    with pytest.raises(UserError, match=r"record\.json: cannot be read \(Permission denied\); "):
        command.run(loaded, store.root)


def test_all_damaged_records_are_named_at_once_up_to_ten(suite, tmp_path, never):
    loaded = load_suite(suite(more="seeds: 12\n"))
    store = Store(tmp_path / "r")
    for cell in loaded.cells():
        store.folder(cell.key).mkdir(parents=True)
        (store.folder(cell.key) / RECORD).write_text("")
    with pytest.raises(UserError) as said:
        command.run(loaded, store.root)
    lines = str(said.value).splitlines()
    assert (len(lines), lines[-2:]) == (12, ["and 2 more", "nothing was run"])


@pytest.mark.parametrize("name", ["probe.json", "losses.npy"])
def test_a_damaged_probe_is_named(suite, tmp_path, name):
    loaded = load_suite(suite(strategies=UPSAMPLE))
    store = Store(tmp_path / "r")
    probe = next(job for job in jobs_for(loaded.cells(), store) if job.kind == "probe")
    place = store.root / "probes" / probe.key[:2] / probe.key
    place.mkdir(parents=True)
    (place / "probe.json").write_text('{"steps": [1], "flops": 1, "measured": {"seconds": 1}}')
    (place / name).write_text("{")
    with pytest.raises(UserError) as said:
        jobs_for(loaded.cells(), store)
    assert str(said.value).startswith(f"{place}: damaged probe")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder where nobody can write")
def test_a_folder_that_nobody_can_write_to_is_refused_before_anything_runs(suite, never):
    with pytest.raises(UserError, match=r"--results /proc/none: /proc cannot be written to \("):
        command.run(load_suite(suite()), command.Path("/proc/none"))


def test_a_full_disk_is_refused_before_anything_runs(suite, never, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command.os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot be written to \(No space left on device\)"):
        command.run(load_suite(suite()), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_looking_whether_it_can_write_leaves_nothing(suite, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "execute", lambda cells, *given, **more: Summary(total=len(cells), already=0))
    (tmp_path / "r").mkdir()
    command.run(load_suite(suite()), tmp_path / "r")
    assert not list((tmp_path / "r").iterdir())


def test_temporary_folders_of_other_machines_are_left_over_only_when_they_are_old(tmp_path):
    ours = temporary_for(tmp_path / "ab" / "abcd")
    ours.mkdir(parents=True)
    assert not is_leftover(ours)
    dead = ours.with_name(ours.name.replace(f"-{os.getpid()}-", "-999999999-"))
    dead.mkdir()
    assert is_leftover(dead)
    elsewhere = dead.with_name(dead.name[:-12] + "01234567.tmp")
    elsewhere.mkdir()
    assert not is_leftover(elsewhere)
    os.utime(elsewhere, (0, 0))
    assert is_leftover(elsewhere)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_process_that_ended_unasked_for_is_not_writing(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ours = temporary_for(tmp_path / "ab" / "abcd")
    theirs = ours.with_name(ours.name.replace(f"-{os.getpid()}-", f"-{process.pid}-"))
    theirs.mkdir(parents=True)
    try:
        assert not is_leftover(theirs)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # Ended, and still in the table of processes.
        assert is_leftover(theirs)
    finally:
        process.kill()
        process.communicate()


class Short:
    """Stands in for training, and runs out of memory."""

    def __init__(self):
        self.calls = 0

    def __call__(self, *given, **more):
        self.calls += 1
        raise MemoryError("not enough")


def attempt(job, store, last):
    how = {"device": "cpu", "contended": False, "tracked": None, "checkpoint_minutes": 0.0}
    return worker.attempted(job, store.root, last=last, say=lambda message: None, **how)


def test_out_of_memory_is_a_record_in_the_last_attempt_alone(suite, tmp_path, monkeypatch):
    monkeypatch.setattr("optbench.runner.trained", Short())
    loaded, store = load_suite(suite()), Store(tmp_path / "r")
    (job,) = jobs_for(loaded.cells(), store)
    assert attempt(job, store, last=False) == {"event": "memory", "reason": "out of memory on cpu (not enough)"}
    assert not store.has(job.key)
    assert attempt(job, store, last=True) == {"event": "done", "outcome": "out_of_memory"}
    assert store.record(job.key).outcome == "out_of_memory"


def test_a_probe_that_runs_out_of_memory_is_tried_again_as_well(suite, tmp_path, monkeypatch):
    monkeypatch.setattr("optbench.strategies.probe.ProbeRun.run", Short())
    loaded, store = load_suite(suite(strategies=UPSAMPLE)), Store(tmp_path / "r")
    probe = next(job for job in jobs_for(loaded.cells(), store) if job.kind == "probe")
    assert attempt(probe, store, last=False)["event"] == "memory"
    with pytest.raises(MemoryError):
        attempt(probe, store, last=True)
