"""The table of charts: names, reasons, captions, names of other people, and files."""

import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from charts.conftest import write_curve, write_lessons
from charts.test_curves import drawn, line_of, texts_of
from matplotlib.backends.backend_agg import FigureCanvasAgg
from reports.trials import scored, study, tune

from optbench.added import Added
from optbench.archive import open_store, write_archive
from optbench.charts import learning_times
from optbench.charts.charts import CHARTS, caption_of, draw, drawings, missing, save
from optbench.charts.files import rendered
from optbench.charts.points import metric_by_group
from optbench.charts.style import LONGEST, drawing, fitted, label, width_of
from optbench.errors import UserError
from optbench.reports.leaderboard import report_of
from optbench.reports.sequential import half_width_anytime

HOSTILE = ("$\\frac{1}{0}$", "<script>alert(1)</script>", "a\x1b[31m\nb\u202ec", "漢字 🎉", "\\$x_1^2$ $y", "n" * 300)


def filled(bench, **more):
    """A suite with everything that is drawn."""
    suite = bench.suite(**{"optimizers": ("adamw", "sam"), "seeds": 2, **more})
    tune(suite, *(study(suite, name, scored(0.9, 0.8, 0.5)) for name in dict.fromkeys(a.optimizer for a in suite.arms)))
    for cell in suite.cells():
        twice = 2.0 if cell.arm.optimizer == "sam" else 1.0
        learned = [0.0, 0.5, 1.0, 1.0] if twice == 2 else [0.5, 1.0, 1.0, 1.0]
        result = {
            "flops": 1e9 * twice,
            "steps_done": 20.0,
            "hessian_top": 3.0 * twice,
            "learned": float(np.mean(learned)),
        }
        bench.write(cell, 0.25 * twice + 0.01 * cell.seed, result={**result, "never_learned": 0.25 + 0.25 * cell.seed})
        write_curve(bench, cell, 4 / np.arange(1, 21), passes=twice)
        write_lessons(bench, cell, learned, 0.25 + 0.25 * cell.seed)
    return suite


def test_all_charts_in_their_order_and_none_missing(bench):
    report = report_of(filled(bench), bench.store)
    assert list(draw(report, bench.store)) == list(CHARTS)
    assert missing(report, bench.store) == {}


def test_several_tables_have_a_chart_each(bench):
    suite = filled(bench, budgets=({"steps": 20}, {"steps": 10}))
    figures, _ = drawn(bench, suite)
    assert [name for name in figures if name.startswith("heat_map")] == ["heat_map-1", "heat_map-2"]
    report = report_of(suite, bench.store)
    assert "20 steps" in caption_of("cost-1", report) and "10 steps" in caption_of("cost-2", report)
    assert "10 steps" in texts_of(figures["cost-2"])


def test_learning_times_are_those_of_the_panel(bench):
    suite = filled(bench)
    # Found with other settings: not what this report reads.
    write_lessons(bench, suite.cells()[0], [0.0, 0.0, 0.0, 0.0], 0.0, key="a" * 16)
    figures, _ = drawn(bench, suite)
    (ax,) = figures["learning_times"].axes
    assert line_of(ax, "adamw").get_xdata() == pytest.approx([0.0, 0.5, 1.0])
    # Over two seeds: 25% learned by half of the run; 75% and 50% are right at the end.
    assert line_of(ax, "adamw").get_ydata() == pytest.approx([0.0, 25.0, 62.5])
    assert line_of(ax, "sam").get_ydata() == pytest.approx([25.0, 50.0, 62.5])
    assert "Of 4 training examples" in texts_of(figures["learning_times"])
    assert "2 seeds" in texts_of(figures["learning_times"])


