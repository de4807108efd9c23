"""Tables, stars, the answer and fronts of a suite to which seeds were added one look after another."""

import math

import numpy as np
import pytest

from optbench.added import Added
from optbench.reports.answer import ranking_of
from optbench.reports.before_grid import before_grid, before_notes_of
from optbench.reports.frame import arms_table
from optbench.reports.grid import notes_of
from optbench.reports.inference import ANYTIME, FIXED, inference_of
from optbench.reports.leaderboard import render, report_of
from optbench.reports.panel_grid import panel_notes_of
from optbench.reports.resolution import not_resolved_from_best, resolved_pairs, supported_as_best
from optbench.reports.sequential import half_width_anytime, seeds_needed_anytime
from optbench.reports.stats import half_width
from optbench.rng import stream

GAIN = 0.05
NOISE = stream(33, "noise").normal(0.0, 0.03, size=(3, 12))
PLACES = {"adamw": 0, "muon": 1, "sam": 2}


def accuracy(cell):
    """All of the size of the noise, but that muon is better by `GAIN`."""
    return 0.5 + GAIN * (cell.arm.optimizer == "muon") + NOISE[PLACES[cell.arm.optimizer], cell.seed]


@pytest.fixture
def looked_at(bench):
    """A suite of three optimizers with 3 seeds of its own and `added` more, and the same suite with all declared."""

    def make(added=5, value=accuracy, **more):
        suite = bench.suite(PLACES, seeds=3, contrasts=[bench.contrast("muon", "adamw")])
        suite.added = Added(0.02, {arm.name: range(3, 3 + added) for arm in suite.arms})
        bench.fill(suite, value, **more)
        declared = bench.suite(PLACES, seeds=3 + added, contrasts=suite.contrasts)
        return suite, declared

    return make


def table_of(bench, suite):
    (table,) = report_of(suite, bench.store).standings
    return table


def test_what_a_suite_allows(looked_at):
    suite, declared = looked_at()
    assert inference_of(suite) is ANYTIME
    assert inference_of(declared) is FIXED
    # Also where no arm was given any: there was a look, at which one might have stopped.
    suite.added = Added(0.02, {})
    assert inference_of(suite) is ANYTIME


def test_half_widths_of_arms_and_tables_allow_for_looks(bench, looked_at):
    suite, declared = looked_at()
    wide, plain = (arms_table(own, bench.store).set_index("optimizer") for own in (suite, declared))
    assert wide["accuracy"].tolist() == plain["accuracy"].tolist()
    shown, usual = table_of(bench, suite), table_of(bench, declared)
    for name, place in PLACES.items():
        sd = NOISE[place, :8].std(ddof=1)
        assert wide.loc[name, "accuracy_half_width"] == pytest.approx(float(half_width_anytime(sd, 8)))
        assert shown.half_width["m"][name, "uniform"] == pytest.approx(float(half_width_anytime(sd, 8)))
        assert plain.loc[name, "accuracy_half_width"] == pytest.approx(float(half_width(sd, 8)))
        assert usual.half_width["m"][name, "uniform"] == pytest.approx(float(half_width(sd, 8)))
    assert notes_of(shown)[0] == (
        "±: half-width of the 95% interval over seeds, valid under repeated looks; below 4 seeds there is none."
    )
    assert notes_of(usual)[0] == "±: half-width of the 95% interval over seeds (Student t)."


def test_stars_bold_and_answer_allow_for_looks(bench, looked_at):
    suite, declared = looked_at()
    shown, usual = report_of(suite, bench.store), report_of(declared, bench.store)
    assert usual.standings[0].supported["m"].sum() == 1 and usual.standings[0].tied["m"].sum() == 1
    assert not shown.standings[0].supported.to_numpy().any() and not shown.standings[0].tied.to_numpy().any()
    assert "use the optimizer muon" in usual.answer.lines[0]
    assert "none of the other 2 is resolved from it" in shown.answer.lines[0]
    # What was seen is not lost: with more seeds the same difference holds at any look.
    more, _ = looked_at(added=9)
    found = report_of(more, bench.store)
    assert found.standings[0].supported["m"].tolist() == [True, False, False]
    assert "use the optimizer muon" in found.answer.lines[0]


