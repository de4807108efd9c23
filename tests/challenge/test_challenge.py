"""The real thing, as small as it can be."""

import json
import sys
from pathlib import Path

import pytest

from optbench.cli import main


@pytest.fixture
def call(monkeypatch, capsys):
    def called(*words):
        monkeypatch.setattr(sys, "argv", ["optbench", *words])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return called


def test_from_the_command_to_a_bundle_that_another_folder_merges(place, call, tmp_path_factory, monkeypatch):
    suite = Path("suites/tiny.yaml")
    suite.write_text(suite.read_text() + "panels: [simplicity]\n")
    words = [
        "challenge",
        "signed.py:Signed",
        "--against",
        "adamw",
        "--suite",
        "tiny",
        "--budget",
        "24h",
        "--margin",
        "50",
    ]
    code, out, err = call(*words, "--trials", "2", "--format", "json")
    assert code == 0, err
    content = json.loads(out)
    (contrast,) = content["contrasts"]
    low, high = contrast["interval"]
    assert -50 < low < contrast["estimate"] < high < 50
    # How many seeds there are, and so which of the three it is, is up to the time that is left.
    resolved = "better" if high < 0 else "worse" if low > 0 else "no difference beyond the margin"
    assert contrast["verdict"] == resolved
    assert all(each["passed"] for each in content["findings"] if each["required"])
    page, bundle = Path(content["page"]), Path(content["bundle"])
    assert "Signed" in page.read_text(encoding="utf-8")
    assert json.loads((page.parent / "tuned.json").read_text())["studies"][0]["declared_by"] == "file"
    assert call("verify", content["suite"], "--results", "results/runs")[0] == 0
    assert "Signed minus adamw" in call("report", content["suite"], "--results", "results/runs")[1]

    there = bundle.resolve()
    monkeypatch.chdir(tmp_path_factory.mktemp("another-machine"))
    code, out, err = call("verify", str(there))
    assert code == 0, out
    assert "source differs" not in out
    assert "not here" not in out
    code, out, err = call("merge", str(there), "--results", "merged")
    assert code == 0, out
    assert " added, 0 there already" in out


def test_bad_input_is_one_message_and_exit_code_2(place, call):
    before = sorted(place.rglob("*"))
    for words, said in (
        (["signed.py:Signed", "--suite", "tiny", "--budget", "soon"], "--budget soon"),
        (["none.py:Signed", "--suite", "tiny", "--budget", "1h"], "cannot read none.py"),
        (["signed.py:Signed", "--suite", "tiny", "--budget", "1h", "--against", "lion"], "--against lion"),
    ):
        code, out, err = call("challenge", *words)
        assert (code, out) == (2, "")
        assert said in err
        assert "Traceback" not in err
    assert sorted(place.rglob("*")) == before


def test_commands_are_repeated_without_paths_of_this_machine():
    from optbench.verbs.challenging import _without_machine

    assert [_without_machine(word) for word in ("/a/b/mine.py:Mine", "--to=/a/b/c", "--budget=2h", "x/y.py:Z")] == [
        "mine.py:Mine",
        "--to=c",
        "--budget=2h",
        "x/y.py:Z",
    ]
