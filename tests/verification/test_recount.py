"""Reports of numbers alone, counted again: what is right raises no alarm, what was changed does."""

import json
import math
from dataclasses import replace

import pytest
from reports.conftest import Bench

from optbench.added import Added
from optbench.reports.leaderboard import report_of
from optbench.reports.stats import half_width
from optbench.store import Store
from optbench.verification.recount import Recount
from optbench.verification.tables import differences


@pytest.fixture
def counted(tmp_path):
    """Makes a suite of three optimizers, two models and four seeds; `diverged` says which cells diverged."""

    def make(columns, ranked_by, diverged):
        bench = Bench(Store(tmp_path / "runs"))
        suite = replace(bench.suite(("adamw", "muon", "soap"), models=("m", "k"), seeds=4), ranked_by=ranked_by)
        for place, cell in enumerate(suite.cells()):
            if diverged(cell):
                bench.write(cell, None, outcome="diverged", result={"steps_done": 10.0, "final_loss": 3.0})
            else:
                bench.write(cell, None, result={name: (place * 7 % 11) / 11 for name in columns} | {"steps_done": 99.0})
        paths = {cell.key: bench.store.folder(cell.key) / "record.json" for cell in suite.cells()}
        records = {key: json.loads(path.read_text()) for key, path in paths.items()}
        return report_of(suite, bench.store), Recount(suite, records, {}, lambda key: None)

    return make


def alarms(report, recount):
    found = list(differences(report, recount))
    assert found[-1][2] > 100
    return [(where, text) for where, text, _ in found[:-1]]


@pytest.mark.parametrize(
    ("columns", "ranked_by"),
    [
        (("test_nll", "bits_per_byte"), "test_nll"),
        (("test_nll", "bits_per_byte"), "bits_per_byte"),
        (("accuracy", "format_error", "test_nll"), "accuracy"),
        (("accuracy", "format_error"), "accuracy"),
        (("test_loss",), "test_loss"),
    ],
)
def test_a_diverged_cell_has_the_worst_of_the_columns_of_its_task_alone(counted, columns, ranked_by):
    made = counted(columns, ranked_by, lambda cell: (cell.arm.optimizer, cell.seed) == ("soap", 1))
    assert alarms(*made) == []


def test_where_all_diverged_the_score_is_what_the_suite_is_ranked_by(counted):
    assert alarms(*counted(("accuracy",), "learned", lambda cell: True)) == []


def test_a_changed_mean_is_named(counted):
    report, recount = counted(("test_nll",), "test_nll", lambda cell: False)
    report.standings[0].mean.iloc[0, 0] *= 1 + 1e-8
    (where, text), *more = alarms(report, recount)
    assert "all models, mean" in where and "but the records give" in text and not more


@pytest.fixture
def looked_at(tmp_path):
    """A suite with a contrast, 3 seeds of its own and some that were added to the arms of one model; `learned` is what
    a panel found and `never_learned` the same at all seeds, `passes` counts, `flops` are exact, and at one model all
    seeds of an optimizer have the same score."""
    bench = Bench(Store(tmp_path / "runs"))
    suite = bench.suite(
        ("adamw", "muon"),
        models=("m", "k"),
        seeds=3,
        contrasts=[bench.contrast("muon", "adamw"), bench.contrast("muon", "adamw", metric="passes")],
    )
    suite.added = Added(0.02, {arm.name: range(3, 9) for arm in suite.arms if arm.model == "m"})
    for place, cell in enumerate(suite.cells()):
        same = (cell.arm.model, cell.arm.optimizer) == ("k", "adamw")
        passes = 10.0 * (1 + (cell.arm.optimizer == "muon"))
        found = {"learned": (place * 3 % 13) / 13, "never_learned": 0.1, "passes": passes, "flops": 1e9 * passes}
        bench.write(cell, 0.1 if same else (place * 7 % 11) / 11, result=found)
    paths = {cell.key: bench.store.folder(cell.key) / "record.json" for cell in suite.cells()}
    records = {key: json.loads(path.read_text()) for key, path in paths.items()}
    return report_of(suite, bench.store), Recount(suite, records, {}, lambda key: None)