def test_nothing_says_that_tables_do_not_allow_for_looks(bench, looked_at):
    suite, _ = looked_at()
    text = render(suite, bench.store, "markdown")
    assert "Student" not in text and "and do not" not in text
    assert "valid under repeated looks" in text


def test_worse_but_not_at_the_level_of_pairs_is_said_at_any_look(bench, looked_at):
    column = ranking_of(table_of(bench, looked_at(added=7)[0]), "m", math.nan)
    assert column.best == ("muon", "uniform") and len(column.worse) == 2
    values = 0.5 + NOISE[:, :10] + GAIN * np.array([[0], [1], [0]])
    assert resolved_pairs(values, higher=True, inference=FIXED)[1].tolist() == [True, False, True]
    strict = resolved_pairs(values, higher=True, inference=ANYTIME)[1]
    assert [row for row in column.worse if not strict[PLACES[row[0]]]] == list(column.unsure) != []


def test_the_half_width_of_the_chosen_and_the_plan_allow_for_looks(bench, looked_at):
    suite, declared = looked_at()
    wide, plain = (ranking_of(table_of(bench, own), "m", 2.0) for own in (suite, declared))
    sd = NOISE[1, :8].std(ddof=1)
    assert wide.half_width_chosen == pytest.approx(float(half_width_anytime(sd, 8, level=0.05 / 3)))
    assert plain.half_width_chosen == pytest.approx(float(half_width(sd, 8, level=0.05 / 3)))
    second = PLACES[wide.plan.second[0]]
    spread = float((NOISE[1, :8] - NOISE[second, :8]).std(ddof=1))
    assert wide.plan.seeds == seeds_needed_anytime(spread, 0.01, level=0.05 / 2)
    assert wide.plan.missing == wide.plan.seeds - 8
    assert wide.plan.minutes == pytest.approx(2.0 * wide.plan.missing)


def test_numbers_that_agree_up_to_rounding_prove_nothing(bench, looked_at):
    def agreeing(cell):
        return [100, 120, 140, 77][cell.seed % 4] / 500 + 0.02 * (cell.arm.optimizer == "muon")

    suite, declared = looked_at(value=agreeing)
    shown = report_of(suite, bench.store)
    assert not shown.standings[0].tied.to_numpy().any()
    assert ranking_of(shown.standings[0], "m", math.nan).plan is None
    values = shown.standings[0].by_seed["m"].to_numpy()
    assert not resolved_pairs(values, higher=True, inference=ANYTIME).any()
    assert not table_of(bench, declared).tied.to_numpy().any()
    assert not resolved_pairs(values, higher=True, inference=FIXED).any()


@pytest.mark.parametrize("inference", [FIXED, ANYTIME])
def test_numbers_that_agree_have_no_interval_unless_they_do_so_by_rule(inference):
    # The deviation of three times 0.1 is not exactly 0.
    assert inference.half_width(0.1, 1e-17, 8) == inference.half_width(0.1, 0.0, 8) == math.inf
    assert inference.interval([0.1] * 8) == (pytest.approx(0.1), math.inf)
    assert inference.half_width_chosen(0.1, 1e-17, 8, 3) == math.inf
    assert inference.half_width([0.1, 0.1], 1e-17, 8, certain=[True, False]).tolist() == [0.0, math.inf]
    assert inference.half_width(0.1, 1e-3, 8) == inference.width(1e-3, 8) > 0
    # What subtraction leaves of 3.1 and 3 is rounded as they are.
    assert inference.interval([0.1, 0.1 + 2e-13] * 4, largest=3.1)[1] == math.inf
    assert 0 < inference.interval([0.1, 0.1 + 2e-13] * 4)[1] < 1e-11


