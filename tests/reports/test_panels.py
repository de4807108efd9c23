"""What panels found, in every format; and suites without questions."""

import csv
import io
import json
import re

import pytest

from optbench.reports.figures import compact, figure
from optbench.reports.leaderboard import render, report_of
from optbench.suite_command import Asked

FORMATS = pytest.mark.parametrize("format", ["table", "markdown", "latex"])


@pytest.fixture
def looked_at(bench):
    """Two optimizers whose deciles differ by 0.1 at every seed, though seeds differ by more."""

    def build(seeds=3, models=("a", "b")):
        suite = bench.suite(models=models, seeds=seeds)
        for cell in suite.cells():
            moved = 0.1 * (cell.arm.optimizer == "muon") + 0.001 * cell.seed * (cell.arm.optimizer == "muon")
            deciles = {f"decile_loss/{k}": 0.1 * k + 0.5 * cell.seed - moved for k in range(1, 11)}
            top = 1234.0 + cell.seed + (cell.arm.model == "b")
            bench.write(cell, 0.5, result={"hessian_top": top, "split_error": 3.21e-7, "learned": 0.5, **deciles})
        return suite

    return build


def test_each_family_with_numbers_has_its_table(bench, looked_at):
    report = report_of(looked_at(), bench.store)
    assert [table.family for table in report.panels] == ["sharpness", "simplicity", "loss by decile of difficulty"]
    assert report.panels[0].mean.columns.tolist() == ["hessian_top"]
    assert report.panels[0].checks == {"split_error": pytest.approx(3.21e-7)}
    assert report.panels[2].mean.columns.tolist() == [f"decile_loss/{k}" for k in range(1, 11)]


def test_a_panel_is_averaged_over_models_and_its_interval_is_over_seeds(bench, looked_at):
    table = report_of(looked_at(), bench.store).panels[0]
    assert table.mean["hessian_top"].tolist() == [pytest.approx(1235.5)] * 2
    assert table.half_width["hessian_top"].tolist() == [pytest.approx(4.303 / 3**0.5, rel=1e-3)] * 2
    assert table.n["hessian_top"].tolist() == [3, 3]


def test_deciles_are_paired_differences_from_the_anchor(bench, looked_at):
    table = report_of(looked_at(), bench.store).panels[2]
    assert table.minus == ("adamw", "uniform")
    assert table.mean.index.tolist() == [("adamw", "uniform"), ("muon", "uniform")]
    assert table.mean["decile_loss/10"].tolist() == [pytest.approx(1.5), pytest.approx(-0.101)]
    # Seeds differ by half a nat; the differences do not.
    assert table.half_width["decile_loss/10"].iloc[0] > 1 > 0.01 > table.half_width["decile_loss/10"].iloc[1]


def test_the_logit_and_functional_parts_have_a_table_of_their_own(bench):
    suite = bench.suite(seeds=2)
    for cell in suite.cells():
        shares = {"logit_share": 0.7, "functional_share": 0.3, "sam_logit_share/tenth": 0.6, "ggn_top": 2.0}
        bench.write(cell, 0.5, result=shares)
    first, second = report_of(suite, bench.store).panels
    assert first.mean.columns.tolist() == ["ggn_top"]
    assert second.mean.columns.tolist() == ["logit_share"]
    assert json.loads(render(suite, bench.store, "json"))["arms"][0]["metrics"]["sam_logit_share/tenth"]["mean"] == 0.6


@FORMATS
def test_every_format_carries_the_panels(bench, looked_at, format):
    text = render(looked_at(), bench.store, format, width=200)
    expected = ("sharpness", "hessian top", "split error 3.2e-07", "loss by decile of difficulty")
    for words in (*expected, "nats, minus adamw uniform"):
        assert words in re.sub(r"\s+", " ", text)
    assert "Yardstick: the shared probe" in re.sub(r"\s+", " ", text)


def test_programs_read_the_panels(bench, looked_at):
    suite = looked_at(1)
    report = json.loads(render(suite, bench.store, "json"), parse_constant=lambda word: pytest.fail(word))
    sharpness, simplicity, deciles = report["panels"]
    assert (sharpness["family"], sharpness["minus"], sharpness["budget"]) == ("sharpness", None, {"steps": 300})
    assert sharpness["rows"][0]["values"]["hessian_top"] == {"mean": 1234.5, "half_width": None, "n": 1}
    assert deciles["minus"] == {"optimizer": "adamw", "strategy": "uniform"}
    rows = list(csv.DictReader(io.StringIO(render(suite, bench.store, "csv"))))
    assert float(rows[0]["decile_loss/10"]) == pytest.approx(1.0)


@pytest.mark.parametrize("width", [80, 100])
def test_panels_fit_the_terminal(bench, looked_at, width):
    assert max(map(len, render(looked_at(), bench.store, width=width).splitlines())) <= width


def test_one_seed_of_a_panel_has_no_interval(bench, looked_at):
    text = render(looked_at(1), bench.store)
    assert "One seed: no interval exists." in text and "±" not in text


