"""`optbench run` under torchrun: the records of one process, from one of them, and mistakes told once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cells import CELL
from test_distributed import free_port, together

import optbench.runner
from optbench.commands.run import _together
from optbench.distributed.alarm import Ended
from optbench.errors import UserError
from optbench.executors.jobs import Job
from optbench.executors.local import execute
from optbench.executors.together import _done
from optbench.store import Store
from optbench.suite import load_suite

SUITE = """
name: small
models: [{name: tiny, preset: llama-nano, width: 16, layers: 1, heads: 2, kv_heads: 1}]
tasks: [{name: sums, preset: arithmetic, train: 60, validation: 6, test: 12, kinds: [add1, add2]}]
strategies: [upsample]
optimizers: [{name: fsam, estimator: {kind: sharpness_aware, functional: true}, rule: {kind: adamw, lr: 0.01}}]
budget: {steps: 5}
training: {batch_size: 9}
panels:
  - preset: simplicity
    looks: 2
    examples: 40
    probe: {model: {kind: nano, family: llama, width: 8, layers: 1, heads: 1, kv_heads: 1}, batch_size: 16}
"""


def test_the_records_are_those_of_one_process(tmp_path):
    suite = tmp_path / "small.yaml"
    suite.write_text(SUITE)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--master-port", str(free_port()), "-m"]
    words = ["optbench", "run", str(suite), "--results", str(tmp_path / "two")]
    done = subprocess.run(
        [*torchrun, *words], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("1 of 1 cells have records") == 1, "the ranks report in chorus"
    assert done.stderr.count("1 of 1 cells have records and all panels") == 1, done.stderr

    (cell,) = load_suite(suite).cells()
    summary = execute([cell], tmp_path / "one", workers=1, threads=1)
    assert summary.complete, summary.failed
    two, one = (Store(tmp_path / name).record(cell.key) for name in ("two", "one"))
    assert two is not None, "another key"
    assert set(two.result) == set(one.result)
    for name, value in one.result.items():
        assert two.result[name] == pytest.approx(value, rel=1e-6), name
    assert two.plan == one.plan
    assert two.cell == one.cell
    assert len(two.optimizer["observed"]) == len(one.optimizer["observed"]) > 0
    assert two.measured["provenance"]["ranks"] == 2
    assert "ranks" not in one.measured["provenance"]
    assert two.measured["contended"] is False
    panels = [json.loads(next((tmp_path / name).rglob("panel.json")).read_text())["result"] for name in ("two", "one")]
    assert panels[0] == pytest.approx(panels[1], rel=1e-5)
    assert not [path for path in (tmp_path / "two").rglob("*") if "checkpoints" in path.parts or path.suffix == ".lock"]


def test_a_mistake_is_told_once_and_ends_all_ranks_with_2(tmp_path):
    suite = tmp_path / "small.yaml"
    suite.write_text(SUITE.replace("batch_size: 9", "batch_size: 9, shift: per_rank, ranks: 3"))
    ended = together("-m", "optbench", "run", suite, "--results", tmp_path / "none")
    assert [code for code, _, _ in ended] == [2, 2], ended
    said = "".join(err for _, _, err in ended)
    assert said.count("this run has 2: start it as torchrun --nproc-per-node 3") == 1, said
    assert not said.count("Traceback")
    assert not (tmp_path / "none").exists()
    assert os.listdir(tmp_path) == ["small.yaml"]


class Second:
    """The second of two ranks, without the first."""

    rank, size = 1, 2

    def provenance(self):
        return {"ranks": 2}


def test_a_rank_that_runs_out_of_memory_records_it_for_all(tmp_path, monkeypatch):
    def too_large(*_, **__):
        raise MemoryError("no room for the gradient")

    monkeypatch.setattr(optbench.runner, "trained", too_large)
    job = Job("cell", CELL.key, "tiny", CELL.dump(), steps=24)
    with pytest.raises(Ended, match="tiny: out of memory, and its record says so") as ended:
        _done(job, Store(tmp_path), Second(), "cpu", 0.0, print)
    assert ended.value.code == 1
    record = Store(tmp_path).record(CELL.key)
    assert record.outcome == "out_of_memory"
    assert record.plan == {"reason": "no room for the gradient"}
    assert record.measured["provenance"]["ranks"] == 2


def test_what_does_not_go_with_torchrun_is_said(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SUITE)
    suite = load_suite(path)
    with pytest.raises(UserError, match="--executor ray: under torchrun"):
        _together("ray", None, suite, Second(), "cpu")
    with pytest.raises(UserError, match="--wandb: not under torchrun"):
        _together("local", object(), suite, Second(), "cpu")
