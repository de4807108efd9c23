"""Reports of numbers alone, counted again: what is right raises no alarm, what was changed does."""

import json
from dataclasses import replace

import pytest
from reports.conftest import Bench

from optbench.reports.leaderboard import report_of
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