def test_where_seeds_were_added_all_bars_and_bands_allow_for_looks(bench):
    suite = filled(bench, seeds=5)
    for cell in suite.cells():
        learned = 0.625 if cell.arm.optimizer == "sam" else 0.875
        flatness = {"steps_done": 20.0, "flops": 1e9, "hessian_top": 3.0 + cell.seed, "learned": learned}
        bench.write(cell, 0.25 + 0.01 * cell.seed, result={**flatness, "never_learned": 0.25 + 0.05 * cell.seed})
    suite.seeds, suite.added = [0, 1, 2], Added(0.02, {arm.name: [3, 4] for arm in suite.arms})
    report = report_of(suite, bench.store)
    (table,) = report.standings
    half = float(half_width_anytime(np.std(np.arange(5), ddof=1), 5))
    assert metric_by_group(report, table, "hessian_top")["m"]["x_half"].tolist() == pytest.approx([half, half])
    data = learning_times.data_of(report, table, bench.store)
    assert all(arm.half_width[-1] == pytest.approx(0.05 * half) for arm in data.by_arm.values())
    for name in ("cost", "sharpness", "learning_curves", "learning_times"):
        assert "bars and bands are 95% intervals over seeds, valid under repeated looks." in caption_of(name, report)
    figures, _ = drawn(bench, suite)
    for name in ("cost", "sharpness", "learning_curves", "learning_times"):
        assert "95% interval over seeds, valid under repeated looks." in " ".join(texts_of(figures[name]).split())


def test_an_archive_has_scores_alone(bench, tmp_path):
    suite = filled(bench)
    file = tmp_path / "kept.jsonl"
    write_archive([cell.key for cell in suite.cells()], bench.store, file)
    store = open_store(file)
    figures, reasons = drawings(report_of(suite, store), store)
    assert list(figures) == ["heat_map", "cost", "sharpness", "tunability"]
    assert reasons["learning_curves"] == reasons["learning_curves_by_passes"] == "an archive keeps no curves"
    assert reasons["learning_times"] == "the tables of the panel simplicity are not kept with these records"


def test_nothing_recorded_is_every_reason_and_no_figure(bench):
    figures, reasons = drawn(bench, bench.suite())
    assert figures == {} and list(reasons) == list(CHARTS)
    assert all(reasons.values())


def test_captions_say_what_how_many_and_how_to_read(bench):
    report = report_of(filled(bench), bench.store)
    for name in CHARTS:
        text = caption_of(name, report)
        seeds = " What tuning bought" if name == "tunability" else " 2 seeds"
        assert f"sums, equal steps (300 steps):{seeds}" in text and "{" not in text
    assert "Accuracy (%), higher is better" in caption_of("heat_map", report)
    assert "95% t intervals" in caption_of("cost", report)
    with pytest.raises(UserError, match="did you mean cost"):
        caption_of("costs", report)


def test_a_caption_of_one_seed_claims_no_interval(bench):
    report = report_of(filled(bench, seeds=1), bench.store)
    assert "one seed, no interval exists" in caption_of("cost", report)
    assert "t interval" not in caption_of("cost", report)


def test_names_of_other_people_stay_text(bench):
    figures, reasons = drawn(bench, filled(bench, optimizers=("adamw", *HOSTILE), models=("m", "$m$ <b>&"), seeds=1))
    assert figures.keys() == CHARTS.keys() - {"learning_curves_by_passes"} and len(reasons) == 1
    for name, figure in figures.items():
        for legend in figure.legends:
            # Lines of tuning have their names at their ends.
            named = figure.axes[0].texts if name == "tunability" else legend.get_texts()
            assert r"\$\frac{1}{0}\$" in [text.get_text() for text in named]
        root = ElementTree.fromstring(rendered(figure, "svg"))
        kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert kinds <= {
            "svg",
            "metadata",
            "RDF",
            "Work",
            "type",
            "format",
            "creator",
            "Agent",
            "title",
            "defs",
            "style",
            "g",
            "path",
            "use",
            "clipPath",
            "rect",
            "image",
        }
        assert not [key for element in root.iter() for key in element.attrib if key.startswith("on")]


