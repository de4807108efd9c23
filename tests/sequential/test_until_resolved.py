"""`optbench run --until-resolved` end to end, with a real model of a few thousand parameters."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from optbench.cli import app
from optbench.errors import UserError
from optbench.executors.dispatch import Worker, _Dispatch
from optbench.executors.events import Summary
from optbench.executors.jobs import Job
from optbench.executors.locks import Locks
from optbench.store import Store

SUITE = """
name: small
models: [{name: tiny, preset: llama-nano, width: 16, layers: 1, heads: 2, kv_heads: 1}]
tasks: [{name: sums, preset: arithmetic, train: 60, validation: 6, test: 12, kinds: [add1, add2]}]
strategies: [uniform]
optimizers: [adamw, {name: fast, preset: adamw, rule: {lr: 0.03}}, {name: other, preset: adamw, rule: {lr: 0.0101}}]
budget: {steps: 5}
training: {batch_size: 9}
seeds: 2
contrasts: [{of: {optimizer: fast}, minus: {optimizer: adamw}, metric: test_nll}]
"""


def optbench(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "small.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def finished(small):
    """The suite, run until a difference of learning rates is resolved, and what was said."""
    results = small.parent / "runs"
    words = ["optbench", "run", str(small), "--results", str(results), "--only", "optimizer=adamw,optimizer=fast"]
    words += ["--until-resolved", "0.5", "--max-hours", "1000", "--format", "json"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return results, json.loads(done.stdout), done.stderr


def test_seeds_are_added_until_it_is_resolved_and_each_look_is_told(finished):
    results, content, said = finished
    found = content["until_resolved"]
    assert (found["margin"], found["ended"]) == (0.5, "resolved")
    (contrast,) = found["contrasts"]
    assert (contrast["name"], contrast["verdict"]) == ("fast minus adamw", "better")
    assert contrast["n"] >= 4, "three seeds have no interval at any look"
    low, high = contrast["interval"]
    assert low < contrast["estimate"] < high < 0
    assert found["looks"] == said.count("\nlook ") >= 2
    assert "look 1: fast minus adamw -" in said
    assert "with a chance of 80%" in said
    assert said.rstrip().endswith(f"The contrast is resolved after {found['looks']} looks.")
    assert content["contrasts"][0]["interval"] == contrast["interval"], "reports and verdicts say the same"
    assert not (results / "locks").exists()


def test_all_who_read_see_the_added_seeds(small, finished):
    results, content, _ = finished
    n = content["until_resolved"]["contrasts"][0]["n"]
    cells = 2 * n + 2  # The arm that was left out has the suite's own two seeds.
    status = json.loads(optbench("status", small, "--results", results, "--format", "json").output)
    assert (status["cells"], status["done"]) == (cells, 2 * n)
    plan = json.loads(optbench("plan", small, "--results", results, "--format", "json").output)
    assert (plan["cells"], plan["done"]) == (cells, 2 * n)
    report = json.loads(optbench("report", small, "--results", results, "--format", "json").output)
    assert report["contrasts"] == content["contrasts"]
    verified = optbench("verify", small, "--results", results)
    assert verified.exit_code == 0, verified.output
    assert f"{2 * n} records verified" in verified.output


def test_archives_bundles_and_merged_folders_keep_them(small, finished, tmp_path):
    results, content, _ = finished
    some = tmp_path / "small.yaml"
    # A bundle takes the journals of suites that are whole in it: here without the arm that was not run.
    some.write_text(SUITE.replace(", {name: other, preset: adamw, rule: {lr: 0.0101}}", ""))
    assert optbench("run", some, "--results", results, "--until-resolved", 0.5, "--max-hours", 1000).exit_code == 0
    assert optbench("export", some, "--results", results, "--to", tmp_path / "x.zip").exit_code == 0
    assert optbench("archive", some, "--results", results, "--to", tmp_path / "x.jsonl").exit_code == 0
    assert optbench("merge", tmp_path / "x.zip", "--results", tmp_path / "merged").exit_code == 0
    for place in ("x.zip", "x.jsonl", "merged"):
        report = json.loads(optbench("report", some, "--results", tmp_path / place, "--format", "json").output)
        assert report["contrasts"][0]["n"] == content["until_resolved"]["contrasts"][0]["n"], place
        assert report["contrasts"][0]["interval"] == content["contrasts"][0]["interval"], place
    assert optbench("verify", tmp_path / "x.jsonl").exit_code == 0
    assert optbench("verify", tmp_path / "merged").exit_code == 0


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--until-resolved", "0.02"], "belong together"),
        (["--max-hours", "1"], "belong together"),
        (["--until-resolved", "0", "--max-hours", "1"], "a difference above 0"),
        (["--until-resolved", "nan", "--max-hours", "1"], "a difference above 0"),
        (["--until-resolved", "0.02", "--max-hours", "0"], "a time above 0"),
        (["--until-resolved", "0.02", "--max-hours", "1e-6"], "would do"),
        (["--until-resolved", "0.02", "--max-hours", "1", "--wandb", "offline"], "optbench wandb"),
        (["--until-resolved", "0.02", "--max-hours", "1", "--only", "optimizer=adamw"], "declares no contrasts"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(small, tmp_path, words, what):
    found = optbench("run", small, "--results", tmp_path / "none", *words)
    assert isinstance(found.exception, UserError), found.output
    assert what in str(found.exception)
    assert not (tmp_path / "none").exists()


class Pool:
    """One worker that ends a job whenever it is asked."""

    deaths, lost = 0, ""

    def __init__(self, workers):
        self.workers, self.given = workers, []

    def give(self, worker, job, **how):
        self.given.append(job.name)

    def messages(self, timeout):
        running = [worker for worker in self.workers if worker.attempt is not None]
        return [(running[0], {"event": "done", "outcome": "completed"})]

    def close(self):
        pass


def test_after_the_end_of_the_time_what_was_begun_is_ended_and_no_more_is_begun(tmp_path):
    pool = Pool([Worker("cpu", ready=True), Worker("cpu", ready=True)])
    jobs = [Job("cell", f"key-{name}", name, {}, 1) for name in "abcdef"]
    summary, locks = Summary(total=6, already=0), Locks(tmp_path)
    events = []
    _Dispatch(pool, jobs, Store(tmp_path), locks, summary, events.append, {}, lambda: len(pool.given) < 3).run()
    locks.close()
    assert pool.given == ["a", "b", "c"]
    assert sorted(event.job.name for event in events if event.kind == "done") == ["a", "b", "c"]
    assert summary.failed == {}
    assert summary.outcomes == {"completed": 3}
