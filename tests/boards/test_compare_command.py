"""`optbench compare` from the command line."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from boards.conftest import BOARD

from optbench.boards.board import load_board
from optbench.boards.listing import listing_text
from optbench.cli import main
from optbench.store import RECORD, Record, Store
from optbench.suite import load_suite

SUITE = """\
models: [phi-nano]
tasks: [arithmetic]
strategies: [uniform]
optimizers: [adamw, muon]
budget: {steps: 20}
seeds: 3
ranked_by: test_nll
"""
VALUES = {"adamw": [2.0, 2.1, 2.2], "muon": [1.9, 1.95, 2.12]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a suite, its records, and a board."""
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(SUITE, encoding="utf-8")
    Path("toy.yaml").write_text(BOARD, encoding="utf-8")
    store = Store("runs")
    for cell in load_suite("x.yaml").cells():
        made = {"device_type": "cpu", "device": "a processor", "precision": "float32"}
        record = Record(
            key=cell.key,
            cell=cell.spec.dump(),
            outcome="completed",
            result={"test_nll": VALUES[cell.arm.optimizer][cell.seed], "tokens": 5e5, "steps_done": 20.0},
            plan={},
            optimizer={},
            measured={"contended": False, "provenance": made},
        )
        path = store.folder(cell.key)
        path.mkdir(parents=True)
        (path / RECORD).write_text(json.dumps(record.content()), encoding="utf-8")
    return tmp_path


@pytest.fixture
def call(monkeypatch, capsys, folder):
    def called(*words):
        monkeypatch.setattr("sys.argv", ["optbench", "compare", *words])
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        else:
            code = 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return called


def test_beside_a_board(call):
    code, out, err = call("x.yaml", "--board", "toy.yaml", "--results", "runs")
    assert (code, err) == (0, "")
    assert out.startswith("The suite x (test_nll, lower is better; model phi-nano, strategy uniform, 20 steps) beside")
    assert "Agree in sign: muon, here +0.11 [+0.0204, +0.2] nats (+5.3%)" in out


def test_beside_a_shipped_board_as_json(call):
    code, out, _ = call("x.yaml", "--board", "newton_muon", "--results", "runs", "--format", "json")
    content = json.loads(out)
    (muon,) = (line for line in content["lines"] if line["name"] == "muon")
    assert (code, content["column"], muon["theirs"]["value"], muon["theirs"]["n"]) == (0, "current", 3.2787, 4)
    assert content["ours"]["scale"]["parameters"][0] > 1e4


def test_every_option_is_heard(call):
    words = ("x.yaml", "--board", "newton_muon", "--results", "runs", "--format", "json")
    more = ("--column", "older", "--reference", "Muon", "--pair", "adamw=Newton-Muon", "--strategy", "uniform")
    code, out, err = call(*words, *more, "--model", "phi-nano", "--metric", "test_nll")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert (content["column"], content["reference"]) == ("older", "muon")
    (adamw,) = (line for line in content["lines"] if line["name"] == "adamw")
    assert adamw["theirs"]["method"] == "Newton-Muon"
    assert adamw["theirs"]["gain"]["absolute"] == pytest.approx(3.2793 - 3.2611)


def test_the_list(call):
    code, out, _ = call("--list", "--format", "json")
    boards = {board["board"]: board for board in json.loads(out)["boards"]}
    assert code == 0
    assert boards["llm_optimizer_benchmark_720m"]["grades"] == ["digitised"]
    assert (boards["modded_nanogpt_track3"]["rows"], boards["modded_nanogpt_track3"]["figures"]) == (26, 47)
    assert boards["functional_sam_c4"]["source"]["through"]
    out = call("--list")[1]
    assert "newton_muon: Newton-Muon on a single GPU" in out and "second-hand" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_list_in_other_formats(folder):
    loaded = [load_board(Path("toy.yaml"))]
    (row,) = csv.DictReader(io.StringIO(listing_text(loaded, "csv", width=100)))
    assert (row["board"], row["rows"], row["settings"]) == ("toy", "2", "small")
    assert "| toy | A board | published | loss | small | 2 | arXiv" in listing_text(loaded, "markdown", width=100)


def test_beside_other_records(call, folder):
    shutil.copytree("runs", "again")
    code, out, _ = call("x.yaml", "--with", "again", "--results", "runs")
    assert code == 0
    assert "6 of 6 cells are in both: 6 equal to the last bit, 0 differing." in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("x.yaml",), "compare needs one of --board NAME, --with DIR and --list"),
        (("x.yaml", "--list", "--board", "toy.yaml"), "compare needs one of"),
        (("x.yaml", "--board", "toy.yaml", "--with", "runs"), "compare needs one of"),
        (("--board", "toy.yaml"), "compare needs a suite"),
        (("x.yaml", "--board", "newton_muo"), "did you mean newton_muon?"),
        (("x.yaml", "--board", "x.yaml"), "x.yaml:1: the file: this is a suite; boards are files like"),
        (("x.yaml", "--board", "toy.yaml", "--results", "nowhere"), "--results nowhere: is not there"),
        (("x.yaml", "--with", "nowhere"), "--with nowhere: is not there"),
        (("x.yaml", "--with", "runs"), "--with runs: is what --results names too"),
        (("x.yaml", "--with", "runs", "--column", "a"), "--column belongs to --board"),
        (("x.yaml", "--with", "runs", "--pair", "a=b"), "--pair belongs to --board"),
        (("x.yaml", "--board", "toy.yaml", "--column", "smal"), "--column smal: toy.yaml has no such setting; did you"),
        (("x.yaml", "--board", "toy.yaml", "--metric", "accuracy"), "--metric accuracy: no record has it"),
        (("x.yaml", "--board", "toy.yaml", "--pair", "muon"), "--pair muon: needs two names"),
        (("x.yaml", "--board", "toy.yaml", "--pair", "muon=Muon", "--pair", "muon=AdamW"), "muon is paired already"),
        (("x.yaml", "--board", "newton_muon", "--only", "optimizer=mu"), "--only optimizer=mu: no optimizer"),
    ],
)
def test_bad_input(call, words, message):
    more = () if "--results" in words else ("--results", "runs")
    code, out, err = call(*words, *more)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_a_suite_without_records_says_what_to_run(call, folder):
    (folder / "empty").mkdir()
    code, _, err = call("x.yaml", "--board", "toy.yaml", "--results", "empty")
    assert code == 2
    assert "optbench run x.yaml --results empty" in err
    code, _, err = call("x.yaml", "--board", "toy.yaml", "--results", "empty", "--only", "strategy=uni*")
    assert "optbench run x.yaml --only 'strategy=uni*' --results empty" in err