def test_labels():
    assert label("adamw") == "adamw"
    assert label("a\x1b[31m\nb\u202ec") == "a [31m b c"
    assert label("漢") == "\u25a1"
    assert label("$x$") == r"\$x\$"
    long = label("adamw[rule.lr=0.001," + "x" * 300 + "rho=0.05]")
    assert len(long) == LONGEST and long.startswith("adamw[rule") and long.endswith("rho=0.05]")
    with drawing():
        assert width_of("mmmm", 9) == pytest.approx(4 * width_of("m", 9), rel=0.1) and width_of(
            "mm", 18
        ) > 3 * width_of("m", 9)
        assert fitted("adamw", 5.0) == "adamw"
        short = fitted("preconditioned_functional_sam", 1.0)
        assert len(short) > 8 and width_of(short, 9.0) <= 1.0


def test_the_same_records_are_the_same_bytes(bench, tmp_path):
    suite = filled(bench)
    for folder in ("one", "two"):
        figures = draw(report_of(suite, bench.store), bench.store)
        files = save(figures, tmp_path / folder, ("svg",))
        files += save({"cost": figures["cost"]}, tmp_path / folder, ("png",))
    assert [file.name for file in files] == [*(f"{name}.svg" for name in CHARTS), "cost.png"]
    for file in files:
        assert file.read_bytes() == (tmp_path / "one" / file.name).read_bytes(), file.name
    text = (tmp_path / "one" / "cost.svg").read_text()
    assert not re.search(r"<dc:date>|20\d\d-\d\d-\d\d", text) and matplotlib.__version__ not in text
    picture = (tmp_path / "one" / "cost.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and matplotlib.__version__.encode() not in picture


def test_settings_of_others_neither_matter_nor_change(bench):
    import matplotlib.pyplot as plt

    suite = filled(bench, seeds=1)
    expected = rendered(draw(report_of(suite, bench.store), bench.store)["cost"], "svg")
    own = {"font.size": 30.0, "axes.facecolor": "red", "lines.linewidth": 9.0, "svg.fonttype": "none"}
    with matplotlib.rc_context(own):
        before = dict(matplotlib.rcParams)
        assert rendered(draw(report_of(suite, bench.store), bench.store)["cost"], "svg") == expected
        assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def test_files_are_written_all_or_none(bench, tmp_path):
    figures = draw(report_of(filled(bench, seeds=1), bench.store), bench.store)
    few = {name: figures[name] for name in ("heat_map", "cost")}
    with pytest.raises(UserError, match="unknown format of figures 'jpg'; did you mean png"):
        save(few, tmp_path / "new" / "deep", ("png", "jpg"))
    assert not (tmp_path / "new").exists()
    folder = tmp_path / "there"
    save(few, folder, ("svg",))
    kept = (folder / "heat_map.svg").read_bytes()
    (folder / "cost.png").mkdir()
    with pytest.raises(UserError, match="cost.png: figures cannot be written: is a folder"):
        save(few, folder, ("png", "svg"))
    assert sorted(path.name for path in folder.iterdir()) == ["cost.png", "cost.svg", "heat_map.svg"]
    assert (folder / "heat_map.svg").read_bytes() == kept
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"):
        save(few, tmp_path / "file" / "figures", ("svg",))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_picture_has_nothing_cut_off(bench):
    """Every text lies inside the figure."""
    suite = filled(
        bench,
        optimizers=("preconditioned_functional_sam", "adamw", "x" * 80),
        models=("m", "a-model-with-a-long-name"),
        seeds=1,
    )
    figures, _ = drawn(bench, suite)
    with drawing():
        for name, figure in figures.items():
            renderer = FigureCanvasAgg(figure).get_renderer()
            figure.draw(renderer)
            width, height = figure.bbox.size
            undrawn = {
                tick.label1
                for ax in figure.axes
                for axis in (ax.xaxis, ax.yaxis)
                for tick in axis.get_major_ticks()
                if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
            }
            for text in figure.findobj(matplotlib.text.Text):
                if text.get_visible() and text.get_text() and text not in undrawn:
                    box = text.get_window_extent(renderer)
                    assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, (name, text)
