"""Cells end to end: the same numbers twice, whatever runs beside them; faults cost what they must and nothing more."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from processes import PATIENCE, children_of, killed, until

from optbench.executors.local import execute
from optbench.store import Store
from optbench.suite import load_suite

SMALL = """
name: small
models: [{name: tiny, preset: llama-nano, width: 16, layers: 1, heads: 2, kv_heads: 1}]
tasks: [{name: sums, preset: arithmetic, train: 120, validation: 12, test: 24, kinds: [add1, add2]}]
strategies: [uniform, upsample, augment, random_upsample, random_augment]
optimizers: [adamw, {name: muon-fsam, estimator: {kind: sharpness_aware, functional: true}, rule: {kind: muon}}]
budget: {steps: 6}
training: {batch_size: 16}
panels:
  - preset: simplicity
    looks: 2
    examples: 40
    probe: {model: {kind: nano, family: llama, width: 8, layers: 1, heads: 1, kv_heads: 1}, batch_size: 16}
"""
MEASURED = "measured"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    """The suite run once, in one process after the other."""
    results = tmp_path_factory.mktemp("once")
    summary = execute(load_suite(small).cells(), results, workers=1, threads=1)
    assert summary.complete, summary.failed
    return results


def contents(results):
    """Everything in the records but what is measured."""
    found = {}
    for path in sorted(Path(results).rglob("*")):
        name = str(path.relative_to(results))
        if path.name in ("record.json", "probe.json", "rewrite.json", "panel.json"):
            content = json.loads(path.read_text())
            assert content.pop(MEASURED)
            found[name] = content
        elif path.suffix == ".parquet":
            found[name] = pd.read_parquet(path).to_csv()
        elif path.is_file() and path.name != "seal.json":  # A seal is over measured times as well.
            found[name] = path.read_bytes()
    return found


def run(suite, results, **options):
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "optbench", "run", str(suite), "--results", str(results), *words]


def test_every_cell_has_a_record_that_says_what_ran(small, finished):
    store, cells = Store(finished), load_suite(small).cells()
    assert len(cells) == 10
    for cell in cells:
        record = store.record(cell.key)
        assert record.outcome == "completed"
        assert type(cell.spec).model_validate(record.cell) == cell.spec
        assert record.result["steps_done"] == 6
        assert record.result["passes"] == 6 * (2 if cell.arm.optimizer == "muon-fsam" else 1)
        assert len(store.questions(cell.key)) == 24
        assert record.result["accuracy"] == store.questions(cell.key).correct.mean()
        assert len(store.curves(cell.key)) == 6
        assert sum(claim["parameters"] for claim in record.optimizer["claims"].values()) > 0
    assert not list(finished.glob("**/.*.tmp"))


def test_the_same_suite_gives_the_same_bits_with_any_number_of_workers(small, finished, tmp_path):
    assert execute(load_suite(small).cells(), tmp_path, workers=2, threads=1).complete
    assert contents(tmp_path) == contents(finished)


def test_a_finished_suite_is_not_run_again(small, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    summary = execute(load_suite(small).cells(), finished, workers=2, threads=1)
    assert summary.already == 10
    assert summary.outcomes == {}
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_cells_of_one_model_share_one_probe_and_controls_are_not_charged(small, finished):
    # One of the strategies, one that all panels measure with.
    assert len(list((finished / "probes").glob("*/*/probe.json"))) == 2
    assert {json.loads(path.read_text())["notes"]["probe"] for path in finished.glob("*/*/panels/*/panel.json")} < {
        path.parent.name for path in (finished / "probes").glob("*/*/probe.json")
    }
    assert len(list(finished.glob("*/*/panels/*/panel.json"))) == 10
    shares = {
        cell.arm.strategy: Store(finished).record(cell.key).result["probe_share"] for cell in load_suite(small).cells()
    }
    assert shares["upsample"] > 0
    assert shares["augment"] > 0
    assert shares["uniform"] == shares["random_upsample"] == shares["random_augment"] == 0


def test_optimizers_at_one_seed_start_at_the_same_loss(small, finished):
    store = Store(finished)
    first = {store.curves(cell.key).loss[0] for cell in load_suite(small).cells() if cell.arm.strategy == "uniform"}
    assert len(first) == 1


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_and_run_again_the_records_are_those_of_an_uninterrupted_run(
    small, finished, tmp_path, seed
):
    process = subprocess.Popen(run(small, tmp_path, workers=2), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    # What comes before the first cell takes seconds, and more of them on a busy machine.
    until(lambda: has_begun(tmp_path) or process.poll() is not None, "the first cell")
    time.sleep(random.Random(seed).uniform(0, 10))
    killed(process)
    for record in Store(tmp_path).records():
        assert contents(record.path) == contents(Store(finished).folder(record.key))
    done = subprocess.run(run(small, tmp_path, workers=2), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == contents(finished)


def has_begun(results):
    """Whether a worker has a cell."""
    return any(results.glob("locks/*.lock"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_workers_end_with_their_parent(small, tmp_path):
    process = subprocess.Popen(run(small, tmp_path, workers=2), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    # The two workers, and what multiprocessing starts beside them.
    until(lambda: len(children_of(process.pid)) >= 3 or process.poll() is not None, "the start of the workers")
    assert len(killed(process)) >= 3


CRASHING = """
import errno, os, signal, torch
from pathlib import Path
import optbench.store
def first(own):  # It is tried before the first cell: what fails there is run in no cell.
    own.steps = getattr(own, "steps", 0) + 1
    return own.steps == 1
