"""Cells and probes that were interrupted: records, findings of panels and times as if they never had been."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from cells import CELL, PANEL
from processes import killed

from optbench import checkpoint
from optbench.cell import CellSpec
from optbench.checkpoint import Statement
from optbench.cli import app
from optbench.errors import UserError
from optbench.executors import local
from optbench.metrics import cost
from optbench.panels.base import panel_key
from optbench.panels.eigen_directions import EigenDirections
from optbench.panels.sharpness import Sharpness
from optbench.panels.watch import Watch
from optbench.runner import run_cell
from optbench.store import Store, write_whole
from optbench.strategies.probe import ProbeRun, _Recorder
from optbench.strategies.probe_spec import ProbeSpec
from optbench.suite import load_suite

ALWAYS = 1e-9
SHARPNESS = Sharpness(looks=3, examples=4, budget=12, probes=6, hessian_products=3, ggn_products=3)
FSAM = {"kind": "sharpness_aware", "functional": True, "refresh_every": 3}
LINEAR = CellSpec.model_validate(
    {
        "model": {"kind": "linear_attention"},
        "task": {"kind": "icl_regression", "train": 4096, "validation": 0, "test": 100},
        "strategy": {"kind": "uniform"},
        "optimizer": {"rule": {"kind": "gd", "lr": 0.5}},
        "training": {"steps": 60, "batch_size": 256, "schedule": {"kind": "constant", "warmup": 0.0}},
        "seed": 0,
    }
)


class Interrupted(BaseException):
    """As final as a kill, as far as Python goes."""


def changed(cell=CELL, **parts):
    return CellSpec.model_validate({**cell.dump(), **parts})


def run(cell, root, panels=(), *, stop=(), minutes=ALWAYS):
    """Runs a cell, interrupted just after each of these steps and started again; its record."""
    for at in [*stop, 0]:

        def progress(done, total, at=at):
            if done == at:
                raise Interrupted

        try:
            record = run_cell(cell, Store(root), panels, progress=progress, checkpoint_minutes=minutes)
        except Interrupted:
            assert checkpoint.progress_of(Path(root), cell.key).step == at - 1 or at == 1
    return record


def contents(root, key):
    """Everything that a cell left but what is measured."""
    folder = Store(root).folder(key)
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "seal.json"):
        name = str(path.relative_to(folder))
        if path.suffix == ".json":
            found[name] = json.loads(path.read_text())
            assert found[name].pop("measured")
        else:
            found[name] = pd.read_parquet(path).to_csv() if path.suffix == ".parquet" else path.read_bytes()
    assert {"record.json", "curves.parquet", "weights.safetensors"} <= set(found)
    return found


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.mark.parametrize(
    ("cell", "panels"),
    [
        (changed(optimizer={"estimator": FSAM, "rule": {"kind": "muon"}, "max_norm": 1.0}), [PANEL, SHARPNESS]),
        (changed(strategy={"kind": "upsample", "probe": {"batch_size": 16}}), []),
        (LINEAR, [EigenDirections(looks=40)]),
    ],
    ids=["text", "probed", "regression"],
)
def test_an_interrupted_run_leaves_what_an_uninterrupted_one_leaves(cell, panels, tmp_path):
    record = run(cell, tmp_path / "once", panels, minutes=0.0)
    assert "resumed" not in record.measured
    steps = cell.training.steps
    stop = sorted(random.Random(cell.key).sample(range(2, steps), 2))
    again = run(cell, tmp_path / "again", panels, stop=stop)
    assert contents(tmp_path / "again", cell.key) == contents(tmp_path / "once", cell.key)
    assert sum(name.endswith("panel.json") for name in contents(tmp_path / "once", cell.key)) == len(panels)
    assert again.measured["resumed"] == 2
    assert not (tmp_path / "again" / "checkpoints").exists()


def test_the_time_of_all_sessions_is_added_up_and_the_highest_peak_counts(tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        run_cell(CELL, Store(tmp_path), progress=stop_at(20), checkpoint_minutes=ALWAYS)
    seconds = checkpoint.progress_of(tmp_path, CELL.key).seconds
    monkeypatch.setattr(cost, "peak_bytes", lambda device: 10)
    kept = checkpoint.newest_first(tmp_path, CELL.key)[0]
    state = json.loads((kept / "state.json").read_text())
    peak = dict(dict(state["dict"])["watch"]["dict"])["peak_bytes"]
    assert peak > 10
    record = run(CELL, tmp_path)
    assert record.measured["peak_bytes"] == peak
    assert record.measured["total_seconds"] > seconds
    spent = pd.read_parquet(Store(tmp_path).folder(CELL.key) / "curves.parquet")
    assert len(spent) == CELL.training.steps


def stop_at(step):
    def progress(done, total):
        if done == step:
            raise Interrupted

    return progress


def test_what_a_checkpoint_takes_is_not_the_memory_of_the_run(tmp_path, monkeypatch):
    forgotten = []
    monkeypatch.setattr(cost, "reset_peak", forgotten.append)
    run(CELL, tmp_path, minutes=0.0)
    before = len(forgotten)
    run(changed(seed=1), tmp_path)
    assert len(forgotten) == 2 * before + CELL.training.steps


def test_a_panel_asked_for_later_goes_on_as_well(tmp_path):
    run(CELL, tmp_path / "once", [PANEL], minutes=0.0)
    run(CELL, tmp_path / "again", minutes=0.0)
    run(CELL, tmp_path / "again", [PANEL], stop=(9, 21))
    assert contents(tmp_path / "again", CELL.key) == contents(tmp_path / "once", CELL.key)
    assert not (tmp_path / "again" / "checkpoints").exists()


def test_a_run_that_does_not_repeat_leaves_no_checkpoint_to_go_on_from(tmp_path):
    folder = run(CELL, tmp_path, minutes=0.0) and Store(tmp_path).folder(CELL.key)
    content = json.loads((folder / "record.json").read_text())
    content["result"]["final_loss"] += 1e-9
    (folder / "record.json").write_text(json.dumps(content))
    (folder / "seal.json").unlink()
    with pytest.raises(UserError, match="could not be repeated"):
        run(CELL, tmp_path, [PANEL])
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("panel", "said"),
    [
        (PANEL, "a panel that looks along training was not there to look"),
        (SHARPNESS.model_copy(update={"looks": 0}), ""),
    ],
)
def test_a_panel_that_joins_a_run_begins_it_anew_only_where_it_looks_along(panel, said, tmp_path, capsys):
    run(CELL, tmp_path / "once", [panel], minutes=0.0)
    with pytest.raises(Interrupted):
        run_cell(CELL, Store(tmp_path / "again"), progress=stop_at(20), checkpoint_minutes=ALWAYS)
    record = run(CELL, tmp_path / "again", [panel])
    errors = capsys.readouterr().err
    assert said in errors and bool(errors) == bool(said)
    assert record.measured.get("resumed", 0) == (0 if said else 1)
    assert contents(tmp_path / "again", CELL.key) == contents(tmp_path / "once", CELL.key)


def test_a_panel_that_leaves_a_run_is_left(tmp_path):
    with pytest.raises(Interrupted):
        run_cell(CELL, Store(tmp_path), [PANEL], progress=stop_at(20), checkpoint_minutes=ALWAYS)
    record = run(CELL, tmp_path)
    assert record.measured["resumed"] == 1
    assert not (record.path / "panels").exists() and not Store(tmp_path).has_panel(CELL.key, panel_key(PANEL))


def test_a_watch_goes_on_with_what_failed_and_what_its_looks_took():
    class Subject:
        device = "cpu"

    one, two = Watch(Subject(), None), Watch(Subject(), None)
    for watch in (one, two):
        watch._looking = {"a": (None, LookingAtNothing()), "b": (None, LookingAtNothing())}
        watch.seconds = {"a": 1.0, "b": 2.0}
    one._failed, one.peak_bytes = {"b"}, 10**18
    two.load_state_dict(one.state_dict())
    assert two.seconds == {"a": 2.0, "b": 4.0}
    assert two._failed == {"b"}
    assert two.peak_bytes == 10**18


class LookingAtNothing:
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        assert state == {}


@pytest.mark.parametrize("record", ["online", "looks"])
def test_an_interrupted_probe_is_the_probe(record, tmp_path, monkeypatch):
    spec = ProbeSpec(batch_size=16, record=record)
    probe = ProbeRun(spec, CELL.model, CELL.task.identity(), "float32", "sdpa")
    once = probe.run(CELL.task.build(), tmp_path / "once", device="cpu")
    real = _Recorder.end_step
    taken = []

    def ends(recorder):
        real(recorder)
        taken.append(1)
        if len(taken) in (5, 14):
            raise Interrupted

    monkeypatch.setattr(_Recorder, "end_step", ends)
    for _ in range(2):
        with pytest.raises(Interrupted):
            probe.run(CELL.task.build(), tmp_path / "again", device="cpu", checkpoint_minutes=ALWAYS)
    again = probe.run(CELL.task.build(), tmp_path / "again", device="cpu", checkpoint_minutes=ALWAYS)
    assert len(taken) == 2 + once.steps[-1], "each interruption costs the step that it came in"
    assert np.array_equal(again.losses, once.losses) and again.losses.dtype == once.losses.dtype
    assert again.flops == once.flops
    assert not (tmp_path / "again" / "checkpoints").exists()


def test_a_cell_that_diverges_or_runs_out_of_memory_leaves_no_checkpoint(tmp_path, monkeypatch):
    hot = changed(optimizer={"rule": {"kind": "gd", "lr": 1e18}})
    assert run(hot, tmp_path).outcome == "diverged"
    assert not (tmp_path / "checkpoints").exists()
    monkeypatch.setattr("optbench.runner._measured", lambda *given: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    assert run(CELL, tmp_path).outcome == "out_of_memory"
    assert not (tmp_path / "checkpoints").exists()


def test_a_crash_keeps_the_checkpoint(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("optbench.runner._evaluated", lambda *given: (_ for _ in ()).throw(RuntimeError("on purpose")))
        with pytest.raises(RuntimeError):
            run_cell(CELL, Store(tmp_path), checkpoint_minutes=ALWAYS)
    assert checkpoint.progress_of(tmp_path, CELL.key).step == CELL.training.steps
    assert run(CELL, tmp_path).outcome == "completed"


def left(root, key, step=3):
    statement = Statement(key, step, 24, {})
    write_whole(
        checkpoint.folder_of(root, key) / str(step),
        lambda folder: (folder / "checkpoint.json").write_text(statement.text()) and checkpoint.seal.seal(folder),
    )


def test_checkpoints_of_what_is_finished_are_removed_by_the_next_run(tmp_path):
    store = Store(tmp_path)
    for key in ("aa01", "bb02", "cc03", "dd04"):
        left(tmp_path, key)
    for key in ("aa01", "bb02"):
        store.folder(key).mkdir(parents=True)
        (store.folder(key) / "record.json").write_text("{}")
    (tmp_path / "probes" / "cc" / "cc03").mkdir(parents=True)
    checkpoint.remove_finished(store, {"bb02"})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["bb02", "dd04"]
    checkpoint.remove_finished(Store(tmp_path / "nothing"), set())


SUITE = """
models: [{name: tiny, preset: llama-nano, width: 16, layers: 1, heads: 2, kv_heads: 1}]
tasks: [{name: sums, preset: arithmetic, train: 120, validation: 12, test: 24, kinds: [add1, add2]}]
strategies: [uniform]
optimizers: [{name: fsam, estimator: {kind: sharpness_aware, functional: true, refresh_every: 3}, rule: {kind: muon}}]
budget: {steps: 240}
training: {batch_size: 16}
execution: {checkpoint_minutes: 1.0e-9}
panels:
  - preset: simplicity
    looks: 5
    examples: 40
    probe: {model: {kind: nano, family: llama, width: 8, layers: 1, heads: 1, kv_heads: 1}, batch_size: 16}