def test_a_row_that_lacks_a_model_has_no_mean_in_a_panel(bench):
    suite = bench.suite(models=("a", "b"))
    for cell in suite.cells():
        found = {} if (cell.arm.model, cell.arm.optimizer) == ("b", "muon") else {"hessian_top": 2.0}
        bench.write(cell, 0.5, result=found)
    (table,) = report_of(suite, bench.store).panels
    assert table.mean["hessian_top"].loc["adamw"].tolist() == [2.0]
    assert table.mean["hessian_top"].loc["muon"].isna().all()


def test_a_suite_without_panels_has_no_panels(bench):
    suite = bench.suite()
    bench.fill(suite, lambda cell: 0.5)
    assert report_of(suite, bench.store).panels == []
    assert json.loads(render(suite, bench.store, "json"))["panels"] == []


@pytest.fixture
def theory(bench):
    """A task that asks no question: its records have neither accuracy nor likelihood."""
    suite = bench.suite(
        ("gd", "sam", "broken"), seeds=3, contrasts=[bench.contrast("sam", "gd", metric="last_first_ratio")]
    )
    suite.ranked_by = "last_first_ratio"
    for cell in suite.cells():
        ratio = {"gd": 25.0, "sam": 9.0, "broken": 0.0}[cell.arm.optimizer] + 0.1 * cell.seed
        measured = {"total_seconds": 60.0}
        if cell.arm.optimizer == "broken":
            bench.write(cell, None, outcome="diverged", measured=measured)
        else:
            ratio += 0.2 * cell.seed * (cell.arm.optimizer == "sam")
            bench.write(cell, None, result={"last_first_ratio": ratio, "learned_at/10": 3.0}, measured=measured)
    return suite


def test_a_suite_is_ranked_by_the_column_it_names(bench, theory):
    report = report_of(theory, bench.store)
    (standings,) = report.standings
    assert standings.score == "last_first_ratio"
    assert [optimizer for optimizer, _ in standings.mean.index] == ["sam", "gd", "broken"]


@FORMATS
def test_every_format_shows_a_suite_without_questions(bench, theory, format):
    text = re.sub(r"\s+", " ", render(theory, bench.store, format, width=200))
    assert "last" in text and "25.1" in text and "lower is better" in text
    assert "questions" not in text and "accuracy" not in text and "readable" not in text


def test_a_diverged_arm_is_last_whatever_the_suite_is_ranked_by(bench, theory):
    text = re.sub(r"\s+", " ", render(theory, bench.store))
    assert re.search(r"broken †3 uniform diverged", text)
    assert "each counts as last_first_ratio inf" in text


def test_an_arm_that_diverges_at_one_seed_gains_nothing_by_the_others(bench):
    suite = bench.suite(("gd", "shaky"), seeds=3)
    suite.ranked_by = "last_first_ratio"
    for cell in suite.cells():
        if cell.arm.optimizer == "shaky" and cell.seed == 2:
            bench.write(cell, None, outcome="diverged")
        else:
            bench.write(cell, None, result={"last_first_ratio": 1.0 if cell.arm.optimizer == "shaky" else 25.0})
    (standings,) = report_of(suite, bench.store).standings
    assert [optimizer for optimizer, _ in standings.mean.index] == ["gd", "shaky"]
    text = re.sub(r"\s+", " ", render(suite, bench.store))
    assert "shaky †1 uniform inf" in text


def test_programs_read_what_a_suite_is_ranked_by(bench, theory):
    report = json.loads(render(theory, bench.store, "json"), parse_constant=lambda word: pytest.fail(word))
    assert report["ranked_by"] == "last_first_ratio"
    assert "accuracy" not in report["arms"][0]["metrics"]
    assert report["arms"][0]["metrics"]["last_first_ratio"]["n"] == 3
    assert render(theory, bench.store, "csv").count("\n") == 4


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (25.049, "25.0"),
        (9.996, "10.0"),
        (0.51234, "0.512"),
        (-0.0012, "-0.00120"),
        (12345.6, "12300"),
        (3.21e-7, "3.21e-7"),
        (1.5e6, "1.50e6"),
        (float("nan"), "-"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert compact(value) == text


def test_fractions_are_percent():
    assert figure(0.1234, "accuracy") == "12.3"
    assert figure(0.1234, "learned_at/3") == "0.123"
    assert figure(float("nan"), "accuracy") == "-"


def test_differences_have_a_sign_and_the_anchor_has_none(bench, looked_at):
    text = render(looked_at(1), bench.store, "markdown")
    rows = [line for line in text.split("minus adamw uniform")[1].splitlines() if line.startswith("| ")]
    assert "| 0.100 |" in rows[2] and rows[2].startswith("| adamw")
    assert "| -0.100 |" in rows[3] and rows[3].startswith("| muon")


def test_a_run_ends_with_the_standings_and_says_where_the_panels_are(bench, looked_at):
    text = render(looked_at(), bench.store, "table", panels=False)
    assert "hessian top" not in text
    assert text.splitlines()[-1].startswith("What panels found: optbench report suites/toy.yaml --results ")
    suite = looked_at()
    suite.asked = Asked(["over one.yaml"], ["model=a*"], "ckpt")
    last = render(suite, bench.store, "table", panels=False).splitlines()[-1]
    options = "--overrides 'over one.yaml' --only 'model=a*' --model ckpt"
    assert last == f"What panels found: optbench report suites/toy.yaml {options} --results {bench.store.root}"
    assert render(looked_at(), bench.store, "json", panels=False) == render(looked_at(), bench.store, "json")
