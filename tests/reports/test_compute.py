"""The two tables: equal steps, and equal compute with the probe in the bill."""

import json

import pytest

from optbench.reports.cost_grid import cost_notes_of
from optbench.reports.frame import cells_table
from optbench.reports.leaderboard import render, report_of

PROBE = 50.0
"""FLOPs of the probe, beside 1000 for a cell of adamw and 2000 for one of sam."""


@pytest.fixture
def priced(bench):
    """Two optimizers, a strategy without price, one with a probe, and a control that borrows the probe's choice."""

    def build(budget, seeds=2, **more):
        suite = bench.suite(
            ("adamw", "sam"), strategies=("uniform", "upsample", "random"), budgets=(budget,), seeds=seeds
        )
        for cell in suite.cells():
            flops = 2000.0 if cell.arm.optimizer == "sam" else 1000.0
            share = PROBE / flops if cell.arm.strategy == "upsample" else 0.0
            bench.write(
                cell,
                0.5,
                result={"flops": flops, "probe_share": share, "passes": 300.0},
                plan={} if cell.arm.strategy == "uniform" else {"probe": "aa"},
                **more,
            )
        return suite

    return build


def costs_of(bench, suite):
    (standings,) = report_of(suite, bench.store).standings
    return standings.costs


def test_each_run_pays_for_its_probe_in_full(bench, priced):
    costs = costs_of(bench, priced({"passes": 300}))
    assert costs.loc[("adamw", "upsample"), "compute"] == pytest.approx(1.05)
    assert costs.loc[("sam", "upsample"), "compute"] == pytest.approx(2.05)
    assert costs.loc[("adamw", "uniform"), "compute"] == 1.0


def test_a_control_pays_for_no_probe(bench, priced):
    costs = costs_of(bench, priced({"passes": 300}))
    assert costs.loc[("adamw", "random"), ["compute", "compute_shared", "over_budget"]].tolist() == [1.0, 1.0, 0.0]


def test_a_probe_can_be_shared_by_the_runs_that_paid_for_it(bench, priced):
    # Two optimizers at two seeds.
    costs = costs_of(bench, priced({"passes": 300}))
    assert costs.loc[("adamw", "upsample"), "compute_shared"] == pytest.approx(1 + 0.05 / 4)


def test_what_a_probe_takes_is_beyond_the_budget(bench, priced):
    costs = costs_of(bench, priced({"passes": 300}))
    assert costs.loc[("adamw", "upsample"), "over_budget"] == pytest.approx(0.05)
    assert costs.loc[("adamw", "uniform"), "over_budget"] == 0.0
    text = " ".join(render(priced({"flops": 1000}), bench.store).split())
    assert "Above the common budget of 1000 flops" in text


def test_the_tables_say_what_they_make_equal(bench, priced):
    text = " ".join(render(priced({"passes": 300}), bench.store).split())
    assert "sums, equal compute (300 passes): accuracy" in text
    assert "sums, equal compute (300 passes): costs" in text
    assert "Above the common budget of 300 passes by the price of the probe: upsample" in text
    text = " ".join(render(priced({"steps": 300}), bench.store).split())
    assert "sums, equal steps (300 steps): accuracy" in text
    assert "common budget" not in text and "compute" not in text and "probe" in text


def test_a_table_without_a_probe_has_no_word_about_one(bench):
    suite = bench.suite(("adamw", "sam"), budgets=({"passes": 300},))
    for cell in suite.cells():
        bench.write(cell, 0.5, result={"flops": 10.0, "probe_share": 0.0, "passes": 300.0})
    text = render(suite, bench.store)
    assert "compute" in text and "shared" not in text and "Above" not in text


def test_the_seconds_of_rewriting_are_shown_where_they_matter(bench, priced):
    assert "rewriting" not in render(priced({"passes": 300}, measured={"rewrite_seconds": 0.01}), bench.store)
    text = render(priced({"passes": 300}, measured={"rewrite_seconds": 12.5}), bench.store, width=120)
    assert "12.5 s" in text and "rewriting: time of writing new examples" in text


def test_records_without_a_price_are_not_charged(bench):
    suite = bench.suite(("adamw",), budgets=({"passes": 300},))
    bench.write(suite.cells()[0], 0.5, result={"flops": 10.0, "passes": 300.0})
    assert costs_of(bench, suite)["compute"].tolist() == [1.0]


def test_without_adamw_compute_is_divided_by_the_first_arm(bench):
    suite = bench.suite(("muon", "sam"), budgets=({"passes": 300},))
    for cell in suite.cells():
        bench.write(cell, 0.5, result={"flops": 20.0 if cell.arm.optimizer == "sam" else 10.0, "passes": 300.0})
    (standings,) = report_of(suite, bench.store).standings
    assert standings.costs["compute"].to_dict() == {("muon", "uniform"): 1.0, ("sam", "uniform"): pytest.approx(2.0)}
    assert any("over those of muon uniform" in note for note in cost_notes_of(standings))


def test_programs_read_the_bill_of_each_arm(bench, priced):
    report = json.loads(render(priced({"passes": 300}), bench.store, "json"))
    bills = {(arm["optimizer"], arm["strategy"]): arm["compute"] for arm in report["arms"]}
    assert bills["adamw", "upsample"] == {
        "compute": pytest.approx(1.05),
        "compute_shared": pytest.approx(1.0125),
        "over_budget": pytest.approx(0.05),
    }
    report = json.loads(render(priced({"steps": 300}), bench.store, "json"))
    assert {arm["compute"]["over_budget"] for arm in report["arms"]} == {None}


def test_the_cells_name_their_probe(bench, priced):
    assert set(cells_table(priced({"steps": 300}), bench.store)["probe"]) == {"", "aa"}
