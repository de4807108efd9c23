"""Charts of scores: cost with the Pareto front, sharpness, and the heat map."""

import numpy as np
import pytest
from charts.test_curves import drawn, texts_of
from matplotlib.collections import QuadMesh

from optbench.charts.palette import color_of, marker_of
from optbench.charts.scatter import FRONT

SCORES = {"gd": 0.2, "adamw": 0.4, "muon": 0.6, "sam": 0.5}
FLOPS = {"gd": 1.0, "adamw": 1.0, "muon": 1.3, "sam": 2.0}
TIMES = {"gd": 0.9, "adamw": 1.0, "muon": 3.0, "sam": 2.0}


def filled(bench, *, contended=False, score=lambda cell: SCORES[cell.arm.optimizer], metric="accuracy", **more):
    suite = bench.suite(SCORES, **more)
    suite.ranked_by = metric
    for cell in suite.cells():
        value, optimizer = score(cell), cell.arm.optimizer
        if value is None:
            continue
        result = {
            "flops": 1e9 * FLOPS[optimizer],
            "probe_share": 0.0,
            "steps_done": 300.0,
            "hessian_top": 10.0 * TIMES[optimizer],
        }
        if metric != "accuracy" and value != "diverged":
            result[metric] = value
        accuracy = value if metric == "accuracy" and value != "diverged" else None
        bench.write(
            cell,
            accuracy,
            outcome="diverged" if value == "diverged" else "completed",
            result=result,
            measured={"step_seconds": 0.1 * TIMES[optimizer], "contended": contended},
        )
    return suite


def rounded(*values):
    return tuple(round(float(value), 6) for value in values)


def points(ax):
    """(x, y) of each optimizer in axes; the front apart."""
    lines = [bar.lines[0] for bar in ax.containers]
    by_color = {line.get_color(): rounded(line.get_xdata()[0], line.get_ydata()[0]) for line in lines}
    return {name: by_color[color_of(name)] for name in SCORES if color_of(name) in by_color}


