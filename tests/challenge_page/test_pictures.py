"""The curves of a challenge: every seed is a thin line, every optimizer a thick one, at the places of the records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from challenge_page.contents import content_of, records, suite_of

from optbench.challenge.page_tuning import tuning_report
from optbench.challenge.pictures import draw_runs, pictures_of, runs_of
from optbench.charts.palette import color_of
from optbench.charts.style import drawing
from optbench.store import Store
from optbench.tuning.record import Tuned

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    return content_of(folder, suite_of(folder, seeds=SEEDS), records())


@pytest.fixture(scope="module")
def axes(few):
    standings = few.report.standings[0]
    with drawing():
        figure = draw_runs(runs_of(few.report, standings, few.store), standings)
    return figure.axes


def lines(ax, optimizer, *, thick):
    return [
        line
        for line in ax.get_lines()
        if line.get_color() == color_of(optimizer) and (line.get_linewidth() > 1) == thick
    ]


def thinned(few, optimizer, seed):
    """The losses of one run as means of five steps, straight from its record."""
    cell = next(c for c in few.suite.cells() if (c.arm.optimizer, c.seed) == (optimizer, seed))
    return few.store.curves(cell.key)["loss"].to_numpy().reshape(60, 5).mean(axis=1)


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sam"])
def test_thin_lines_are_seeds_and_thick_ones_their_means(axes, few, optimizer):
    runs = [thinned(few, optimizer, seed) for seed in SEEDS]
    for ax in axes:
        thin, (thick,) = lines(ax, optimizer, thick=False), lines(ax, optimizer, thick=True)
        assert len(thin) == len(SEEDS)
        for line, run in zip(thin, runs, strict=True):
            assert np.allclose(line.get_ydata(), run)
        assert np.allclose(thick.get_ydata(), np.mean(runs, axis=0))


def test_above_are_steps_and_below_the_flops_of_training(axes, few):
    above, below = axes
    assert above.get_xlabel() == "step" and below.get_xlabel() == "FLOPs of training (GFLOP)"
    for optimizer in ("muon", "adamw", "sam"):
        cells = [cell for cell in few.suite.cells() if cell.arm.optimizer == optimizer]
        flops = np.mean([few.store.record(cell.key).result["flops"] for cell in cells])
        for kind in (True, False):
            for line in lines(above, optimizer, thick=kind):
                assert line.get_xdata()[-1] == pytest.approx(297.0)
            for line in lines(below, optimizer, thick=kind):
                # The last point is the mean of the last five steps, of 296 to 300 of 300.
                assert line.get_xdata()[-1] == pytest.approx(flops / 1e9 * 298 / 300, rel=1e-6)


def test_what_the_records_do_not_allow_is_named_with_its_reason(few, tmp_path):
    bare = replace(few, store=Store(tmp_path))
    untuned = tuning_report(
        replace(few, tuned=Tuned(suite="x", score="test_nll", direction="lower", seeds=[1], seed=0, studies=[]))
    )
    drawn = pictures_of(bare, untuned)
    assert drawn["curves"].left_out == {"curves": "no record has a curve"}
    assert [picture.name for picture in drawn["curves"].pictures] == ["cost"]
    assert list(drawn["tuning"].left_out) == ["tunability"] and not drawn["tuning"].pictures