class Raises(torch.optim.SGD):
    def step(self, closure=None):
        if not first(self):
            raise RuntimeError("on purpose")
class Dies(torch.optim.SGD):
    def step(self, closure=None):
        if first(self):
            return
        with open(Path(__file__).with_name("died"), "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
class Full(torch.optim.SGD):
    def step(self, closure=None):
        def full(path):
            optbench.store._flush = flush
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        optbench.store._flush = full
        return super().step(closure)
flush = optbench.store._flush
"""


def test_a_crash_leaves_no_record_and_a_log_and_the_other_cells_go_on(tmp_path):
    (tmp_path / "bad.py").write_text(CRASHING)
    text = SMALL.replace("[uniform, upsample, augment, random_upsample, random_augment]", "[uniform]")
    bad = [
        f"{{name: {n}, rule: {{kind: torch, target: '{tmp_path}/bad.py:{n}', lr: 0.1}}}}"
        for n in ("Raises", "Dies", "Full")
    ]
    text = text.replace("[adamw, ", f"[{', '.join(bad)}, adamw, ")
    suite = tmp_path / "suite.yaml"
    suite.write_text(text)
    done = subprocess.run(run(suite, tmp_path / "r", workers=1), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    cells = {cell.arm.optimizer: cell for cell in load_suite(suite).cells()}
    store = Store(tmp_path / "r")
    assert {name: store.has(cell.key) for name, cell in cells.items()} == {
        "Raises": False,
        "Dies": False,
        "Full": False,
        "adamw": True,
        "muon-fsam": True,
    }
    log = tmp_path / "r" / "logs" / f"{cells['Raises'].key}.log"
    assert "on purpose" in log.read_text()
    assert str(log) in done.stderr
    dead = "the worker process died (exit code -9: killed by signal 9, possibly out of memory)"
    assert f"seed 0: {dead}; again on a fresh worker\n" in done.stderr
    assert f"seed 0: FAILED: {dead}, 2 times (log: " in done.stderr
    assert (tmp_path / "died").read_text() == "xx"
    assert "seed 0: FAILED: the results folder cannot be written to: No space left on device (log: " in done.stderr
    assert "3 failed; the same command again tries them once more" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "r").glob("**/.*.tmp"))


def test_divergence_is_a_recorded_outcome(tmp_path):
    suite = tmp_path / "suite.yaml"
    text = SMALL.replace("[uniform, upsample, augment, random_upsample, random_augment]", "[uniform]")
    suite.write_text(text.replace("[adamw, ", "[{name: hot, preset: gd, rule: {lr: 1.0e+20}}, "))
    cells = load_suite(suite).cells()
    assert execute(cells, tmp_path / "r", workers=1, threads=1).outcomes == {"diverged": 1, "completed": 1}
    record = Store(tmp_path / "r").record(cells[0].key)
    assert record.outcome == "diverged"
    assert "accuracy" not in record.result
    assert 0 < record.result["diverged_at"] <= 6


def test_editing_an_optimizer_of_ones_own_makes_new_cells(tmp_path):
    own = tmp_path / "own.py"
    own.write_text("import torch\n\n\nclass Own(torch.optim.SGD):\n    pass\n")
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        SMALL.replace("[adamw, ", f"[{{name: own, rule: {{kind: torch, target: '{own}:Own', lr: 0.1}}}}, ")
    )
    before = [cell.key for cell in load_suite(suite).cells()]
    moved = tmp_path / "moved.py"
    own.rename(moved)
    suite.write_text(suite.read_text().replace("own.py", "moved.py"))
    assert [cell.key for cell in load_suite(suite).cells()] == before
    moved.write_text(moved.read_text() + "\n# another line\n")
    after = [cell.key for cell in load_suite(suite).cells()]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True] * 5


def test_interrupted_by_ctrl_c_it_says_how_to_go_on(small, tmp_path):
    process = subprocess.Popen(
        run(small, tmp_path, workers=1),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell in the background lets its children ignore the signal, and they pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    # A cell has been begun: before that another sentence is said, without a number of cells.
    until(lambda: has_begun(tmp_path) or process.poll() is not None, "the first cell")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert "of 10 cells are done" in errors
    assert "the same command again continues" in errors
    assert "Traceback" not in errors