def front(ax):
    (line,) = [line for line in ax.lines if line.get_gid() == FRONT]
    return [rounded(x, y) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def test_cost_shows_scores_prices_and_fronts(bench):
    figures, _ = drawn(bench, filled(bench))
    flops, times = figures["cost"].axes
    assert points(flops) == {name: rounded(FLOPS[name], 100 * SCORES[name]) for name in SCORES}
    assert points(times) == {name: rounded(TIMES[name], 100 * SCORES[name]) for name in SCORES}
    assert front(flops) == [(1.0, 40.0), (1.3, 60.0)]
    assert front(times) == [(0.9, 20.0), (1.0, 40.0), (2.0, 50.0), (3.0, 60.0)]
    assert {bar.lines[0].get_marker() for bar in flops.containers} == {marker_of(name) for name in SCORES}


def test_times_beside_other_cells_are_not_drawn(bench):
    figures, _ = drawn(bench, filled(bench, contended=True))
    (flops,) = figures["cost"].axes
    assert points(flops).keys() == SCORES.keys()
    assert "No chart of times" in texts_of(figures["cost"])


def test_a_front_of_losses_goes_down(bench):
    suite = filled(bench, metric="test_loss", score=lambda cell: 1 - SCORES[cell.arm.optimizer])
    figures, _ = drawn(bench, suite)
    flops = figures["cost"].axes[0]
    assert front(flops) == [(1.0, 0.6), (1.3, 0.4)]
    assert flops.get_ylabel() == "test loss\nlower is better"


def test_what_failed_is_on_no_front(bench):
    """An arm with a diverged cell stopped early, so what it cost is not what a run costs."""

    def score(cell):
        if cell.arm.optimizer == "muon":
            return "diverged" if cell.seed else 0.9
        return SCORES[cell.arm.optimizer] / 2

    figures, _ = drawn(bench, filled(bench, seeds=2, score=score))
    flops, times = figures["cost"].axes
    # Muon's mean of 45 would be the best.
    assert points(flops)["muon"] == (1.3, 45.0)
    assert front(flops) == [(1.0, 20.0), (2.0, 25.0)]
    assert front(times) == [(0.9, 10.0), (1.0, 20.0), (2.0, 25.0)]


def test_an_unknown_price_leaves_no_front(bench):
    """Who is not placed might be on it."""
    suite = filled(bench)
    bench.write(suite.cells()[0], 0.9, result={"steps_done": 300.0}, measured={"step_seconds": 0.5})
    figures, _ = drawn(bench, suite)
    flops, times = figures["cost"].axes
    assert not [line for line in flops.lines if line.get_gid() == FRONT]
    assert front(times) == [(1.0, 40.0), (2.0, 50.0), (3.0, 60.0), (5.0, 90.0)]


def test_bars_are_intervals_and_strategies_fillings(bench):
    suite = filled(
        bench,
        seeds=2,
        strategies=("uniform", "upsample"),
        score=lambda cell: SCORES[cell.arm.optimizer] + 0.02 * cell.seed,
    )
    figures, _ = drawn(bench, suite)
    ax = figures["cost"].axes[0]
    bars = [bar for bar in ax.containers if bar.lines[0].get_color() == color_of("muon")]
    assert {bar.lines[0].get_fillstyle() for bar in bars} == {"full", "none"}
    ((low, high),) = [segment[:, 1] for segment in bars[0].lines[2][0].get_segments()]
    # Two values 2 points apart: half-width t(0.975, 1) * 1 point.
    assert (high - low) / 2 == pytest.approx(12.706205, rel=1e-5)
    assert "2 seeds" in texts_of(figures["cost"])


def test_sharpness_shows_the_panel(bench):
    figures, reasons = drawn(bench, filled(bench))
    (ax,) = figures["sharpness"].axes
    assert points(ax) == {name: rounded(10 * TIMES[name], 100 * SCORES[name]) for name in SCORES}
    assert ax.get_xscale() == "log"
    assert "no result of the panel simplicity" in reasons["learning_times"]


def test_without_the_panel_there_is_no_sharpness(bench):
    suite = bench.suite()
    bench.fill(suite, lambda cell: 0.5)
    figures, reasons = drawn(bench, suite)
    assert list(figures) == ["heat_map", "cost"]
    assert "panel sharpness" in reasons["sharpness"]
    assert reasons["learning_curves"] == "no record has a curve"


def fields(ax):
    """The texts of a heat map by row and column."""
    rows, columns = ([label.get_text() for label in labels] for labels in (ax.get_yticklabels(), ax.get_xticklabels()))
    return {
        (rows[int(text.get_position()[1])], columns[int(text.get_position()[0])]): text.get_text() for text in ax.texts
    }


def test_the_heat_map_has_every_score_and_the_colour_of_it(bench):
    suite = filled(
        bench,
        models=("m", "n"),
        strategies=("uniform", "upsample"),
        score=lambda cell: (
            None
            if (cell.arm.model, cell.arm.optimizer) == ("n", "gd")
            else SCORES[cell.arm.optimizer] + 0.1 * (cell.arm.model == "n")
        ),
    )
    figures, _ = drawn(bench, suite)
    uniform, upsample = figures["heat_map"].axes
    assert uniform.get_title(loc="left") == "uniform" and upsample.get_title(loc="left") == "upsample"
    shown = fields(uniform)
    assert len(shown) == 12
    assert [shown["muon", column] for column in ("all models", "m", "n")] == ["65.0", "60.0", "70.0"]
    assert [shown["gd", column] for column in ("all models", "m", "n")] == ["-", "20.0", "-"]
    (mesh,) = [found for found in uniform.collections if isinstance(found, QuadMesh)]
    values = np.ma.filled(np.ma.asarray(mesh.get_array(), float), np.nan)
    assert values[0] == pytest.approx([65.0, 60.0, 70.0])
    assert np.isnan(values[-1]).tolist() == [True, False, True]
    assert mesh.get_clim() == pytest.approx((20.0, 70.0))
    # Darker is better: the best field has the least luminance.
    assert sum(mesh.cmap(1.0)[:3]) < sum(mesh.cmap(0.0)[:3])
    words = texts_of(figures["heat_map"])
    assert "One seed" in words and "no record yet" in words


def test_where_less_is_better_dark_is_low_and_divergence_is_said(bench):
    suite = filled(
        bench,
        metric="test_loss",
        models=("m", "n"),
        score=lambda cell: (
            "diverged" if (cell.arm.optimizer, cell.arm.model) == ("gd", "m") else SCORES[cell.arm.optimizer]
        ),
    )
    figures, _ = drawn(bench, suite)
    (ax,) = figures["heat_map"].axes
    shown = fields(ax)
    assert (shown["gd", "m"], shown["gd", "all models"], shown["gd", "n"]) == ("diverged", "inf", "0.200")
    assert sum(ax.collections[0].cmap(0.0)[:3]) < sum(ax.collections[0].cmap(1.0)[:3])
    assert "diverged" in texts_of(figures["heat_map"])


def test_ties_have_stars(bench):
    suite = filled(
        bench,
        seeds=4,
        score=lambda cell: (
            SCORES[cell.arm.optimizer]
            + 0.01 * ((cell.seed * 7 + len(cell.arm.optimizer)) % 4)
            + 0.1 * (cell.arm.optimizer == "sam")
        ),
    )
    figures, _ = drawn(bench, suite)
    shown = fields(figures["heat_map"].axes[0])
    assert shown["muon", "m"].endswith("*") and shown["sam", "m"].endswith("*")
    assert not shown["gd", "m"].endswith("*")
    assert "a tie" in texts_of(figures["heat_map"])
