"""Who is on a Pareto front, and how sure that is."""

import csv
import io
import json
import math

import numpy as np
import pytest

from optbench.reports.front_grid import front_columns_of, front_notes_of
from optbench.reports.inference import FIXED
from optbench.reports.leaderboard import render, report_of
from optbench.reports.pareto import marks_of, pareto_front
from optbench.reports.resolution import resolved_pairs
from optbench.rng import stream


def front(score, price, **more):
    return pareto_front(np.array(score, float), np.array(price, float), **more).tolist()


def test_the_front_by_hand():
    assert front([0.2, 0.5, 0.4, 0.6], [1, 2, 3, 4]) == [True, True, False, True]
    assert front([0.6, 0.5, 0.4], [1, 2, 3]) == [True, False, False]
    # Equal scores: the cheaper one. Equal prices: the better one. Equal in both: both.
    assert front([0.5, 0.5], [1, 2]) == [True, False]
    assert front([0.5, 0.6], [1, 1]) == [False, True]
    assert front([0.5, 0.5], [1, 1]) == [True, True]


def test_rows_without_a_number_are_never_on_it_and_beat_nothing():
    assert front([math.nan, 0.5, 0.4, 0.9], [1, math.nan, 2, math.inf]) == [False, False, True, False]
    assert front([-math.inf, 0.5], [0, 1]) == [False, True]
    assert front([math.nan], [1]) == [False]


def test_prices_within_the_allowance_are_the_same_price():
    assert front([0.5, 0.6], [1.0, 1.04], allowance=0.05) == [False, True]
    assert front([0.5, 0.6], [1.0, 1.06], allowance=0.05) == [True, True]
    assert front([0.5, 0.6], [1.0, 1.04]) == [True, True]
    # Sums of equal operations in another order.
    assert front([0.5, 0.6], [1.0, 1.0 + 1e-15]) == [False, True]
    assert front([0.5, 0.5], [1.0, 1.0 + 1e-15]) == [True, True]


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_the_definition_says(seed):
    draws = stream(seed, "front")
    score, price = draws.integers(0, 5, size=8).astype(float), draws.integers(1, 5, size=8).astype(float)
    expected = [
        not any(
            score[j] >= score[i] and price[j] <= price[i] and (score[j] > score[i] or price[j] < price[i])
            for j in range(8)
        )
        for i in range(8)
    ]
    assert front(score, price) == expected
    assert any(expected)


def marks(better, price, placed=None, **more):
    placed = np.ones(len(price), dtype=bool) if placed is None else np.array(placed)
    return marks_of(np.array(better, dtype=bool), np.array(price, float), placed, **more).tolist()


def test_a_place_is_sure_where_all_that_cost_no_more_are_resolved_as_worse():
    # 1 is resolved as better than 0, 2 from none.
    better = [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert marks(better, [1, 2, 3]) == ["resolved", "resolved", "open"]
    assert marks(better, [2, 1, 3]) == ["beaten", "resolved", "open"]
    assert marks(better, [1, 2, 3], placed=[False, True, True]) == ["", "resolved", "open"]
    # At equal prices nothing but the score counts.
    assert marks(better, [1, 1, 1]) == ["beaten", "open", "open"]


def test_a_row_without_a_place_beats_nothing():
    better = [[0, 0], [1, 0]]
    assert marks(better, [2, 1]) == ["beaten", "resolved"]
    assert marks(better, [2, 1], placed=[True, False]) == ["resolved", ""]


def test_measured_prices_need_a_margin_to_be_a_reason():
    better = [[0, 0], [1, 0]]
    assert marks(better, [1.0, 1.04], allowance=0.05) == ["beaten", "resolved"]
    assert marks(better, [1.0, 1.06], allowance=0.05) == ["resolved", "resolved"]


@pytest.mark.parametrize("seed", range(20))
def test_a_resolved_place_is_on_the_front_by_means_and_the_best_is_never_beaten(seed):
    draws = stream(seed, "marks")
    values = draws.normal(0, 0.02, size=(6, 5)) + draws.choice([0.2, 0.3, 0.4], size=(6, 1))
    price = draws.integers(1, 4, size=6).astype(float)
    better = resolved_pairs(values, higher=True, inference=FIXED)
    found = marks_of(better, price, np.ones(6, dtype=bool))
    by_means = pareto_front(values.mean(axis=1), price)
    assert by_means[found == "resolved"].all()
    assert not by_means[found == "beaten"].any()
    assert found[values.mean(axis=1).argmax()] != "beaten"
    assert not (better & better.T).any()


def test_pairs_are_tested_at_the_level_of_all_pairs():
    # Two rows differ at p = 0.01: enough alone, not among the 6 pairs of four rows.
    differences = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 1.0]) + 0.35
    rows = np.stack([differences, np.zeros(6)])
    assert resolved_pairs(rows, higher=True, inference=FIXED).tolist() == [[False, True], [False, False]]
    assert resolved_pairs(rows, higher=False, inference=FIXED).tolist() == [[False, False], [True, False]]
    close = np.stack([np.array([0.3, 2.3, 0.6, 4.4, 0.2, 3.0]), np.zeros(6)])
    assert resolved_pairs(close, higher=True, inference=FIXED)[0, 1]
    filler = np.stack([np.full(6, np.arange(6) * 0.01), np.arange(6) * 0.01 + np.array([0, 9, -9, 9, -9, 0])])
    assert not resolved_pairs(np.concatenate([close, filler]), higher=True, inference=FIXED)[0, 1]
    broken = np.stack([np.full(6, -np.inf), *rows, np.full(6, np.nan)])
    found = resolved_pairs(broken, higher=True, inference=FIXED)
    assert found[1, 2] and not found[0].any() and not found[3].any() and not found[:, 0].any()