def test_a_report_of_a_suite_with_added_seeds_raises_no_alarm(looked_at):
    report, _ = looked_at
    assert len(report.panels) == 1 and report.standings[0].n.to_numpy().max() == 9
    # Three equal scores: their deviation is what rounding leaves.
    assert report.standings[0].half_width["k"]["adamw", "uniform"] == math.inf
    assert report.panels[0].half_width["never_learned"].tolist() == [math.inf, math.inf]
    # A model's own arms have as many seeds as an interval takes.
    assert report.arms.loc[0, ["flops_half_width", "passes_half_width"]].tolist() == [0, 0]
    assert math.isinf(report.arms.loc[0, "never_learned_half_width"])
    assert alarms(*looked_at) == []


def test_a_half_width_of_seeds_that_all_scored_the_same_is_named(looked_at):
    report, recount = looked_at
    report.standings[0].half_width.loc[[("adamw", "uniform")], "k"] = 0.0
    report.panels[0].half_width.loc[[("adamw", "uniform")], "never_learned"] = 0.0
    report.arms.loc[0, "never_learned_half_width"] = 0.0
    report.arms.loc[0, "flops_half_width"] = math.inf
    assert [where.rpartition(", ")[0] for where, _ in alarms(report, recount)] == [
        "arm m/sums/uniform/adamw/300 steps, never_learned",
        "arm m/sums/uniform/adamw/300 steps, flops",
        "table sums, 300 steps, adamw uniform, k",
        "panel simplicity, adamw uniform, never_learned",
    ]


def test_half_widths_of_one_look_are_named_where_seeds_were_added(looked_at):
    report, recount = looked_at
    widths = report.standings[0].half_width
    row, name = ("muon", "uniform"), "m"
    sd = report.standings[0].by_seed[name].loc[row].std()
    widths.loc[[row], name] = float(half_width(sd, 9))
    (where, _), *more = alarms(report, recount)
    assert "muon uniform, m, half-width" in where and not more
    report.arms.loc[0, "accuracy_half_width"] *= 1.0001
    report.panels[0].half_width.iloc[0, 0] = 0.1
    assert len(alarms(report, recount)) == 3


def test_students_intervals_in_all_tables_are_named_where_seeds_were_added(looked_at, tmp_path):
    _, recount = looked_at
    suite = recount.suite
    # The same records as if nobody had looked: all seeds declared, where all arms have them.
    assert suite.added is not None
    one_model = replace(suite, arms=[arm for arm in suite.arms if arm.model == "m"], contrasts=[])
    fixed = replace(one_model, seeds=list(range(9)), added=None)
    store = Store(tmp_path / "runs")
    of = Recount(one_model, recount.records, {}, lambda key: None)
    assert [text for _, text, _ in differences(report_of(one_model, store), of)] == [""]
    named = [where for where, text, _ in differences(report_of(fixed, store), of) if text]
    assert all(where.endswith("half-width") for where in named)
    assert {where.split()[0] for where in named} == {"arm", "table", "panel"}


def test_differences_from_an_anchor_that_rounding_leaves_have_no_interval(tmp_path):
    bench = Bench(Store(tmp_path / "runs"))
    suite = bench.suite(("adamw", "muon", "sam"), seeds=4)
    for cell in suite.cells():
        own = {"adamw": 0.0, "muon": 4e-16 * (cell.seed % 2), "sam": 0.1 * (1 + cell.seed)}[cell.arm.optimizer]
        found = {"decile_loss/1": 0.3 + cell.seed + own, "learned": 0.1 * cell.seed}
        bench.write(cell, 0.5, result=found)
    paths = {cell.key: bench.store.folder(cell.key) / "record.json" for cell in suite.cells()}
    records = {key: json.loads(path.read_text()) for key, path in paths.items()}
    report = report_of(suite, bench.store)
    (table,) = [panel for panel in report.panels if panel.minus is not None]
    widths = table.half_width["decile_loss/1"]
    assert math.isinf(widths["muon", "uniform"]) and 0.2 < widths["sam", "uniform"] < 0.3
    assert [text for _, text, _ in differences(report, Recount(suite, records, {}, lambda key: None))] == [""]
