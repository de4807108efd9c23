"""What is wrong with a claim file is said at its line, without a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from optbench.claims.claim import load_claims
from optbench.commands.claims import claims
from optbench.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def refused(desk, *paths):
    with pytest.raises(UserError) as caught:
        load_claims(paths or [desk.root / "claims"])
    return str(caught.value).replace(f"{desk.root}/", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"of": "smm"}, "claims/claim.yaml:9: tests[0].of.optimizer: no optimizer of toy.yaml is named 'smm'; did you"),
        ({"metric": "acuracy"}, "claims/claim.yaml:8: tests[0].metric is 'acuracy'; did you mean accuracy?"),
        ({"margin": 0}, "claims/claim.yaml:12: tests[0].margin must be greater than 0, not 0"),
        ({"joint": "minus: {optimizer: adamw}\n    over: {optimizer: adamw}"}, "has both `minus` and `over`"),
        ({"joint": "minus: {strategy: uniform}"}, "`of` and `minus` name different axes"),
        ({"joint": "minus: {optimizer: sam}"}, "`of` and `minus` are the same"),
        ({"where": "above: 0\n    below: 0"}, "exactly one of `above` and `below`"),
        ({"where": ""}, "exactly one of `above` and `below`"),
        ({"joint": "over: {optimizer: adamw}", "where": "above: 0"}, "greater than its margin"),
        ({"where": "abov: 0"}, "tests[0].abov is unknown; did you mean above?"),
    ],
)
def test_a_test_that_makes_no_sense(desk, change, message):
    desk.suite()
    desk.claim(desk.test(**change))
    assert message in refused(desk)


def test_a_suite_that_is_not_there(desk):
    desk.claim(desk.test())
    assert refused(desk) == "claims/claim.yaml:7: tests[0].suite is '../toy.yaml'; there is no file toy.yaml"


def test_a_suite_with_a_mistake_says_its_own_line(desk):
    desk.suite()
    path = desk.root / "toy.yaml"
    path.write_text(path.read_text().replace("sam,", "smm,"))
    desk.claim(desk.test())
    assert refused(desk).startswith("toy.yaml:6: optimizers[1]: no optimizer is named 'smm'")


def test_quotation_or_paraphrase(desk):
    desk.suite()
    path = desk.claim(desk.test())
    text = path.read_text()
    path.write_text(text.replace("quotation: better\n", ""))
    assert "exactly one of `quotation` and `paraphrase`" in refused(desk)
    path.write_text(text.replace("quotation: better\n", "quotation: better\nparaphrase: better\n"))
    assert "exactly one of `quotation` and `paraphrase`" in refused(desk)


def test_two_claims_of_one_name(desk):
    desk.suite()
    path = desk.claim(desk.test())
    (path.parent / "other.yaml").write_text(path.read_text())
    assert refused(desk).endswith("name is 'claim', as in claims/claim.yaml; names differ")


def test_every_problem_is_told_at_once(desk):
    desk.suite()
    desk.claim(desk.test(of="smm"), desk.test(metric="acuracy"))
    assert len(refused(desk).splitlines()) == 2


def test_a_folder_without_claims_and_a_file_that_is_not_there(desk):
    assert "no claims there" in refused(desk, desk.root)
    assert refused(desk, desk.root / "x.yaml") == "x.yaml: no such file"


def test_the_claims_of_this_project_are_about_suites_that_are_there():
    loaded = load_claims([ROOT / "suites" / "claims"])
    assert len(loaded) >= 17
    for claim in loaded:
        for test in (*claim.tests, *(test for choice in claim.choices for test in choice.tests)):
            assert len(test.suite.seeds) >= 3


def verb(*words, cwd):
    argv = [sys.executable, "-m", "optbench", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=cwd)


def test_the_verb_says_one_message_and_exits_with_2(desk):
    desk.suite()
    desk.claim(desk.test(of="smm"))
    said = verb("claims", "claims", cwd=desk.root)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("claims/claim.yaml:9: ")
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("format", ["table", "markdown", "json"])
def test_the_verb_exits_with_0_also_where_nothing_is_decided(desk, format):
    desk.suite()
    desk.claim(desk.test())
    (desk.root / "empty").mkdir()
    said = verb("claims", "claims", "--format", format, "--results", "empty", cwd=desk.root)
    assert (said.returncode, said.stderr) == (0, "")
    assert "undecided" in said.stdout
    assert not list((desk.root / "empty").iterdir())


@pytest.mark.parametrize("place", ["nowhere", "nowhere.jsonl"])
def test_results_that_are_not_there_are_no_results(desk, place):
    desk.suite()
    with pytest.raises(UserError, match=f"--results .*{place}: is not there"):
        claims([desk.claim(desk.test())], desk.root / place, "table")


def test_a_suite_is_not_taken_for_a_claim(desk):
    desk.suite()
    assert refused(desk, desk.root / "toy.yaml") == (
        "toy.yaml:1: the file: this is a suite; claims are files like suites/claims/*.yaml"
    )


def test_details_are_those_of_the_files_that_are_named(desk):
    desk.suite()
    desk.store.root.mkdir()
    file = desk.claim(desk.test(), name="one")
    desk.claim(desk.test(), name="two")

    def detailed(*paths, **options):
        found = []
        for format, start in (("table", ""), ("markdown", "## ")):
            lines = claims(paths, desk.store.root, format, **options).splitlines()
            found.append([name for name in ("one", "two") if f"{start}{name}: undecided" in lines])
            assert ("--details" in lines[-1]) == (len(found[-1]) < (1 if paths == (file,) else 2))
        assert found[0] == found[1]
        return found[0]

    assert detailed(file.parent) == []
    assert detailed(file.parent, details=True) == ["one", "two"]
    assert detailed(file) == ["one"]
    assert detailed(file.parent, file) == ["one"]


def test_the_verb_has_an_option_for_details(desk):
    desk.suite()
    desk.claim(desk.test())
    desk.store.root.mkdir()
    said = verb("claims", "claims", "--details", "--results", "runs", cwd=desk.root)
    assert (said.returncode, said.stderr) == (0, "")
    assert "criterion: " in said.stdout