def test_where_no_row_differs_a_pair_is_resolved_in_at_most_one_of_twenty():
    draws = stream(0, "pairs")
    false = sum(resolved_pairs(draws.normal(size=(7, 5)), higher=True, inference=FIXED).any() for _ in range(1000))
    assert false / 1000 < 0.065


PRICES = {"gd": 1.0, "adamw": 1.0, "muon": 1.3, "sam": 2.0}
LEVELS = {"gd": 0.2, "adamw": 0.4, "muon": 0.7, "sam": 0.4}


@pytest.fixture
def priced(bench):
    """gd, adamw, muon and sam on two models; FLOPs, times and bytes as said, for one row others."""

    def build(seeds=6, odd="", levels=LEVELS, more=None, **written):
        suite = bench.suite(tuple(levels), models=("aa", "bb"), seeds=seeds)
        noise = stream(0, "noise").normal(0, 0.01, size=(len(suite.arms), seeds))
        places = {arm.name: place for place, arm in enumerate(suite.arms)}
        for cell in suite.cells():
            name = cell.arm.optimizer
            price = PRICES[name]
            size = 10.0 if cell.arm.model == "bb" else 1.0
            result = {"flops": 1e9 * price * size, "state_bytes": 8e3 if name != "gd" else 0.0, "steps_done": 300.0}
            measured = {"step_seconds": 0.01 * price * size, "peak_bytes": 1e6 * size}
            own = dict(written) if name == odd else {}
            bench.write(
                cell,
                levels[name] + noise[places[cell.arm.name], cell.seed],
                result={**result, **own.pop("result", {})},
                measured={**measured, **own.pop("measured", {})},
                **{"provenance": {"device_type": "cuda"}, **own},
            )
        return suite

    return build


def fronts(suite, bench):
    (table,) = report_of(suite, bench.store).standings
    return table, {
        axis: (
            front.price["all models"],
            dict(zip(table.mean.index.get_level_values(0), front.mark["all models"], strict=True)),
        )
        for axis, front in table.fronts.items()
    }


def test_the_fronts_of_a_suite(bench, priced):
    table, found = fronts(priced(), bench)
    assert found["time"] == ("time", {"muon": "resolved", "sam": "beaten", "adamw": "resolved", "gd": "beaten"})
    assert found["memory"] == ("peak_bytes", {"muon": "resolved", "sam": "beaten", "adamw": "beaten", "gd": "beaten"})
    assert list(front_columns_of(table)) == ["Pareto time", "Pareto memory"]
    symbols = {row: [entry.text for entry in column] for row, column in front_columns_of(table).items()}
    rows = table.mean.index.get_level_values(0).tolist()
    assert dict(zip(rows, symbols["Pareto time"], strict=True)) == {"muon": "●", "sam": "", "adamw": "●", "gd": ""}
    first, second = front_notes_of(table)
    assert first == (
        "Pareto: accuracy over all models against training time and against peak memory. Time leaves out the "
        "strategy's probe. Less than 5% apart is the same price."
    )
    assert "● on the front" in second and "Empty: " in second and "○" not in second and "·" not in second


def test_with_contended_times_counted_prices_stand_in_and_the_note_says_so(bench, priced):
    table, found = fronts(priced(odd="sam", measured={"contended": True}), bench)
    assert found["time"][0] == "compute"
    assert found["memory"] == (
        "state_bytes",
        {"muon": "resolved", "sam": "beaten", "adamw": "beaten", "gd": "resolved"},
    )
    assert list(front_columns_of(table)) == ["Pareto FLOPs", "Pareto state"]
    note = front_notes_of(table)[0]
    assert "against FLOPs of training and probe and against optimizer state" in note
    assert "or is a whole process's: training time, peak memory." in note
    assert "same price" not in note


def test_times_of_two_machines_make_no_front(bench, priced):
    _, found = fronts(priced(odd="sam", provenance={"device": "another", "device_type": "cuda"}), bench)
    assert [price for price, _ in found.values()] == ["compute", "state_bytes"]


def test_a_price_that_one_row_lacks_makes_no_front(bench):
    suite = bench.suite(("adamw", "sam"))
    for cell in suite.cells():
        bench.write(cell, result={"flops": 1e9} if cell.arm.optimizer == "sam" else {}, measured={"step_seconds": 0.1})
    (table,) = report_of(suite, bench.store).standings
    assert {axis: front.price["m"] for axis, front in table.fronts.items()} == {"time": "time", "memory": ""}
    assert list(front_columns_of(table)) == ["Pareto time"]


