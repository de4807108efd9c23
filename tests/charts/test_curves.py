"""Learning curves: what is drawn are the losses of the records, averaged as the figure says."""

import numpy as np
import pytest
from charts.conftest import write_curve
from reports.conftest import Bench

from optbench.added import Added
from optbench.charts.charts import drawings
from optbench.charts.palette import color_of, marker_of
from optbench.reports.leaderboard import report_of
from optbench.reports.sequential import half_width_anytime


def drawn(bench: Bench, suite):
    return drawings(report_of(suite, bench.store), bench.store)


def line_of(ax, optimizer):
    (found,) = [line for line in ax.lines if line.get_color() == color_of(optimizer)]
    return found


def texts_of(figure) -> str:
    return "\n".join(text.get_text() for text in [*figure.texts, figure._suptitle])


def filled(bench: Bench, losses, *, seeds=1, optimizers=("adamw", "sam"), outcome=lambda cell: "completed", **more):
    """A suite with records and curves: `losses(cell)`, None for none."""
    suite = bench.suite(optimizers, seeds=seeds, **more)
    for cell in suite.cells():
        values = losses(cell)
        if values is None:
            continue
        passes = 2.0 if cell.arm.optimizer == "sam" else 1.0
        ended = outcome(cell)
        result = {"steps_done": float(len(values))}
        bench.write(cell, 0.5 if ended == "completed" else None, outcome=ended, result=result)
        write_curve(bench, cell, values, passes=passes)
    return suite


def test_with_one_seed_the_line_is_the_curve(bench):
    losses = 4 / np.arange(1, 11)
    suite = filled(bench, lambda cell: losses * (1 + (cell.arm.optimizer == "sam")))
    figures, _ = drawn(bench, suite)
    (ax,) = figures["learning_curves"].axes
    for optimizer, factor in (("adamw", 1), ("sam", 2)):
        line = line_of(ax, optimizer)
        assert line.get_xdata() == pytest.approx(np.arange(10))
        assert line.get_ydata() == pytest.approx(factor * losses)
        assert line.get_marker() == marker_of(optimizer)
    assert not ax.collections
    words = texts_of(figures["learning_curves"])
    assert "one seed" in words and "Not smoothed" in words and "no band exists" in words


def test_against_passes_the_second_look_counts(bench):
    figures, _ = drawn(bench, filled(bench, lambda cell: 4 / np.arange(1, 11)))
    (ax,) = figures["learning_curves_by_passes"].axes
    assert line_of(ax, "adamw").get_xdata() == pytest.approx(np.arange(1, 11))
    assert line_of(ax, "sam").get_xdata() == pytest.approx(2 * np.arange(1, 11))
    assert ax.get_xlabel() == "passes"


def test_without_a_difference_in_passes_there_is_no_second_chart(bench):
    figures, reasons = drawn(bench, filled(bench, lambda cell: 4 / np.arange(1, 11), optimizers=("adamw", "gd")))
    assert "learning_curves" in figures and "learning_curves_by_passes" not in figures
    assert "same passes" in reasons["learning_curves_by_passes"]


def test_the_band_is_the_t_interval_over_seeds(bench):
    suite = filled(bench, lambda cell: np.full(10, [1.0, 2.0, 6.0][cell.seed]), seeds=3, optimizers=("adamw",))
    figures, _ = drawn(bench, suite)
    (ax,) = figures["learning_curves"].axes
    assert line_of(ax, "adamw").get_ydata() == pytest.approx(np.full(10, 3.0))
    (band,) = ax.collections
    # t(0.975, 2) = 4.302653; the sample standard deviation of 1, 2, 6 is sqrt(7).
    half = 4.302653 * np.sqrt(7) / np.sqrt(3)
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((3 - half, 3 + half), rel=1e-5)
    assert "3 seeds" in texts_of(figures["learning_curves"])


def test_smoothing_is_the_mean_of_as_many_steps_as_the_figure_says(bench):
    losses = np.random.default_rng(0).uniform(1, 2, 150)
    figures, _ = drawn(bench, filled(bench, lambda cell: losses, optimizers=("adamw",)))
    (ax,) = figures["learning_curves"].axes
    assert line_of(ax, "adamw").get_ydata() == pytest.approx(losses.reshape(-1, 3).mean(axis=1))
    assert line_of(ax, "adamw").get_xdata() == pytest.approx(np.arange(1, 150, 3))
    assert "the mean of 3 steps" in texts_of(figures["learning_curves"])


