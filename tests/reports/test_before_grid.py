"""What training gained over the pretrained model, in every format."""

import pytest

from optbench.reports.before_grid import before_grid
from optbench.reports.leaderboard import render, report_of


@pytest.fixture
def trained(bench):
    """Gains of 20 points, a point more or less from seed to seed, over models that scored 5% and 15%."""

    def build(seeds=3):
        suite = bench.suite(models=("a", "b"), seeds=seeds)
        for cell in suite.cells():
            before = 0.05 if cell.arm.model == "a" else 0.15
            gain = 0.2 + 0.01 * (cell.seed - 1) + 0.1 * (cell.arm.optimizer == "muon")
            bench.write(cell, before + gain, result={"accuracy_before": before})
        return suite

    return build


def texts(grid):
    return [[entry.text for entry in row] for row in grid.rows]


def test_gains_are_taken_from_the_model_before_training_with_their_interval(bench, trained):
    report = report_of(trained(), bench.store)
    grid = before_grid(report.standings[0], report.cells)
    # t(0.975, 2) x 1 point / sqrt(3)
    assert texts(grid) == [
        ["before training", "", "5.0", "15.0"],
        ["muon", "uniform", "+30.0 ±2.5", "+30.0 ±2.5"],
        ["adamw", "uniform", "+20.0 ±2.5", "+20.0 ±2.5"],
    ]
    assert "accuracy gained by training, points, more is better" in grid.title


def test_one_seed_has_a_gain_and_no_interval(bench, trained):
    report = report_of(trained(seeds=1), bench.store)
    assert texts(before_grid(report.standings[0], report.cells))[2] == ["adamw", "uniform", "+19.0", "+19.0"]


@pytest.mark.parametrize("format", ["table", "markdown", "latex"])
def test_every_format_for_readers_shows_it(bench, trained, format):
    assert "before training" in render(trained(), bench.store, format, width=200)


def test_models_from_random_weights_have_no_such_table(bench):
    suite = bench.suite(seeds=2)
    for cell in suite.cells():
        bench.write(cell, 0.5)
    report = report_of(suite, bench.store)
    assert before_grid(report.standings[0], report.cells) is None
    assert "before training" not in render(suite, bench.store, "table")
