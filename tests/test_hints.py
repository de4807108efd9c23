"""Commands that are printed carry the options that chose the arms, and other verbs take the same options."""

import json
import os
import re
import shlex
import zipfile
from pathlib import Path

import pytest
from models.test_checkpoints import _save
from page.conftest import fill
from page.test_page import Page
from reports.conftest import Bench
from typer.testing import CliRunner

from optbench.archive import open_store
from optbench.bundle import Bundle
from optbench.cli import app
from optbench.errors import UserError
from optbench.page.page import page_text
from optbench.reports.leaderboard import render, report_of
from optbench.selection import narrowed
from optbench.store import Record, Store
from optbench.suite import load_suite
from optbench.suite_command import Asked

SUITE = """
models: [llama-nano]
tasks: [{name: sums, kind: arithmetic, train: 120, validation: 12, test: 12, kinds: [add1]}]
strategies: [uniform]
optimizers: [adamw, sam]
budget: {steps: 2}
training: {batch_size: 8}
"""
OVER = "- {where: {optimizer: adamw}, set: {optimizer: {rule: {lr: 0.1}}}}\n"
OPTIONS = [
    ["--overrides", "my over.yaml"],
    ["--overrides", "my over.yaml", "--overrides", "more.yaml"],
    ["--only", "optimizer=a*"],
    ["--model", "my model"],
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A suite, files to put over it, and a checkpoint, in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("my suite.yaml").write_text(SUITE)
    Path("my over.yaml").write_text(OVER)
    Path("more.yaml").write_text(OVER.replace("0.1", "0.2"))
    _save(tmp_path / "my model")
    return tmp_path


def call(*words):
    """What the command line prints, or says in refusing."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, UserError):
        return str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


def arms_of(words):
    """The keys of the cells that a command is about."""
    given = {name: [b for a, b in zip(words, words[1:], strict=False) if a == name] for name in words}
    suite = load_suite(words[2], given.get("--overrides", []), *given.get("--model", []))
    return [cell.key for cell in narrowed(suite, given.get("--only", [])).cells()]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda words: words[-1])
@pytest.mark.parametrize("verb", ["report", "wandb"])
def test_whoever_follows_a_hint_of_the_command_line_runs_the_same_arms(folder, verb, options):
    Path("some runs").mkdir()
    said = re.sub(r"\s+", " ", call(verb, "my suite.yaml", *options, "--results", "some runs"))
    found = re.search(r"optbench run .*? --results 'some runs'", said)
    assert found, said
    words = shlex.split(found[0])
    assert words == ["optbench", "run", "my suite.yaml", *options, "--results", "some runs"]
    assert arms_of(words) == arms_of(["optbench", verb, "my suite.yaml", *options])
    assert arms_of(words) != arms_of(["optbench", verb, "my suite.yaml"])


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        (Asked(overrides=["my over.yaml"]), "--overrides 'my over.yaml'"),
        (Asked(overrides=["a.yaml", "/home/some one/b.yaml"]), "--overrides a.yaml --overrides b.yaml"),
        (Asked(only=["model=*-nano", "optimizer=sam"]), "--only 'model=*-nano' --only optimizer=sam"),
        (Asked(model="my model"), "--model 'my model'"),
        (Asked(model="/mnt/disk/ckpt"), "--model ckpt"),
    ],
)
def test_the_commands_of_reports_and_pages_carry_the_options(tmp_path, monkeypatch, asked, options):
    monkeypatch.chdir(tmp_path)
    bench = Bench(Store("runs"))
    suite = bench.suite()
    suite.asked = asked
    fill(bench, suite, lambda cell: 0.5)
    given = shlex.join(asked.options)
    text = re.sub(r"\s+", " ", render(suite, bench.store, "table", width=500))
    assert f"raise seeds in suites/toy.yaml and run: optbench run suites/toy.yaml {given} --results runs" in text
    said = " ".join(Page(page_text(report_of(suite, bench.store), bench.store)).said.split())
    assert f"optbench run suites/toy.yaml {options} --results runs" in said
    assert f"optbench report suites/toy.yaml {options} --results runs --html page" in said


def test_options_are_no_part_of_a_key_and_narrowing_adds_to_them(folder):
    suite = load_suite("my suite.yaml", ["my over.yaml", "more.yaml"])
    few = narrowed(narrowed(suite, ["optimizer=a*"]), ["model=*"])
    assert few.asked == Asked(["my over.yaml", "more.yaml"], ["optimizer=a*", "model=*"], "")
    assert load_suite("my suite.yaml").asked == Asked([])
    assert [cell.key for cell in suite.cells()] == [
        cell.key for cell in load_suite("my suite.yaml", "more.yaml").cells()
    ]


def test_records_in_a_file_are_read_alone(tmp_path):
    (tmp_path / "x.jsonl").touch()
    assert Asked(only=["model=a b"]).run("x.yaml", tmp_path / "x.jsonl") == "optbench run x.yaml --only 'model=a b'"


@pytest.fixture
def recorded(folder):
    """Records of the suite with `my over.yaml` on top, of the arm that it changes alone."""
    (cell, _) = load_suite("my suite.yaml", "my over.yaml").cells()
    record = Record(cell.key, cell.spec.dump(), "completed", {"accuracy": 0.5, "steps_done": 2}, {}, {}, {})
    Store("runs").write(record, lambda folder: None)
    return cell.key


def test_export_and_archive_take_what_lies_over_the_suite(recorded):
    place = ["--results", "runs", "--to"]
    assert "no records of these suites" in call("export", "my suite.yaml", *place, "x.zip")
    Path("my suite.yaml").rename("suite.yaml")
    Path("my over.yaml").rename("over.yaml")
    over = ["--overrides", "over.yaml"]
    assert call("export", "suite.yaml", *over, *place, "x.zip").startswith("x.zip: 1 of 2 records")
    with zipfile.ZipFile("x.zip") as bundle:
        assert bundle.read("suites/overrides/over.yaml").decode() == OVER
    with Bundle(Path("x.zip")) as found:
        assert found.keys() == [recorded]
        assert [path.name for path in found.suites()] == ["suite.yaml"]
    assert call("archive", "suite.yaml", *over, *place, "x.jsonl").startswith("x.jsonl: 1 of 2 records")
    assert open_store(Path("x.jsonl")).has(recorded)
    for verb, target in (("export", "y.zip"), ("archive", "y.jsonl")):
        said = call(verb, "suite.yaml", "suite.yaml", *over, *place, target)
        assert said == (
            "--overrides over.yaml: names arms of one suite, and here are 2: give each a command of its own"
        )
        assert not Path(target).exists()


def test_a_file_over_the_suite_that_names_a_path_of_the_machine_is_not_published(recorded):
    Path("over.yaml").write_text("- {set: {task: {name: 'x'}, model: {path: /home/me/ckpt}}}\n")
    said = call("export", "my suite.yaml", "--overrides", "over.yaml", "--results", "runs", "--to", "x.zip")
    assert not Path("x.zip").exists() and said


def test_the_trials_of_a_file_over_the_suite_go_with_it(recorded):
    Path("suite.yaml").write_text(SUITE)
    Path("over.yaml").write_text(OVER)
    study = {
        "optimizer": "adamw",
        "where": {"optimizer": ["adamw"]},
        "arms": ["llama-nano/sums/uniform/adamw"],
        "space": {},
        "declared_by": "suite",
        "best": 0,
        "trials": [
            {"values": {"rule.lr": 0.1}, "sampler": "suite", "score": 0.5, "outcomes": {}, "keys": [], "seconds": 1.0}
        ],
    }
    Path("over.yaml").write_text("- {where: {optimizer: [adamw]}, set: {optimizer: {rule: {lr: 0.1}}}}\n")
    content = {"suite": "x", "score": "accuracy", "direction": "higher", "seeds": [1], "seed": 0, "studies": [study]}
    Path("over.json").write_text(json.dumps(content))
    call("export", "suite.yaml", "--overrides", "over.yaml", "--results", "runs", "--to", "x.zip")
    with zipfile.ZipFile("x.zip") as bundle:
        assert json.loads(bundle.read("suites/overrides/over.json")) == content


def test_export_and_archive_take_another_checkpoint(folder):
    suite = load_suite("my suite.yaml", checkpoint="my model")
    cell = suite.cells()[0]
    record = Record(cell.key, cell.spec.dump(), "completed", {"accuracy": 0.5, "steps_done": 2}, {}, {}, {})
    Store("runs").write(record, lambda folder: None)
    place = ["--results", "runs", "--to", "x.jsonl"]
    assert call("archive", "my suite.yaml", "--model", "my model", *place).startswith("x.jsonl: 1 of 2 records")
    Path("my suite.yaml").rename("suite.yaml")
    place = ["--results", "runs", "--to", "x.zip"]
    assert call("export", "suite.yaml", "--model", "my model", *place).startswith("x.zip: 1 of 2 records")
    found = json.loads(call("verify", "suite.yaml", "--model", "my model", "--results", "runs", "--format", "json"))
    assert (found["cells"], found["missing"]) == (2, 1)


def test_verify_takes_what_lies_over_a_suite_and_refuses_it_over_records(recorded):
    words = ["--results", "runs", "--format", "json"]
    counts = [json.loads(call("verify", "my suite.yaml", *more, *words))["missing"] for more in ([], OPTIONS[0])]
    assert counts == [2, 1]
    for option in (["--overrides", "my over.yaml"], ["--model", "my model"]):
        assert call("verify", "runs", *option) == (
            f"{option[0]}: chooses the cells of a suite, and runs holds records: name the suite file, and "
            "--results runs"
        )


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("tune", ["my suite.yaml"]),
        ("challenge", ["adamw", "--suite", "quick", "--budget", "1h"]),
        ("conform", ["adamw"]),
    ],
)
def test_verbs_that_would_do_all_in_every_process_are_refused_under_torchrun(folder, monkeypatch, verb, words):
    before = sorted(os.listdir())
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "MASTER_ADDR": "x", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    assert call(verb, *words) == (
        f"{verb}: not under torchrun, for each of its processes would do all of it: start it as optbench {verb} ..."
    )
    assert sorted(os.listdir()) == before