def test_rows_with_failed_cells_have_no_place_and_beat_nothing(bench, priced):
    for outcome in ("diverged", "out_of_memory"):
        suite = priced(odd="muon")
        cell = next(cell for cell in suite.cells() if cell.arm.optimizer == "muon")
        bench.write(
            cell,
            None,
            outcome=outcome,
            result={"flops": 1.0, "state_bytes": 8e3},
            measured={"peak_bytes": 1.0},
            provenance={"device_type": "cuda"},
        )
        table, found = fronts(suite, bench)
        assert found["memory"][1]["muon"] == found["time"][1]["muon"] == ""
        assert not table.fronts["time"].by_means["all models"]["muon"].any()
        # sam costs more than muon and is worse, and only muon and adamw could have said so.
        assert found["time"][1]["adamw"] == "resolved"
        assert table.fronts["time"].mark["bb"]["muon", "uniform"] == "resolved"


def test_a_dearer_tie_is_open_and_neither_on_nor_off(bench, priced):
    levels = {"adamw": 0.4, "sam": 0.401, "gd": 0.2}
    table, found = fronts(priced(levels=levels, seeds=4), bench)
    assert found["time"][1] == {"sam": "open", "adamw": "resolved", "gd": "beaten"}
    assert table.fronts["time"].by_means["all models"]["sam", "uniform"] == (
        table.mean["all models"]["sam", "uniform"] > table.mean["all models"]["adamw", "uniform"]
    )


def test_with_one_seed_nothing_is_sure_but_that_the_cheapest_row_is_on_the_front(bench, priced):
    table, found = fronts(priced(seeds=1), bench)
    assert set(found["time"][1].values()) == {"open"}
    by_means = table.fronts["time"].by_means["all models"].droplevel(1).to_dict()
    assert by_means == {"muon": True, "sam": False, "adamw": True, "gd": False}
    text = render(priced(seeds=1), bench.store)
    _, found = fronts(priced(seeds=1, odd="gd", measured={"step_seconds": 1e-4}), bench)
    assert found["time"][1] == {"muon": "open", "sam": "open", "adamw": "open", "gd": "resolved"}
    assert "○ on it by the means, not resolved. · off it by the means, not resolved." in " ".join(text.split())


def test_at_equal_compute_the_time_of_a_front_counts_the_steps(bench):
    suite = bench.suite(("adamw", "sam"), budgets=({"passes": 300},))
    for cell in suite.cells():
        steps = 150.0 if cell.arm.optimizer == "sam" else 300.0
        bench.write(cell, 0.5, result={"steps_done": steps}, measured={"step_seconds": 0.3 if steps == 150 else 0.1})
    (table,) = report_of(suite, bench.store).standings
    assert table.prices["time"]["m"].droplevel(1).to_dict() == pytest.approx({"adamw": 30.0, "sam": 45.0})


def test_csv_and_json_say_for_each_arm_where_it_is(bench, priced):
    suite = priced()
    rows = list(csv.DictReader(io.StringIO(render(suite, bench.store, "csv"))))
    report = json.loads(render(suite, bench.store, "json"), parse_constant=lambda word: pytest.fail(word))
    on = {
        ("muon", "True", "resolved"),
        ("adamw", "True", "resolved"),
        ("sam", "False", "beaten"),
        ("gd", "False", "beaten"),
    }
    assert {(row["optimizer"], row["front_time"], row["front_time_mark"]) for row in rows} == on
    assert {row["front_time_price"] for row in rows} == {"time"} and len(rows) == 8
    for arm, row in zip(report["arms"], rows, strict=True):
        assert arm["fronts"]["time"] == {
            "by_means": row["front_time"] == "True",
            "mark": row["front_time_mark"],
            "price": "time",
        }
    standing = report["standings"][0]["rows"][0]
    assert (standing["optimizer"], standing["columns"]["all models"]["fronts"]["memory"]["mark"]) == (
        "muon",
        "resolved",
    )


def test_no_front_where_nothing_is_recorded(bench):
    suite = bench.suite()
    report = json.loads(render(suite, bench.store, "json"))
    assert report["arms"][0]["fronts"]["time"] == {"by_means": False, "mark": None, "price": None}


def test_the_symbols_are_latex(bench, priced):
    text = render(priced(seeds=1), bench.store, "latex")
    assert r"$\circ$" in text and r"$\cdot$" in text and not set("●○·") & set(text)
    assert r"$\bullet$" in render(priced(), bench.store, "latex")


def test_equal_scores_at_prices_within_the_allowance_are_both_on_the_front():
    score, price = np.array([0.5, 0.5]), np.array([1.0, 1.03])
    assert pareto_front(score, price, allowance=0.05).tolist() == [True, True]
    assert pareto_front(score, price).tolist() == [True, False]