"""


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "suite.yaml").write_text(SUITE)
    return tmp_path / "suite.yaml"


def test_status_says_how_far_an_interrupted_cell_got(suite, tmp_path, capsys):
    (cell,) = load_suite(suite).cells()
    for step in (96, 9):
        left(tmp_path / "r", cell.key, step)
    words = ["status", str(suite), "--results", str(tmp_path / "r")]
    assert said(words, capsys).splitlines()[-1] == "  tiny/sums/uniform/fsam seed 0: 96 of 24 steps are in a checkpoint"
    content = json.loads(said([*words, "--format", "json"], capsys))
    assert content["unfinished"] == [{"arm": cell.arm.name, "seed": 0, "key": cell.key, "steps_done": 96, "steps": 24}]
    shutil.rmtree(tmp_path / "r" / "checkpoints")
    assert json.loads(said([*words, "--format", "json"], capsys))["unfinished"] == []


def said(words, capsys):
    typer.main.get_command(app)(words, standalone_mode=False)
    return capsys.readouterr().out


@pytest.mark.parametrize(("given", "found"), [("0", 0.0), ("0.5", 0.5), ("1e-9", 1e-9)])
def test_the_minutes_between_checkpoints_are_said_in_the_suite_and_enter_no_key(given, found, suite):
    before = load_suite(suite)
    suite.write_text(SUITE.replace("1.0e-9", given))
    after = load_suite(suite)
    assert after.execution.checkpoint_minutes == found
    assert [cell.key for cell in after.cells()] == [cell.key for cell in before.cells()]
    suite.write_text(SUITE.replace("execution: {checkpoint_minutes: 1.0e-9}\n", ""))
    assert load_suite(suite).execution.checkpoint_minutes == 10.0


@pytest.mark.parametrize("given", ["-1", ".inf", ".nan", "often"])
def test_minutes_that_are_none_are_refused(given, suite):
    suite.write_text(SUITE.replace("1.0e-9", given))
    with pytest.raises(Exception, match="execution.checkpoint_minutes"):
        load_suite(suite)


def started(suite, results, *more):
    words = [sys.executable, "-m", "optbench", "run", str(suite), "--results", str(results), *more]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def killed_at(process, root, key, step, session):
    """Kills the run once this session of it has written a checkpoint of this step or a later one, however much later:
    of those before there may be one already, where this process was slow to look."""
    while process.poll() is None:
        found = checkpoint.progress_of(root, key)
        if found is not None and found.step >= step and found.resumed == session:
            # The main process alone: its workers have to end by themselves.
            killed(process)
            return
        time.sleep(0.002)
    pytest.fail(process.communicate()[1].decode())


def test_a_run_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(suite, tmp_path):
    (cell,) = load_suite(suite).cells()
    run_cell(cell.spec, Store(tmp_path / "once"), cell.panels)
    points = sorted(random.Random(6).sample(range(1, 200), 3))
    for session, step in enumerate(points):
        killed_at(started(suite, tmp_path / "r"), tmp_path / "r", cell.key, step, session)
    done = started(suite, tmp_path / "r")
    errors = done.communicate()[1].decode()
    assert done.returncode == 0, errors
    assert contents(tmp_path / "r", cell.key) == contents(tmp_path / "once", cell.key)
    assert Store(tmp_path / "r").record(cell.key).measured["resumed"] == 3
    assert not (tmp_path / "r" / "checkpoints").exists()
    assert "Traceback" not in errors


MANY = (
    SUITE.replace("strategies: [uniform]", "strategies: [uniform, upsample]")
    .replace("optimizers: [", "optimizers: [adamw, preconditioned_functional_sam, ")
    .replace("steps: 240", "steps: 100")
)
KILLS = 50


def forked(cells, results):
    """The executor in a process of its own, its two workers in more, none of which has to load anything first."""
    process = os.fork()
    if process:
        return process
    status, context = 2, multiprocessing.get_context("fork")
    try:
        local.multiprocessing.get_context = lambda method: context
        status = 0 if local.execute(cells, results, workers=2, threads=1, checkpoint_minutes=ALWAYS).complete else 1
    finally:
        os._exit(status)


def ended(process):
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def victim(process, draw):
    """The executor, or one of its workers."""
    workers = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return int(draw.choice(workers)) if workers and draw.random() < 1 / 3 else process


@pytest.mark.slow
def test_fifty_kills_lose_nothing(suite, tmp_path, monkeypatch):
    monkeypatch.undo()  # With all the waiting for disks that there is.
    suite.write_text(MANY)
    cells = load_suite(suite).cells()
    for cell in cells:
        run_cell(cell.spec, Store(tmp_path / "once"), cell.panels)
    expected = {cell.key: contents(tmp_path / "once", cell.key) for cell in cells}
    draw, kills, rounds, resumed = random.Random(7), 0, 0, 0
    while kills < KILLS:
        results, status = tmp_path / f"round {rounds}", None
        while status != 0:
            process = forked(cells, results)
            # A third of them at any moment, the others within the steps, writes and removals that follow a checkpoint.
            early = draw.random() < 1 / 3
            until = time.monotonic() + draw.uniform(0.0, 2.0)
            seen = kept(results)
            while (status := ended(process)) is None and kills < KILLS:
                if time.monotonic() > until if early else kept(results) - seen:
                    time.sleep(0.0 if early else draw.uniform(0.0, 1.0))
                    with suppress(ProcessLookupError, FileNotFoundError):
                        os.kill(victim(process, draw), signal.SIGKILL)
                        kills += 1
                    seen, early, until = kept(results), draw.random() < 1 / 3, time.monotonic() + draw.uniform(0, 2)
                time.sleep(0.005)
            if status is None:
                status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            # A worker that dies over one cell again and again fails it, until the next run.
            assert status in (0, 1, -signal.SIGKILL)
            for cell in cells:
                if Store(results).has(cell.key):
                    assert contents(results, cell.key) == expected[cell.key]
        assert {cell.key: contents(results, cell.key) for cell in cells} == expected
        assert not (results / "checkpoints").exists()
        assert not [path for path in results.rglob("*") if path.name.endswith(".tmp")]
        resumed += sum(Store(results).record(cell.key).measured.get("resumed", 0) for cell in cells)
        rounds += 1
    assert resumed > 0
    print(f"{kills} kills, {rounds} times the suite, {resumed} times a cell went on")


def kept(root):
    return {(path.parent.name, path.name) for path in (root / "checkpoints").glob("*/[0-9]*")}
