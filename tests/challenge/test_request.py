"""What is refused, before anything is run or written."""

from pathlib import Path

import pytest

from optbench.challenge.reading import read
from optbench.challenge.request import margin_of, names_of, options_of, seconds_of, suite_path
from optbench.errors import UserError


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "0s", "1d", "1h30m", "infh", "nan"])
def test_a_budget_has_a_unit_and_is_above_zero(text):
    with pytest.raises(UserError, match="--budget"):
        seconds_of(text)


def test_budgets():
    assert [seconds_of(text) for text in ("90s", "20m", "2h", "1.5h")] == [90.0, 1200.0, 7200.0, 5400.0]


def test_baselines_are_named_once():
    assert names_of(" adamw, muon ") == ["adamw", "muon"]
    with pytest.raises(UserError, match="twice"):
        names_of("adamw,adamw")
    with pytest.raises(UserError, match="empty"):
        names_of(" , ")


@pytest.mark.parametrize("text", ["[1]", "{", "3"])
def test_options_are_a_mapping(text):
    with pytest.raises(UserError, match="--options"):
        options_of(text)


def test_suites_by_name_and_by_path(place):
    assert suite_path("tiny") == suite_path("suites/tiny.yaml") == Path("suites/tiny.yaml")
    with pytest.raises(UserError, match="did you mean tiny"):
        suite_path("tinny")
    with pytest.raises(UserError, match="no such file"):
        suite_path("suites/other.yaml")


def test_margins_by_unit():
    assert margin_of(None, "accuracy") == margin_of(None, "test_nll") == 0.02
    assert margin_of(0.1, "last_first_ratio") == 0.1
    with pytest.raises(UserError, match="--margin: the suite is ranked by last_first_ratio"):
        margin_of(None, "last_first_ratio")
    with pytest.raises(UserError, match="above 0"):
        margin_of(0.0, "accuracy")


def test_a_good_request_is_read_and_nothing_is_written(request_of, place):
    before = sorted(place.rglob("*"))
    found = read(request_of())
    assert [arm.optimizer for arm in found.suite.arms] == ["Signed", "adamw"]
    assert found.margin == 0.02
    assert found.code == Path("signed.py").read_text(encoding="utf-8")
    assert any("not looked at: upsample" in line for line in found.said)
    assert any("starts at the rate 0.01 (its class's default)" in line for line in found.said)
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": "other.py:Signed"}, "cannot read other.py"),
        ({"target": "signed.py:Sined"}, "has no class 'Sined'; did you mean Signed"),
        ({"target": "nothing_installed.here:Thing"}, "nothing_installed"),
        ({"target": "pytorch_optimizer:SophiaH"}, "pytorch_optimizer:SophiaH needs estimates of the Hessian"),
        ({"target": "signed"}, "give file.py:Class"),
        ({"target": "{"}, "--name"),
        ({"target": "{", "name": "x"}, "not JSON"),
        ({"target": '{"rule": {"kind": "adamw", "lrr": 1}}', "name": "x"}, "lrr"),
        ({"target": "adamw"}, "is what the challenger is called, too"),
        ({"against": ["adamv"]}, "did you mean adamw"),
        ({"against": ["adamw", "mine"], "name": "mine"}, "is what the challenger is called, too"),
        ({"name": "mine"}, "is an optimizer of suites/tiny.yaml already"),
        ({"name": "a/b"}, "a/b"),
        ({"only": ["optimizer=adamw"]}, "--only optimizer"),
        ({"only": ["strategy=none"]}, "no strategy"),
        ({"lr": -1.0}, "lr"),
        ({"to": Path("/elsewhere/x")}, "below the working directory"),
        ({"to": Path("../x")}, "below the working directory"),
        ({"to": Path("results/my challenge")}, "letters, digits"),
        ({"to": Path("signed.py")}, "is a file"),
        ({"results": Path("signed.py")}, "is a file"),
        ({"margin": -0.1}, "--margin"),
    ],
)
def test_bad_requests_are_refused(request_of, place, changes, said):
    before = sorted(place.rglob("*"))
    with pytest.raises(UserError) as refused:
        read(request_of(**changes))
    assert said in str(refused.value)
    assert sorted(place.rglob("*")) == before


def test_two_budgets_are_refused_with_what_to_choose(request_of):
    path = Path("suites/tiny.yaml")
    path.write_text(path.read_text().replace("{steps: 6}", "[{steps: 6}, {steps: 9}]"))
    with pytest.raises(UserError, match='--only "budget=6 steps" or --only "budget=9 steps"'):
        read(request_of())
    assert len(read(request_of(only=["budget=9 steps"])).suite.arms) == 2


def test_a_rate_is_its_own_or_the_suites(request_of):
    Path("plain.py").write_text(Path("signed.py").read_text().replace("lr=0.01,", "lr,"))
    rates = [
        read(request_of(**changes)).spec.rule.lr
        for changes in ({"lr": 0.5}, {}, {"target": "plain.py:Signed"}, {"target": "torch.optim:NAdam"})
    ]
    assert rates == [0.5, 0.01, 0.004, 0.002]


def test_a_file_elsewhere_is_taken_by_its_content(request_of, place, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "signed.py"
    elsewhere.write_text(Path("signed.py").read_text())
    assert read(request_of(target=f"{elsewhere}:Signed")).of == read(request_of()).of


def test_the_challenge_is_known_by_what_it_compares(request_of):
    one = read(request_of())
    assert read(request_of(budget=9e9, margin=0.5)).of == one.of
    assert read(request_of(against=["muon"])).of != one.of
    assert read(request_of(options={"beta": 0.8})).of != one.of
    Path("signed.py").write_text(Path("signed.py").read_text() + "\n# another thought\n")
    assert read(request_of()).of != one.of
