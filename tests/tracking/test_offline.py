"""`optbench run --wandb offline`: what is in the runs, what is not, and that the records do not notice."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from processes import until
from tracking_cases import PLANTED, STEPS, orphans

import optbench
from optbench.metrics.columns import column
from optbench.panels.base import panel_key
from optbench.panels.sharpness import Sharpness
from optbench.reports.leaderboard import report_of
from optbench.suite import load_suite
from optbench.tracking.content import content_of
from optbench.tracking.labels import labels_of


@pytest.fixture(scope="module")
def runs(tracked):
    assert tracked.code == 0, tracked.err
    return tracked.runs()


@pytest.fixture(params=["adamw", "fsam"])
def pair(request, tracked, runs):
    """A cell, its record, and its run of W&B."""
    cell = tracked.cells()[request.param]
    (run,) = [run for id, run in runs.items() if id.startswith(cell.key)]
    return cell, tracked.store.record(cell.key), run


@pytest.fixture
def summary(runs):
    (run,) = [run for id, run in runs.items() if id.startswith("summary")]
    return run


def test_records_are_the_same_bits_with_and_without(tracked, untracked):
    for cell in tracked.cells().values():
        one, other = tracked.store.record(cell.key).content(), untracked.record(cell.key).content()
        assert one.pop("measured") and other.pop("measured")
        assert one == other
        for table in ("questions", "curves"):
            mine, theirs = (getattr(store, table)(cell.key) for store in (tracked.store, untracked))
            pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
        names = {path.name for path in tracked.store.folder(cell.key).iterdir()}
        assert names == {path.name for path in untracked.folder(cell.key).iterdir()}


def test_a_run_for_each_cell_and_one_for_the_suite(tracked, runs):
    keys = [cell.key for cell in tracked.cells().values()]
    assert sorted(id.split("-")[0] for id in runs) == sorted([*keys, "summary"])
    assert len({id.split("-")[1] for id in runs}) == 1
    assert {run.about.run_group for run in runs.values()} == {"small"}
    assert {run.about.project for run in runs.values()} == {"optbench"}
    assert {run.exit_code for run in runs.values()} == {0}


def test_it_is_called_after_its_arm(pair):
    cell, _, run = pair
    assert run.about.display_name == f"{cell.arm.name} seed 0"
    assert run.about.job_type == "cell"
    assert list(run.about.tags) == [
        "model:tiny",
        "task:sums",
        "strategy:uniform",
        f"optimizer:{cell.arm.optimizer}",
        f"budget:{STEPS} steps",
    ]


def test_the_settings_are_the_whole_spec(pair):
    cell, record, run = pair
    assert {name: run.config[name] for name in record.cell} == json.loads(json.dumps(record.cell))
    assert run.config["key"] == cell.key
    assert run.config["suite"] == "small"
    assert run.config["provenance"] == record.measured["provenance"]
    assert run.config["claims"] == record.optimizer["claims"]


def test_the_curves_are_those_of_the_record_step_by_step(pair, tracked):
    cell, _, run = pair
    curves = tracked.store.curves(cell.key)
    assert len(run.history) == STEPS
    for row, (_, expected) in zip(run.history, curves.iterrows(), strict=True):
        assert row["_step"] == expected["step"]
        for name in ("loss", "gradient_norm", "lr_scale", "tokens", "passes"):
            assert row[name] == expected[name], name


def test_the_first_rows_are_logged_while_the_cell_trains(pair):
    # The whole curve is written within an instant where it comes from the record alone.
    _, record, run = pair
    moments = [row["_timestamp"] for row in run.history]
    assert moments[31] - moments[0] > 5 * record.measured["step_seconds"]


def test_the_summary_is_the_record_with_units(pair):
    _, record, run = pair
    shown = {name: value for name, value in run.summary.items() if not name.startswith("_")}
    numbers = {**record.result, **record.measured}
    expected = {
        f"{name} ({column(name).unit})" if column(name).unit else name: value
        for name, value in numbers.items()
        if type(value) in (int, float)
    }
    assert "accuracy (fraction)" in expected and "step_seconds (s)" in expected
    assert shown.pop("questions")["nrows"] == 24
    assert shown == {**expected, "outcome": "completed", "contended": False}


def test_the_questions_are_those_of_the_record(pair, tracked):
    cell, _, run = pair
    questions = tracked.store.questions(cell.key)
    columns, rows = run.table("questions")
    assert columns == list(questions)
    expected = questions.astype(object).where(questions.notna(), None)
    assert rows == [list(row) for row in expected.itertuples(index=False)]


def test_artifacts_lie_inside_the_run_wherever_the_folder_goes(runs, tracked):
    for id, run in runs.items():
        (artifact,) = run.artifacts
        kind = "board" if id.startswith("summary") else "questions"
        assert (artifact.type, artifact.name) == (kind, f"{kind}-{id}")
        for entry in artifact.manifest.contents:
            path = tracked.results / entry.local_path
            assert not Path(entry.local_path).is_absolute()
            assert path.is_relative_to(run.folder)
            assert path.stat().st_size == entry.size
        for path in run.files:
            assert (run.folder / "files" / path).is_file()


def test_the_summary_has_the_answer_the_report_and_the_contrasts(summary, tracked):
    report = report_of(load_suite(tracked.suite), tracked.store)
    _, answer = summary.table("answer")
    hidden = [
        line.replace(str(tracked.suite), "small.yaml").replace(str(tracked.results), "runs")
        for line in report.answer.lines
    ]
    assert [line for (line,) in answer] == hidden
    assert summary.about.notes == "\n\n".join(["Which one?", *hidden])
    columns, rows = summary.table("report")
    assert [row[columns.index("optimizer")] for row in rows] == ["adamw", "fsam"]
    assert [row[columns.index("accuracy (fraction)")] for row in rows] == report.arms["accuracy"].tolist()
    assert [row[columns.index("budget")] for row in rows] == [f"{STEPS} steps"] * 2
    columns, rows = summary.table("contrasts")
    assert [row[columns.index("sentence")] for row in rows] == report.contrasts["sentence"].tolist()
    assert summary.history == []


def test_the_board_has_the_report_its_figures_and_the_page(summary, tracked):
    (artifact,) = summary.artifacts
    names = {entry.path for entry in artifact.manifest.contents}
    assert {"report.md", "report.csv", "report.json", "index.html", "learning_curves.png"} <= names
    assert "small" in (summary.folder / "artifacts" / "report.md").read_text()
    shown = {
        name: value["_type"] for name, value in summary.summary.items() if isinstance(value, dict) and "_type" in value
    }
    assert shown["learning_curves"] == "image-file"
    assert shown["index"] == "html-file"
    assert summary.summary["learning_curves"]["caption"]
    assert (summary.folder / "files" / summary.summary["learning_curves"]["path"]).read_bytes()[:4] == b"\x89PNG"


def test_nothing_that_names_a_person_or_a_machine_is_written(tracked, runs):
    assert {run.about.host for run in runs.values()} == {""}
    assert all(run.about.git.commit == "" for run in runs.values())
    words = ["planted", str(Path.cwd()), str(tracked.results), sys.executable, sys.prefix, "-m optbench", "wandb-core"]
    # Short names are in any random text, and common ones (localhost, runner) in what every page consists of.
    names = {name for name in (socket.gethostname(), os.environ.get("USER", "")) if len(name) > 5}
    ours = b"".join(path.read_bytes() for path in Path(optbench.__file__).parent.rglob("*") if path.is_file())
    words += [name for name in names if name.encode() not in ours]
    files = [path for path in (tracked.results / "wandb").rglob("*") if not path.is_dir()]
    assert len(files) > 12
    for path in files:
        assert not path.is_symlink(), path
        content = path.read_bytes()
        for word in words:
            assert word.encode() not in content, (path.name, word)
        assert not {"requirements.txt", "wandb-metadata.json", "diff.patch"} & {path.name}


def test_what_is_printed_is_calm_and_ends_with_how_to_upload(tracked):
    lines = tracked.err.splitlines()
    assert lines[-2:] == [
        f"W&B: 2 cells and the summary in {tracked.results}/wandb.",
        f"Upload with: cd {tracked.results} && wandb sync wandb/offline-run-*",
    ]
    assert "2 of 2 cells have records" in lines[-3]
    assert len(lines) == 5
    assert "wandb:" not in tracked.err + tracked.out
    assert "Contrasts" in tracked.out or "contrasts" in tracked.out


def test_no_process_and_no_key_is_left(tracked):
    until(lambda: not orphans(tracked.home), "the end of wandb's service")
    assert PLANTED["WANDB_API_KEY"] not in tracked.out + tracked.err


def test_without_it_wandb_is_not_imported(tmp_path):
    code = (
        "import sys; sys.argv = ['optbench', 'run', sys.argv[1], '--results', sys.argv[2]]\n"
        "import optbench.commands.run\n"
        "from optbench.executors.local import Summary\n"
        "given = []\n"
        "def execute(cells, results, **words):\n"
        "    given.append(words)\n"
        "    return Summary(total=len(cells), already=0)\n"
        "optbench.commands.run.execute = execute\n"
        "from optbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert given and 'tracked' not in given[0]\n"
        "found = [name for name in sys.modules if name.split('.')[0] == 'wandb' or 'optbench.tracking' in name]\n"
        "assert not found, found\n"
    )
    suite = Path(__file__).resolve().parents[2] / "suites" / "smoke.yaml"
    done = subprocess.run(
        [sys.executable, "-c", code, str(suite), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_panels_of_the_suite_are_in_the_summary(tracked):
    suite = load_suite(tracked.suite)
    cell = suite.cells()[0]

    class Looked(type(tracked.store)):
        def panel(self, key, panel):
            assert (key, panel) == (cell.key, panel_key(spec))
            return {"result": {"never_learned": 0.25}}

    spec = Sharpness()
    store = Looked(tracked.results)
    content = content_of(store.record(cell.key), store, [spec], labels_of(suite, cell))
    assert content.summary["never_learned (fraction)"] == 0.25