def test_losses_at_shifted_weights_are_not_drawn(bench):
    suite = filled(bench, lambda cell: np.full(6, 2.0), optimizers=("adamw", "sam", "looksam"))
    for cell in suite.cells():
        if cell.arm.optimizer == "sam":
            write_curve(bench, cell, np.full(6, 9.0), loss_at="shifted weights")
        if cell.arm.optimizer == "looksam":
            write_curve(bench, cell, [2.0, 9.0] * 3, loss_at=["weights", "shifted weights"] * 3)
    figures, _ = drawn(bench, suite)
    (ax,) = figures["learning_curves"].axes
    assert {line.get_color() for line in ax.lines} == {color_of("adamw"), color_of("looksam")}
    assert line_of(ax, "looksam").get_xdata() == pytest.approx([0, 2, 4])
    assert line_of(ax, "looksam").get_ydata() == pytest.approx([2.0, 2.0, 2.0])
    words = texts_of(figures["learning_curves"])
    assert "Left out, since their losses were taken at shifted weights: sam." in words
    assert "left out of the lines of: looksam" in words


def test_nothing_at_the_weights_is_no_chart(bench):
    suite = filled(bench, lambda cell: np.full(6, 2.0), optimizers=("sam",))
    write_curve(bench, suite.cells()[0], np.full(6, 9.0), loss_at="shifted weights")
    figures, reasons = drawn(bench, suite)
    assert "learning_curves" not in figures
    assert reasons["learning_curves"] == "all losses were taken at shifted weights"


def test_a_line_ends_with_its_first_diverged_run(bench):
    def losses(cell):
        if cell.arm.optimizer == "adamw":
            return np.full(12, 2.0)
        return [3.0, 3.0, 3e9, np.inf] if cell.seed else np.full(12, 3.0)

    suite = filled(
        bench,
        losses,
        seeds=2,
        optimizers=("adamw", "gd"),
        outcome=lambda cell: "diverged" if cell.arm.optimizer == "gd" and cell.seed else "completed",
    )
    figures, _ = drawn(bench, suite)
    (ax,) = figures["learning_curves"].axes
    assert line_of(ax, "gd").get_xdata() == pytest.approx([0, 1, 2])
    (cross,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert cross.get_xdata() == pytest.approx([2.0])
    # A run that explodes does not flatten the others, and its cross stays inside.
    assert ax.get_ylim()[1] < 10
    assert cross.get_ydata()[0] == pytest.approx(ax.get_ylim()[1])
    labels = [text.get_text() for text in figures["learning_curves"].legends[0].get_texts()]
    assert "a run diverged" in labels


def test_missing_cells_leave_the_others(bench):
    suite = filled(
        bench,
        lambda cell: np.full(5, 2.0) if cell.arm.model == "m" or cell.seed == 0 else None,
        seeds=2,
        models=("m", "n", "none"),
        optimizers=("adamw",),
    )
    (bench.store.folder(suite.cells()[0].key) / "curves.parquet").unlink()
    figures, _ = drawn(bench, suite)
    figure = figures["learning_curves"]
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["m, uniform", "n, uniform", "none, uniform"]
    assert all(len(ax.lines) == 1 for ax in figure.axes)
    assert "1 record without a curve" in texts_of(figure)


def test_a_damaged_curve_is_a_reason_and_names_no_folder_of_the_machine(bench):
    suite = filled(bench, lambda cell: np.full(5, 2.0))
    (bench.store.folder(suite.cells()[0].key) / "curves.parquet").write_bytes(b"nonsense")
    figures, reasons = drawn(bench, suite)
    assert "learning_curves" not in figures and "heat_map" in figures
    assert reasons["learning_curves"] and str(bench.store.root) not in reasons["learning_curves"]


def test_where_seeds_were_added_the_band_allows_for_looks(bench):
    values = [1.0, 2.0, 6.0, 3.0, 5.0]
    suite = filled(bench, lambda cell: np.full(10, values[cell.seed]), seeds=5, optimizers=("adamw",))
    suite.seeds, suite.added = [0, 1, 2], Added(0.02, {suite.arms[0].name: [3, 4]})
    figures, _ = drawn(bench, suite)
    (band,) = figures["learning_curves"].axes[0].collections
    half = float(half_width_anytime(np.std(values, ddof=1), 5))
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((3.4 - half, 3.4 + half), rel=1e-6)
    assert "Bands: 95% interval over seeds, valid under repeated looks." in texts_of(figures["learning_curves"])
    # Three seeds are too few for one, so there is no band.
    suite.added = Added(0.02, {})
    figures, _ = drawn(bench, suite)
    assert not figures["learning_curves"].axes[0].collections
