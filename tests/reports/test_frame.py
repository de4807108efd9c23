"""Records as tables."""

import json
import math

import numpy as np
import pytest

from optbench.errors import UserError
from optbench.metrics.columns import COLUMNS, column, worst
from optbench.panels.base import panel_key
from optbench.reports.frame import arms_table, cells_table, metrics_of, scored
from optbench.reports.inference import FIXED
from optbench.store import PANEL, PANELS
from optbench.suite import load_suite


def test_every_cell_has_a_row_and_the_missing_ones_say_so(bench):
    suite = bench.suite(models=("a", "b"), seeds=2)
    bench.fill(suite, lambda cell: 0.5 if cell.seed == 0 else None)
    table = cells_table(suite, bench.store)
    assert [cell.key for cell in suite.cells()] == table["key"].tolist()
    assert table["outcome"].tolist() == ["completed", "missing"] * 4
    assert table["accuracy"].isna().tolist() == [False, True] * 4
    assert table["arm"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_columns_of_sources_and_plugins_are_kept(bench):
    suite = bench.suite(("adamw",))
    bench.write(suite.cells()[0], result={"accuracy/sums": 0.25, "my_number": 7})
    table = cells_table(suite, bench.store)
    assert table["accuracy/sums"].tolist() == [0.25]
    assert table["my_number"].tolist() == [7.0]
    assert "contended" not in metrics_of(table)


def test_an_arm_has_mean_interval_and_count_of_each_metric(bench):
    suite = bench.suite(("adamw", "muon"), seeds=3)
    values = {"adamw": [0.2, 0.3, 0.7], "muon": [0.5, 0.5, 0.8]}
    bench.fill(suite, lambda cell: values[cell.arm.optimizer][cell.seed])
    table = arms_table(suite, bench.store).set_index("optimizer")
    for optimizer, numbers in values.items():
        mean, width = FIXED.interval(numbers)
        assert table.loc[optimizer, "accuracy"] == pytest.approx(mean)
        assert table.loc[optimizer, "accuracy_half_width"] == pytest.approx(width)
        assert table.loc[optimizer, "accuracy_n"] == 3
    assert table.loc["muon", "budget"] == {"steps": 300}
    assert table["test_nll_n"].tolist() == [0, 0]
    assert table["test_nll"].isna().all()


def test_one_seed_has_an_infinite_half_width(bench):
    suite = bench.suite(("adamw",))
    bench.fill(suite, lambda cell: 0.5)
    assert arms_table(suite, bench.store)["accuracy_half_width"].tolist() == [math.inf]


def test_a_diverged_cell_stays_in_and_counts_as_the_worst(bench):
    suite = bench.suite(("adamw",), seeds=2)
    first, second = suite.cells()
    bench.write(first, 0.8, result={"format_error": 0.1, "test_nll": 0.5, "flops": 10.0})
    bench.write(second, None, outcome="diverged", result={"flops": 4.0})
    arm = arms_table(suite, bench.store).iloc[0]
    assert (arm["accuracy"], arm["accuracy_n"]) == (pytest.approx(0.4), 2)
    assert arm["format_error"] == pytest.approx(0.55)
    assert (arm["test_nll"], arm["test_nll_half_width"]) == (math.inf, math.inf)
    assert arm["flops"] == pytest.approx(7.0)
    assert (arm["completed"], arm["diverged"], arm["seeds"]) == (1, 1, 2)


def test_a_diverged_cell_is_the_worst_at_every_source_too(bench):
    suite = bench.suite(("adamw",), seeds=2)
    first, second = suite.cells()
    bench.write(first, 0.8, result={"accuracy/sums": 0.6})
    bench.write(second, None, outcome="diverged")
    assert arms_table(suite, bench.store)["accuracy/sums"].tolist() == [pytest.approx(0.3)]


def test_running_out_of_memory_is_no_quality(bench):
    suite = bench.suite(("adamw",), seeds=2)
    first, second = suite.cells()
    bench.write(first, 0.8)
    bench.write(second, None, outcome="out_of_memory")
    arm = arms_table(suite, bench.store).iloc[0]
    assert (arm["accuracy"], arm["accuracy_n"], arm["out_of_memory"], arm["seeds"]) == (0.8, 1, 1, 2)


def test_the_cells_table_keeps_what_was_recorded(bench):
    suite = bench.suite(("adamw",))
    bench.write(suite.cells()[0], None, outcome="diverged")
    cells = cells_table(suite, bench.store)
    assert math.isnan(cells["accuracy"].iloc[0])
    assert scored(cells)["accuracy"].iloc[0] == 0.0
    assert math.isnan(cells["accuracy"].iloc[0])


def test_times_taken_beside_others_give_way_to_times_taken_alone(bench):
    suite = bench.suite(("adamw", "muon"), seeds=2)
    for cell in suite.cells():
        beside = cell.arm.optimizer == "muon" or cell.seed == 0
        bench.write(cell, 0.5, measured={"step_seconds": 1.0 if beside else 0.1, "contended": beside})
    table = arms_table(suite, bench.store)
    assert table["step_seconds"].tolist() == [0.1, 1.0]
    assert table["contended"].tolist() == [False, True]
    assert table["accuracy_n"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"device_type": "cuda"}, "types of device: 1 from cpu, 1 from cuda"),
        ({"precision": "bf16"}, "precisions: 1 from float32, 1 from bf16"),
    ],
)
def test_records_of_two_kinds_are_never_pooled(bench, made, words):
    suite = bench.suite(("adamw",), seeds=2)
    first, second = suite.cells()
    bench.write(first)
    bench.write(second, provenance=made)
    with pytest.raises(UserError, match=words) as caught:
        arms_table(suite, bench.store)
    assert second.key in str(caught.value)


