"""`optbench tune`, from a suite file to records, a file, and runs that use it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import optbench.tuning.engine as engine
from optbench.cli import main
from optbench.executors.events import NO_LOG, Summary
from optbench.runner import run_cell
from optbench.selection import narrowed
from optbench.store import Store
from optbench.suite import load_suite

ONLY = ["--only", "strategy=uniform", "--only", "optimizer=gd,optimizer=adamw"]


def optbench(monkeypatch, capsys, *words):
    """What the command line ends with, prints and says."""
    monkeypatch.setattr(sys, "argv", ["optbench", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_suite_is_tuned_and_run_with_what_was_chosen(suite_file, folder, monkeypatch, capsys):
    """Real cells, in worker processes of their own; then in this process, which must find the same."""
    suite_file(("  trials: 8", "  trials: 2"))
    words = [sys.executable, "-m", "optbench", "tune", "suite.yaml", "--workers", "2", *ONLY]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "Trial" not in done.stderr, "Optuna is heard"
    written = Path("results/tuned/suite.yaml")
    assert done.stderr.splitlines()[-1] == f"optbench run suite.yaml --overrides {written} {' '.join(ONLY)}"
    tuned = load_suite("suite.yaml", written).tuned
    assert [len(study.trials) for study in tuned.studies] == [2, 2]
    for study in tuned.studies:
        assert study.trials[study.best].score == min(trial.score for trial in study.trials)
        for trial in study.trials:
            (key,) = trial.keys
            record = Store("results/runs").record(key)
            assert record.cell["training"]["evaluate"] == "validation"
            assert record.cell["seed"] == 1000
            assert record.result["test_loss"] == trial.score

    def here(cells, results, **more):
        for cell in cells:
            run_cell(cell.spec, Store(results))
        return Summary(total=len(cells), already=0)

    monkeypatch.setattr(engine, "execute", here)
    monkeypatch.setattr("optbench.commands.tune.check_fits", lambda arms, workers: None)
    code, out, err = optbench(
        monkeypatch, capsys, "tune", "suite.yaml", *ONLY, "--results", "other", "--to", "o.yaml", "--format", "json"
    )
    assert code == 0, err
    content = json.loads(out)
    assert content["file"] == "o.yaml"
    assert Path("o.yaml").read_bytes() == written.read_bytes()
    for ours, theirs in zip(load_suite("suite.yaml", "o.yaml").tuned.studies, tuned.studies, strict=True):
        assert [(t.values, t.score, t.keys) for t in ours.trials] == [
            (t.values, t.score, t.keys) for t in theirs.trials
        ]

    monkeypatch.setattr("optbench.commands.run.execute", here)
    for verb in ("plan", "run", "report", "status"):
        code, out, err = optbench(monkeypatch, capsys, verb, "suite.yaml", *ONLY, "--overrides", written)
        assert (code, "adamw" in out) == (0, True), (verb, out, err)
    for cell in narrowed(
        load_suite("suite.yaml", written), ["strategy=uniform", "optimizer=gd,optimizer=adamw"]
    ).cells():
        (study,) = [study for study in tuned.studies if study.optimizer == cell.arm.optimizer]
        assert Store("results/runs").record(cell.key).cell["optimizer"]["rule"]["lr"] == study.chosen["rule.lr"]


def test_the_table_says_what_changed_and_what_lies_at_an_edge(suite_file, folder, cells_run, monkeypatch, capsys):
    suite_file(("{rule.lr: {low: 1e-4, high: 1e-1}}", "{rule.lr: {low: 1e-4, high: 1e-2}}"))
    code, out, err = optbench(monkeypatch, capsys, "tune", "suite.yaml", "--trials", "12")
    assert code == 0, err
    rows = {line.split()[0]: line for line in out.splitlines()}
    name = "linear-attention/icl-regression/adamw"
    tuned = load_suite("suite.yaml", "results/tuned/suite.yaml").tuned
    adamw = tuned.studies[1]
    first, best = adamw.trials[0], adamw.trials[adamw.best]
    for text in (
        "0.001",
        f"{best.values['rule.lr']:g}",
        f"{first.score:.4f}",
        f"{best.score:.4f}",
        "12",
        "36 s",
        "(edge)",
    ):
        assert text in rows[name]
    assert f"{name}: rule.lr = {best.values['rule.lr']:g} is at the upper end of what was searched: widen" in err
    gd = tuned.studies[0]
    lost = sum(trial.score is None for trial in gd.trials)
    assert lost > 0
    assert rows["linear-attention/icl-regression/gd"].split()[-4:-2] == ["12", str(lost)]


def test_what_lies_over_the_suite_is_in_the_command_that_uses_the_file(
    suite_file, folder, cells_run, monkeypatch, capsys
):
    """Runs without it would take other values beside those that were tuned."""
    suite_file()
    Path("my base.yaml").write_text("- {set: {optimizer: {max_norm: 3.0}}}\n")
    words = ["--overrides", "my base.yaml", "--only", "optimizer=adamw"]
    code, _, err = optbench(monkeypatch, capsys, "tune", "suite.yaml", "--trials", "2", *words, "--results", "r")
    assert code == 0
    assert "my base.yaml is put over the suite for the trials, and not written with them: runs take both" in err
    last = err.splitlines()[-1]
    over = "--overrides 'my base.yaml' --overrides results/tuned/suite.yaml"
    assert last == f"optbench run suite.yaml {over} --only optimizer=adamw --results r"
    files = [word for place, word in enumerate(shlex.split(last)) if shlex.split(last)[place - 1] == "--overrides"]
    suite = narrowed(load_suite("suite.yaml", files), ["optimizer=adamw"])
    (study,) = suite.tuned.studies
    for arm in suite.arms:
        assert arm.optimizer_spec.max_norm == 3.0
        assert arm.optimizer_spec.rule.lr == study.chosen["rule.lr"]
    comment = "# optbench tune suite.yaml --overrides 'my base.yaml' --only optimizer=adamw --trials 2\n"
    assert comment in Path("results/tuned/suite.yaml").read_text()


def test_an_interrupted_command_continues(suite_file, folder, cells_run, monkeypatch, capsys):
    suite_file()
    calm = engine.execute
    rounds = []

    def execute(cells, results, **more):
        rounds.append(cells)
        if len(rounds) == 2:
            raise KeyboardInterrupt
        return calm(cells, results, **more)

    monkeypatch.setattr(engine, "execute", execute)
    code, out, err = optbench(monkeypatch, capsys, "tune", "suite.yaml", "--trials", "3")
    assert (code, out) == (130, "")
    assert "the same command again continues" in err
    assert not Path("results/tuned").exists()
    before = len(cells_run)
    code, _, _ = optbench(monkeypatch, capsys, "tune", "suite.yaml", "--trials", "3")
    assert code == 0
    assert len(cells_run) - before == 12


def test_where_cells_fail_nothing_is_written(suite_file, folder, monkeypatch, capsys):
    suite_file()
    failed = {"an arm seed 1000": ("it broke", NO_LOG)}
    monkeypatch.setattr(engine, "execute", lambda cells, results, **more: Summary(len(cells), 0, failed=failed))
    code, out, err = optbench(monkeypatch, capsys, "tune", "suite.yaml")
    assert (code, out) == (1, "")
    assert "an arm seed 1000: it broke" in err
    assert "nothing was written" in err
    assert not Path("results/tuned").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "x.json"], "--to x.json: an overrides file ends in .yaml"),
        (["--to", "folder.yaml"], "--to folder.yaml: folder.yaml is a folder"),
        (["--to", "suite.yaml/x.yaml"], "--to suite.yaml/x.yaml: nothing can be written in suite.yaml"),
        (["--results", "suite.yaml"], "--results suite.yaml: is a file"),
        (
            ["--only", "optimizer=adm"],
            "--only optimizer=adm: no optimizer of suite.yaml is named so; did you mean adamw?",
        ),
        (["--overrides", "none.yaml"], "none.yaml: no such file"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    suite_file, folder, cells_run, monkeypatch, capsys, words, message
):
    suite_file()
    (folder / "folder.yaml").mkdir()
    code, out, err = optbench(monkeypatch, capsys, "tune", "suite.yaml", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert sorted(path.name for path in folder.iterdir()) == ["folder.yaml", "suite.yaml"]
    assert not cells_run


def test_without_optuna_the_extra_is_named(suite_file, folder, cells_run, monkeypatch, capsys):
    suite_file()
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = optbench(monkeypatch, capsys, "tune", "suite.yaml")
    assert code == 2
    assert "pip install 'optbench[tune]'" in err


def test_verbs_that_read_load_no_optuna(suite_file, folder):
    suite_file()
    code = (
        "import sys; sys.argv = ['optbench', 'plan', 'suite.yaml']\nfrom optbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not {'torch', 'optuna'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
