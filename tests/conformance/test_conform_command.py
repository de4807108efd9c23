"""`optbench conform`: targets, formats, exit codes."""

import json

import pytest
from examined import target, tried_alone
from typer.testing import CliRunner

from optbench.cli import app
from optbench.commands.conform import all_fit
from optbench.conformance.finding import Finding
from optbench.conformance.rendering import json_text, table_text
from optbench.conformance.target import targets_of
from optbench.errors import UserError
from optbench.optim.specs import PRESETS

FOUND = {
    "mine": [
        Finding("builds", True, True, "it builds for 9 tensors"),
        Finding("moves every parameter", True, False, "did not move \x1b[31mbias and " + "very " * 40 + "much else"),
        Finding("leaves p.grad alone", False, False, "p.grad is written over"),
        Finding("descends a quadratic", False, True, "falls"),
    ]
}


def run(*words):
    return CliRunner().invoke(app, ["conform", *words])


def test_a_fit_optimizer_ends_with_0_and_the_table_lists_everything():
    done = run("gd")
    assert done.exit_code == 0
    assert done.stdout.startswith("gd: fit to be compared, 17 required passed\n")
    assert "FAILED" not in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


def test_one_that_is_not_fit_ends_with_1_and_json_says_why(monkeypatch):
    tried_alone(monkeypatch)
    done = run(target("exits"), "gd", "--format", "json")
    assert done.exit_code == 1
    content = json.loads(done.stdout)
    assert content[target("exits")]["fit"] is False
    assert content[target("exits")]["findings"] == [
        {
            "name": "builds",
            "required": True,
            "passed": False,
            "detail": "building it raised SystemExit at exits.py:11: 0; nothing else was tried",
        }
    ]
    assert content["gd"]["fit"] is True


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("adamv", "no optimizer is named 'adamv'; did you mean adamw?"),
        ("nowhere.py:Mine", "nowhere.py:Mine: optimizer.rule: cannot read nowhere.py: No such file"),
        (target("exits").replace("Exits", "Exit"), "has no class 'Exit'; did you mean Exits?"),
        (target("exits").split(":")[0], "which class of it? Write"),
        ("no_such_package:Lion", "no_such_package:Lion: no package 'no_such_package' is installed"),
        ("torch.optim:LBFGS", "optimizer.rule: torch.optim:LBFGS needs a closure that evaluates the loss again"),
        ("pytorch_optimizer:SophiaH", "optimizer.rule: pytorch_optimizer:SophiaH needs estimates of the Hessian"),
        ("torch.optim:Adm", "torch.optim has no torch optimizer 'Adm'; did you mean Adam?"),
        ('{"rule": {"kind": "adamw", "lrr": 1}}', "optimizer.rule.lrr is unknown; did you mean lr?"),
        ('{"rule": {"kind": "adamq"}}', "optimizer.rule.kind is 'adamq'; did you mean adamw?"),
        ('x={"preset": "smm"}', "optimizer.preset: no optimizer is named 'smm'; did you mean sam?"),
        ("{", "{: is not JSON"),
        ("{}", "optimizer.rule is missing"),
    ],
)
def test_bad_targets_have_the_messages_of_suites_and_end_with_2(word, words, monkeypatch, capsys):
    from optbench import cli

    monkeypatch.setattr("sys.argv", ["optbench", "conform", word])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert end.value.code == 2
    assert words in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_targets_are_specs_by_name():
    words = [target("exits"), "sam", 'm={"preset": "muon", "rule": {"adamw_lr": 0.5}}', '{"rule": {"kind": "gd"}}']
    found = targets_of(words, None)
    assert list(found) == [target("exits"), "sam", "m", "gd"]
    assert found[target("exits")].rule.lr == 1e-3
    assert found["sam"].dump() == {**found["sam"].dump(), **{"max_norm": "Infinity"}}
    assert found["sam"].estimator.kind == PRESETS["sam"]["estimator"]["kind"]
    assert found["m"].rule.adamw_lr == 0.5
    assert {spec.rule.lr for spec in targets_of(words, 0.25).values()} == {0.25}
    with pytest.raises(UserError, match="adamw: optimizer.rule.lr must be greater than 0, not -1"):
        targets_of(["adamw"], -1.0)


def test_the_table_tells_what_failed_from_what_is_noted_and_runs_no_escapes():
    text = table_text(FOUND, width=60)
    assert text.startswith("mine: fails 1 of 2 required; 1 worth knowing\n\nrequired\n  passed  builds\n")
    assert "  FAILED  moves every parameter\n          did not move  [31mbias and very" in text
    assert "worth knowing\n  noted   leaves p.grad alone\n" in text or "noted  leaves p.grad alone" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 60


def test_one_mistake_is_told_once():
    wrong = "step() raises NameError: name 'lamda' is not defined"
    findings = [Finding("moves", True, False, wrong), Finding("repeats", True, False, wrong)]
    text = table_text({"mine": [*findings, Finding("cheap", False, True, wrong)]}, width=100)
    assert text.count("lamda") == 2, "once for what failed, and where it is no failure"
    assert "  FAILED  repeats\n          as for 'moves'\n" in text
    assert [own["detail"] for own in json.loads(json_text({"mine": findings}))["mine"]["findings"]] == [wrong, wrong]


def test_json_is_strict_and_whole():
    content = json.loads(json_text(FOUND))["mine"]
    assert content["fit"] is False
    assert [finding["name"] for finding in content["findings"]] == [finding.name for finding in FOUND["mine"]]
    assert not all_fit(FOUND)
    assert all_fit({"mine": [finding for finding in FOUND["mine"] if finding.passed or not finding.required]})
