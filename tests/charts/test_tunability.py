"""The tunability chart: what is drawn are the curves of the report, and every line has its name beside its end."""

import itertools

import pytest
from charts.test_curves import drawn, texts_of
from reports.trials import scored, study, trial, tune

from optbench.charts.palette import color_of, marker_of
from optbench.charts.tunability import _apart

NAME = "tunability"


def filled(bench, *names, **more):
    suite = bench.suite(names or ("adamw", "muon"), **more)
    bench.fill(suite, lambda cell: 0.5)
    return suite


def lines_of(ax, optimizer):
    """Steps, curve and the mark of the suite's own values of an optimizer, as pairs of x and y."""
    lines = [line for line in ax.lines if line.get_transform() == ax.transData]
    mine = [line for line in lines if color_of(optimizer) in (line.get_color(), line.get_markeredgecolor())]
    return [list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in mine]


def test_lines_are_the_mean_best_the_best_so_far_and_the_suites_own(bench):
    suite = filled(bench)
    tune(suite, study(suite, "adamw", scored(0.9, 0.8, None, 0.6)), study(suite, "muon", scored(0.85, 0.7, 0.65, 0.75)))
    figures, _ = drawn(bench, suite)
    (ax,) = figures[NAME].axes
    steps, curve, own = lines_of(ax, "adamw")
    assert steps == [(1, 0.9), (2, 0.8), (3, 0.8), (4, 0.6)]
    # Of 0.8, 0.6 and a failure: with one trial there may be no score, two are 0.6, 0.6 or 0.8.
    assert curve == [(2, pytest.approx(2 / 3)), (3, pytest.approx(0.6))]
    assert own == [(0, 0.9)]
    assert [x for x, _ in lines_of(ax, "muon")[1]] == [1, 2, 3]
    marks = [line.get_marker() for line in ax.lines if line.get_color() == color_of("muon")]
    assert marks == ["None", marker_of("muon"), marker_of("muon")]
    assert ax.get_ylabel() == "test nll (nats)\nlower is better" and ax.get_title("left") == "all arms"
    assert [text.get_text() for text in ax.texts] == ["adamw", "muon"]
    assert "validation split, one seed" in texts_of(figures[NAME])


def test_accuracies_are_percent_and_without_the_suites_own_there_is_no_mark(bench):
    suite = filled(bench, "adamw")
    trials = [trial(0.25), trial(0.5)]
    tune(suite, study(suite, "adamw", trials, lower=False), score="accuracy")
    (ax,) = drawn(bench, suite)[0][NAME].axes
    assert lines_of(ax, "adamw") == [[(1, 25.0), (2, 50.0)], [(1, 37.5), (2, 50.0)]]
    assert ax.get_yscale() == "linear"


@pytest.mark.parametrize(("worst", "scale"), [(0.7, "linear"), (0.8, "log")])
def test_losses_far_apart_are_on_a_logarithmic_axis(bench, worst, scale):
    suite = filled(bench, "adamw")
    tune(suite, study(suite, "adamw", scored(0.5, 0.5, worst)))
    (ax,) = drawn(bench, suite)[0][NAME].axes
    # Of 0.5 and the worst, one is their mean.
    assert max(y for line in lines_of(ax, "adamw") for _, y in line) == pytest.approx((0.5 + worst) / 2)
    assert ax.get_yscale() == "linear"
    tune(suite, study(suite, "adamw", scored(worst, 0.5)))
    (ax,) = drawn(bench, suite)[0][NAME].axes
    assert ax.get_yscale() == scale


def test_one_chart_for_each_group_of_arms_and_the_absent_are_named(bench):
    models = ("a", "b", "c", "d")
    suite = filled(bench, "adamw", "muon", "lion", "gd", models=models)
    studies = [study(suite, "adamw", scored(0.9, 0.8, 0.6), model=[model]) for model in models]
    failed = study(suite, "gd", scored(0.9, None, None), model=["a"])
    figures, _ = drawn(bench, tune(suite, *studies, failed, study(suite, "muon", scored(0.5, 0.4), model=["b"])))
    titles = [ax.get_title("left") for ax in figures[NAME].axes]
    assert titles == ["a", "b", "c", "d"]
    assert [[text.get_text() for text in ax.texts] for ax in figures[NAME].axes][:2] == [["adamw"], ["muon", "adamw"]]
    words = " ".join(texts_of(figures[NAME]).split())
    assert "Without a line, for no trial of theirs can be shown: lion, gd." in words


def test_tables_have_the_studies_of_their_arms(bench):
    suite = filled(bench, "adamw", tasks=("sums", "other"))
    found = study(suite, "adamw", scored(0.9, 0.8, 0.6), task=["other"])
    figures, reasons = drawn(bench, tune(suite, found))
    assert NAME + "-2" in figures and NAME + "-1" not in figures
    assert reasons[NAME + "-1"] == "no study of these arms has a quasi-random trial with a score"


def test_without_trials_it_is_left_out_with_its_reason(bench):
    _, reasons = drawn(bench, filled(bench))
    assert reasons[NAME] == "no trials are recorded; `optbench tune` runs them"


def test_all_trials_failed_is_no_line(bench):
    suite = filled(bench, "adamw")
    # As an accuracy, failures count as 0 and have a curve; there is nothing to draw all the same.
    tune(suite, study(suite, "adamw", scored(None, None, None), lower=False), score="accuracy")
    _, reasons = drawn(bench, suite)
    assert NAME in reasons


def test_names_stand_inside_and_apart(bench):
    names = [f"optimizer_{place}" for place in range(8)]
    suite = filled(bench, *names)
    tune(suite, *(study(suite, name, scored(0.9, 0.5 + 1e-4 * place)) for place, name in enumerate(names)))
    figure = drawn(bench, suite)[0][NAME]
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    (ax,) = figure.axes
    boxes = [text.get_window_extent(renderer) for text in ax.texts]
    assert len(boxes) == 8
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    whole = ax.get_window_extent(renderer)
    for box in boxes:
        assert whole.x0 < box.x0 and box.x1 < whole.x1 and whole.y0 < box.y0 and box.y1 < whole.y1


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([1.0, 3.0], [1.0, 3.0]),
        ([2.0, 2.0], [1.5, 2.5]),
        # The third joins the two below it, and all are moved alike about their mean.
        ([2.0, 2.0, 2.6], [1.2, 2.2, 3.2]),
        ([0.0, 0.1], [0.0, 1.0]),
        ([9.9, 10.0], [9.0, 10.0]),
    ],
)
def test_places_are_moved_as_little_as_keeps_them_apart(wanted, found):
    assert _apart(wanted, 1.0, 0.0, 10.0) == pytest.approx(found)