def test_a_suite_without_records_has_empty_arms(bench):
    suite = bench.suite(seeds=2)
    table = arms_table(suite, bench.store)
    assert table["seeds"].tolist() == [0, 0]
    assert table["seeds_declared"].tolist() == [2, 2]
    assert table["accuracy"].isna().all()


def test_arms_of_two_budgets_are_kept_apart(bench):
    suite = bench.suite(("adamw",), budgets=({"steps": 300}, {"passes": 300}))
    bench.fill(suite, lambda cell: 0.25 if "steps" in cell.arm.budget else 0.5)
    assert arms_table(suite, bench.store)["accuracy"].tolist() == [0.25, 0.5]


def test_units_and_directions_stand_in_one_table():
    assert all(name == known.name and known.doc.endswith(".") for name, known in COLUMNS.items())
    assert column("accuracy/sums").direction == "higher"
    assert column("accuracy/sums").unit == "fraction"
    assert column("my_number").direction == "neither"
    assert (worst("accuracy/sums"), worst("test_nll")) == (0.0, math.inf)
    assert np.isnan(worst("flops"))


SUITE = """
name: tiny
models: [phi-nano]
tasks: [arithmetic]
strategies: [uniform]
optimizers: [adamw, {name: mine, rule: {kind: torch, target: "my_opt.py:MyOpt", lr: 0.1}}]
budget: {steps: 20}
contrasts: [{of: {optimizer: mine}, minus: {optimizer: adamw}}]
"""


def test_records_of_another_source_of_a_plugin_are_not_found(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suite.yaml").write_text(SUITE)
    (tmp_path / "my_opt.py").write_text("class MyOpt: ...\n")
    for cell in load_suite("suite.yaml").cells():
        bench.write(cell)
    assert cells_table(load_suite("suite.yaml"), bench.store)["outcome"].tolist() == ["completed", "completed"]
    (tmp_path / "my_opt.py").write_text("class MyOpt:\n    beta = 0.9\n")
    assert cells_table(load_suite("suite.yaml"), bench.store)["outcome"].tolist() == ["completed", "missing"]


def test_the_time_of_a_cell_includes_what_the_panels_of_the_suite_took(desk_of_panels):
    table = cells_table(*desk_of_panels(seconds={0: 30.0, 1: None}))
    assert table["total_seconds"].tolist() == [90.0, 60.0]
    assert table["learned"].tolist()[0] == 0.5 and math.isnan(table["learned"].iloc[1])


@pytest.fixture
def desk_of_panels(bench, tmp_path):
    """Two seeds of a minute each, with findings of a panel that took so long; None: it did not look yet."""

    def build(seconds):
        path = tmp_path / "looked.yaml"
        path.write_text(LOOKED)
        suite = load_suite(path)
        for cell in suite.cells():
            bench.write(cell, measured={"total_seconds": 60.0})
            if seconds[cell.seed] is not None:
                folder = bench.store.folder(cell.key) / PANELS / panel_key(cell.panels[0])
                folder.mkdir(parents=True)
                found = {"result": {"learned": 0.5}, "measured": {"seconds": seconds[cell.seed]}}
                (folder / PANEL).write_text(json.dumps(found))
        return suite, bench.store

    return build


LOOKED = """
name: looked
models: [phi-nano]
tasks: [arithmetic]
strategies: [uniform]
optimizers: [adamw]
budget: {steps: 20}
seeds: 2
panels: [simplicity]
"""
