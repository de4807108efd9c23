"""Bars and bands where all seeds agree: there is none, and the figure says so."""

import numpy as np
import pytest
from charts.conftest import write_curve, write_lessons
from reports.conftest import Bench

from optbench.charts.charts import drawings
from optbench.reports.leaderboard import report_of

SEEDS = 3


@pytest.fixture
def figures(bench: Bench):
    """AdamW scores the same at all seeds and Muon does not. All losses agree at the first two steps alone; by the
    middle of the run no example was ever learned, at the end a share that differs."""
    suite = bench.suite(("adamw", "muon"), seeds=SEEDS)
    for cell in suite.cells():
        score = 0.5 if cell.arm.optimizer == "adamw" else 0.4 + 0.05 * cell.seed
        never = (1.0, 0.75, 0.5)[cell.seed]
        learned = [1.0, 1.0, 1.0, 1.0]
        bench.write(cell, score, result={"steps_done": 6.0, "learned": 1.0, "never_learned": never, "flops": 1e9})
        write_curve(bench, cell, [4.0, 4.0, *(3.0 + 0.1 * cell.seed * np.arange(1, 5))])
        write_lessons(bench, cell, learned, never)
    return drawings(report_of(suite, bench.store), bench.store)[0]


def texts_of(figure) -> str:
    return " ".join(" ".join(text.get_text() for text in figure.texts).split())


def heights_of(ax):
    """The places of all bands, without the gaps."""
    return np.concatenate([path.vertices for band in ax.collections for path in band.get_paths()])


def test_a_band_has_a_gap_where_all_losses_are_equal(figures):
    (ax,) = figures["learning_curves"].axes
    places = heights_of(ax)
    assert np.isfinite(places).all() and places[:, 0].min() == 2.0 and places[:, 0].max() == 5.0
    assert "Bands: 95% t interval over seeds. None where all seeds agree." in texts_of(figures["learning_curves"])


def test_no_band_from_0_to_100_percent_where_nothing_is_learned_at_any_seed(figures):
    (ax,) = figures["learning_times"].axes
    places = heights_of(ax)
    assert places[:, 0].min() == 1.0  # The end of the run: before, all shares are 0.
    assert "None where all seeds agree." in texts_of(figures["learning_times"])


def test_a_point_of_equal_scores_has_no_bar(figures):
    ax = figures["cost"].axes[0]
    assert [container.has_yerr for container in ax.containers] == [False, True]  # AdamW is first.
    assert "None where all seeds scored the same." in texts_of(figures["cost"])


def test_where_seeds_differ_nothing_is_said_of_gaps(bench):
    suite = bench.suite(("adamw",), seeds=SEEDS)
    for cell in suite.cells():
        bench.write(cell, 0.4 + 0.05 * cell.seed, result={"steps_done": 4.0})
        write_curve(bench, cell, np.full(4, 3.0 + cell.seed))
    figures = drawings(report_of(suite, bench.store), bench.store)[0]
    assert "None where" not in texts_of(figures["learning_curves"])
