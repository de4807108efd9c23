"""Seeds that all scored the same show no spread, which is not to say that there is none: no ± says that of them."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from optbench.boards.ours import ours_of
from optbench.charts.interval_notes import bars_note
from optbench.charts.points import metric_by_group, scores_at
from optbench.reports.before_grid import before_grid, before_notes_of
from optbench.reports.grid import notes_of, score_grid
from optbench.reports.leaderboard import render, report_of
from optbench.reports.panel_grid import panel_grid, panel_notes_of

NOTE = "No ± where all seeds scored the same, for their spread says nothing: adamw uniform (3 seeds)."
VARIED = (0.25, 0.3, 0.4)


def accuracy(cell):
    """AdamW gets 17 of 64 right at each of three seeds, Muon not."""
    return 17 / 64 if cell.arm.optimizer == "adamw" else VARIED[cell.seed]


@pytest.fixture
def suite(bench):
    """Two optimizers with three seeds, and what a panel found; the model had scored before it was trained."""
    made = bench.suite(("adamw", "muon"), seeds=3, contrasts=[bench.contrast("muon", "adamw")])
    more = {"accuracy_before": 1 / 64, "questions": 64.0, "passes": 10.0, "state_bytes": 8e3}
    for cell in made.cells():
        panel = {"learned": 0.3 + 0.1 * cell.seed, "never_learned": 0.1}
        bench.write(cell, accuracy(cell), result={"flops": 1e9, **more, **panel})
    return made


def texts(grid):
    return {row[0].text: [entry.text.strip() for entry in row[2:]] for row in grid.rows}


def test_the_table_has_no_interval_of_them_and_says_why(bench, suite):
    (table,) = report_of(suite, bench.store).standings
    shown = texts(score_grid(table, intervals=True))
    assert shown["adamw"] == ["26.6"] and shown["muon"][0].startswith("31.7 ±")
    assert notes_of(table)[:2] == ["±: half-width of the 95% interval over seeds (Student t).", NOTE]
    assert table.alike["m"].tolist() == [False, True]


@pytest.mark.parametrize("format", ["table", "markdown", "latex"])
def test_no_format_for_readers_shows_a_half_width_of_0(bench, suite, format):
    text = render(suite, bench.store, format, width=200)
    assert "±0.0" not in text.replace(r"$\pm$", "±").replace(" ", "")
    assert "where all seeds scored the same" in " ".join(text.split())


def test_programs_get_null_for_scores_and_0_for_what_is_the_same_by_rule(bench, suite):
    found = json.loads(render(suite, bench.store, "json"))
    metrics = next(arm["metrics"] for arm in found["arms"] if arm["optimizer"] == "adamw")
    by_rule = ("flops", "passes", "state_bytes", "questions", "accuracy_before")
    assert [metrics[name]["half_width"] for name in by_rule] == [0.0] * 5
    assert [metrics[name]["half_width"] for name in ("accuracy", "never_learned", "step_seconds")] == [None] * 3
    assert metrics["learned"]["half_width"] > 0 and metrics["accuracy"]["n"] == 3
    last = found["standings"][0]["rows"][-1]
    assert (last["optimizer"], last["columns"]["m"]["half_width"], last["columns"]["m"]["n"]) == ("adamw", None, 3)
    rows = list(csv.DictReader(io.StringIO(render(suite, bench.store, "csv"))))
    assert [row["accuracy_half_width"] == "" for row in rows] == [True, False]
    assert [row["flops_half_width"] for row in rows] == ["0.0", "0.0"]


@pytest.mark.parametrize("ranked_by", ["flops", "state_bytes", "passes"])
def test_what_a_table_is_ranked_by_keeps_its_0_where_it_is_no_score(bench, suite, ranked_by):
    (table,) = report_of(replace(suite, ranked_by=ranked_by), bench.store).standings
    assert table.score == ranked_by and table.half_width["m"].tolist() == [0.0, 0.0]
    assert texts(score_grid(table, intervals=True))["adamw"][0].endswith("±0")
    assert not any("scored the same" in note for note in notes_of(table))


def test_scores_that_agree_up_to_rounding_are_the_same(bench, suite):
    for cell in suite.cells():
        bench.write(cell, (0.1 + 0.2, 0.3, 0.3)[cell.seed] if cell.arm.optimizer == "adamw" else VARIED[cell.seed])
    report = report_of(suite, bench.store)
    assert math.isinf(report.standings[0].half_width["m"]["adamw", "uniform"]) and NOTE in notes_of(report.standings[0])
    # Of a gain, rounding is relative to what was subtracted.
    for cell in suite.cells():
        bench.write(cell, None, result={"test_nll": 3.1 + 4e-16 * cell.seed, "test_nll_before": 3.0999})
    report = report_of(replace(suite, ranked_by="test_nll"), bench.store)
    assert "±" not in str(texts(before_grid(report.standings[0], report.cells)))


def test_gains_and_panels_have_none_either(bench, suite):
    report = report_of(suite, bench.store)
    (table,), (panel,) = report.standings, report.panels
    gains = texts(before_grid(table, report.cells))
    assert gains["adamw"] == ["+25.0"] and gains["muon"][0].startswith("+30.1 ±")
    assert before_notes_of(table)[0].endswith(
        "for the questions that were asked; none where all seeds scored the same."
    )
    learned, never = texts(panel_grid(panel))["adamw"]
    assert learned.startswith("40.0 ±") or learned.startswith("0.400 ±")
    assert "±" not in never
    assert panel_notes_of(panel)[-1].endswith("None where all seeds gave the same number.")


def test_a_panel_of_which_all_seeds_agree_is_not_said_to_have_one(bench, suite):
    for cell in suite.cells():
        bench.write(cell, accuracy(cell), result={"learned": 0.5, "never_learned": 0.1})
    (panel,) = report_of(suite, bench.store).panels
    assert panel_notes_of(panel)[-1] == "No ±: all seeds gave the same number."


def test_the_answer_says_of_the_best_that_all_seeds_have_its_score(bench, suite):
    for cell in suite.cells():
        bench.write(cell, 0.5 if cell.arm.optimizer == "adamw" else VARIED[cell.seed], result={"questions": 64.0})
    report = report_of(suite, bench.store)
    assert (
        "adamw has the best mean, 50.0% of 64 test questions right (3 seeds, all with this score)"
        in (report.answer.lines[0])
    )
    assert "flattered" not in " ".join(report.answer.lines)
    # Its difference from a row that varies has a spread, and is judged as that of a contrast.
    assert "About" in report.answer.lines[-1]


def test_a_row_that_never_varies_is_judged_by_its_differences_as_contrasts_do(bench, suite):
    def value(cell):
        return 0.9 if cell.arm.optimizer == "adamw" else 0.1 + 0.01 * cell.seed

    bench.fill(suite, value)
    report = report_of(suite, bench.store)
    assert report.standings[0].supported["m"]["adamw", "uniform"] and report.contrasts["resolved"].tolist() == [True]
    assert "use the optimizer adamw: 90.0%" in report.answer.lines[0] and "±" not in report.answer.lines[0]


def test_100_and_3_percent_at_all_seeds_differ_and_nothing_proves_it(bench, suite):
    bench.fill(suite, lambda cell: 1.0 if cell.arm.optimizer == "muon" else 2 / 64)
    report = report_of(suite, bench.store)
    (table,) = report.standings
    assert report.contrasts["resolved"].tolist() == [False] and report.contrasts["estimate"].tolist() == [62 / 64]
    assert not table.supported.to_numpy().any() and not table.tied.to_numpy().any()
    assert [name for name, _ in table.mean.index] == ["muon", "adamw"]
    text = " ".join(report.answer.lines)
    assert "muon has the best mean, 100.0% of test questions right (3 seeds, all with this score)" in text
    assert "muon and adamw each scored the same at every seed, which leaves no spread to judge their difference" in text
    assert "one run" not in text and "raise seeds" not in text and "use the optimizer" not in text
    assert notes_of(table)[0].startswith("No ± where") and "muon uniform (3 seeds), adamw uniform" in notes_of(table)[0]


def test_one_run_of_each_is_still_called_that(bench):
    suite = bench.suite(("adamw", "muon"), seeds=1)
    bench.fill(suite, lambda cell: 0.3 + 0.1 * (cell.arm.optimizer == "muon"))
    report = report_of(suite, bench.store)
    assert "one run of each combination proves no order" in report.answer.lines[0]
    assert not report.standings[0].alike.to_numpy().any()


def test_an_arm_that_diverged_at_all_seeds_is_last_and_needs_no_other_word(bench, suite):
    for cell in suite.cells():
        failed = cell.arm.optimizer == "adamw"
        outcome = "diverged" if failed else "completed"
        bench.write(cell, None if failed else VARIED[cell.seed], outcome=outcome)
    report = report_of(suite, bench.store)
    (table,) = report.standings
    assert table.mean["m"].tolist()[-1] == 0.0 and math.isinf(table.half_width["m"].iloc[-1])
    assert texts(score_grid(table, intervals=True))["adamw †3"] == ["diverged"]
    assert not any("scored the same" in note for note in notes_of(table))
    assert "Diverged, and last: adamw." in " ".join(report.answer.lines)


def test_every_model_is_named_at_which_seeds_agree(bench):
    suite = bench.suite(("adamw", "muon"), models=("a", "b"), seeds=3)
    bench.fill(suite, lambda cell: accuracy(cell) + (0 if cell.arm.model == "a" else 0.1 * VARIED[cell.seed]))
    (table,) = report_of(suite, bench.store).standings
    assert any(note.endswith("says nothing: adamw uniform at a (3 seeds).") for note in notes_of(table))
    bench.fill(suite, accuracy)
    (table,) = report_of(suite, bench.store).standings
    said = "adamw uniform over all models (3 seeds), adamw uniform at a (3 seeds), adamw uniform at b (3 seeds)."
    assert any(note.endswith(f"says nothing: {said}") for note in notes_of(table))


def test_figures_draw_no_bar_and_say_so(bench, suite):
    report = report_of(suite, bench.store)
    (table,) = report.standings
    assert np.isinf(scores_at(table, "m")["y_half"].tolist()).tolist() == [False, True]
    assert metric_by_group(report, table, "flops")["m"]["x_half"].tolist() == [0.0, 0.0]
    assert np.isinf(metric_by_group(report, table, "never_learned")["m"]["x_half"]).all()
    assert bars_note(table) == "Bars: 95% t interval over seeds. None where all seeds scored the same."
    bench.fill(suite, lambda cell: VARIED[cell.seed] + 0.1 * (cell.arm.optimizer == "muon"))
    assert bars_note(report_of(suite, bench.store).standings[0]) == "Bars: 95% t interval over seeds."


def test_a_comparison_with_a_board_takes_rounding_for_no_spread(bench, suite):
    for cell in suite.cells():
        better = cell.arm.optimizer == "muon"
        bench.write(cell, None, result={"test_nll": (3.3 if better else 3.1) + 4e-16 * (cell.seed + better)})
    suite = replace(suite, ranked_by="test_nll")
    ours = ours_of(suite, bench.store, metric="", strategy="", model="", reference="adamw")
    gain = ours.sides["muon"].gain
    assert math.isinf(ours.sides["adamw"].half_width) and math.isinf(ours.sides["muon"].half_width)
    assert math.isinf(gain.absolute_half_width) and math.isinf(gain.relative_half_width) and not gain.resolved
    # Here what is left of the differences is rounding, and small beside nothing but the values themselves.
    for cell in suite.cells():
        last = cell.seed == 2 and cell.arm.optimizer == "muon"
        bench.write(cell, None, result={"test_nll": 3.1 + 4.5e-16 * last})
    gain = ours_of(suite, bench.store, metric="", strategy="", model="", reference="adamw").sides["muon"].gain
    assert gain.absolute != 0 and math.isinf(gain.absolute_half_width) and math.isinf(gain.relative_half_width)