@pytest.mark.parametrize("inference", [FIXED, ANYTIME])
def test_so_many_numbers_as_an_interval_takes_lack_one_only_where_they_agree(inference):
    least = inference.least
    assert math.isinf(inference.half_width(0.5, 0.1, least - 1))
    assert math.isfinite(inference.half_width(0.5, 0.1, least))
    counts = [least - 1, least, least, least]
    widths = [math.inf, math.inf, 0.1, math.inf]
    assert inference.without_spread([0.5, 0.5, 0.5, math.nan], widths, counts).tolist() == [False, True, False, False]


def test_fronts_allow_for_looks(bench, looked_at):
    measured = {"step_seconds": 0.1}
    suite, declared = looked_at(measured=measured, result={"flops": 1e9, "passes": 10.0, "steps_done": 10.0})
    sure, open_ = (table_of(bench, own).fronts["time"].mark["m"].tolist() for own in (declared, suite))
    assert sure == ["resolved", "beaten", "beaten"]
    assert open_ == ["open", "open", "open"]


def test_panels_and_gains_allow_for_looks(bench, looked_at):
    suite, declared = looked_at(result={"accuracy_before": 0.25})
    for own in (suite, declared):
        for cell in own.cells():
            extra = {"accuracy_before": 0.25, "learned": accuracy(cell), "never_learned": 0.2}
            bench.write(cell, accuracy(cell), result=extra)
    wide, plain = report_of(suite, bench.store), report_of(declared, bench.store)
    sd = NOISE[0, :8].std(ddof=1)
    row = ("adamw", "uniform")
    assert wide.panels[0].half_width["learned"][row] == pytest.approx(float(half_width_anytime(sd, 8)))
    assert plain.panels[0].half_width["learned"][row] == pytest.approx(float(half_width(sd, 8)))
    assert "95% interval over seeds, valid under repeated looks; no test" in panel_notes_of(wide.panels[0])[-1]
    assert "95% interval over seeds; no test" in panel_notes_of(plain.panels[0])[-1]
    gains = [before_grid(own.standings[0], own.cells).rows[1][-1].text for own in (wide, plain)]
    widths = [float(text.partition("±")[2]) for text in gains]
    sd = NOISE[1, :8].std(ddof=1)
    assert widths == [pytest.approx(100 * float(width(sd, 8)), abs=0.06) for width in (half_width_anytime, half_width)]
    assert "valid under repeated looks" in before_notes_of(wide.standings[0])[0]


def test_three_seeds_are_too_few_and_the_tables_say_so(bench, looked_at):
    suite, _ = looked_at(added=0)
    for cell in suite.cells():
        bench.write(cell, accuracy(cell), result={"learned": accuracy(cell)})
    report = report_of(suite, bench.store)
    assert np.isinf(report.standings[0].half_width.to_numpy()).all()
    assert "one run of each" not in " ".join(report.answer.lines) and "3 seeds" in report.answer.lines[0]
    assert "below 4 seeds there is none" in notes_of(report.standings[0])[0]
    assert panel_notes_of(report.panels[0])[-1] == "Below 4 seeds no interval is valid under repeated looks."
    assert "±" not in render(suite, bench.store, "csv")


def alarms(inference, tables):
    """The share of tables in which something is bold at any look, from the fourth seed on."""

    def any_look(table):
        looks = range(4, table.shape[1] + 1)
        return any(supported_as_best(table[:, :n], higher=True, inference=inference).any() for n in looks)

    return np.mean([any_look(table) for table in tables])


def test_whoever_stops_when_a_row_is_bold_is_wrong_in_five_of_a_hundred_at_most():
    tables = stream(0, "stopping").normal(size=(150, 4, 20))
    assert alarms(ANYTIME, tables) <= 0.05
    assert alarms(FIXED, tables) > 0.1


def test_the_tie_group_keeps_the_best_row_at_all_looks():
    tables = stream(0, "kept").normal(size=(150, 4, 20)) + 0.2 * np.eye(4, 1)

    def kept(inference):
        looks = range(4, 21)
        return np.mean(
            [
                all(not_resolved_from_best(table[:, :n], higher=True, inference=inference)[0] for n in looks)
                for table in tables
            ]
        )

    assert kept(ANYTIME) >= 0.975
