"""What a page is made of: numbers in texts, pictures of contrasts, circumstances, cells as data, the library."""

from __future__ import annotations

import hashlib
import json
import math

import pandas as pd
import pytest
from page.conftest import PANEL, amend, fill, looked

from optbench.charts.palette import color_of
from optbench.page.cells import POINTS, cells_table_of, details_of
from optbench.page.circumstances import facts_of, outcomes_of, scale_of
from optbench.page.contrasts import MARGIN, WIDTH, groups_of
from optbench.page.dots import classes_of, style_of
from optbench.page.library import FOLDER, library
from optbench.page.safety import inlined, script_json, shown, shown_data, shown_path
from optbench.page.tables import Item, item_of, number_of, table_of
from optbench.reports.grid import Entry, Grid
from optbench.reports.leaderboard import report_of


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("27.7", 27.7),
        ("27.7 ±3.0*", 27.7),
        ("~1.23", 1.23),
        ("430 kB", 430e3),
        ("~562 MB", 562e6),
        ("1.5 GB", 1.5e9),
        ("0 B", 0.0),
        ("3.5%", 3.5),
        ("12,300", 12300.0),
        ("1.03e-5", 1.03e-5),
        ("-0.003 ±0.001", -0.003),
        ("+0.5", 0.5),
        ("12 s", 12.0),
        ("9.5 bold", 9.5),
        ("●", 3.0),
        ("○", 2.0),
        ("·", 1.0),
        ("", 0.0),
        ("diverged", None),
        ("-", None),
    ],
)
def test_the_number_that_a_text_shows(text, number):
    assert number_of(text) == number


def test_value_width_and_star_are_set_apart_and_what_is_no_number_stands_last():
    assert item_of(Entry("27.7 ±3.0*", True), "number", {}) == Item("27.7", "±3.0", "*", 27.7, 0, True)
    assert item_of(Entry("27.7      *"), "number", {}) == Item("27.7", "", "*", 27.7)
    assert item_of(Entry("diverged "), "number", {}).rank == 1
    assert item_of(Entry("-"), "number", {}).rank == 2


def test_a_grid_becomes_a_table_with_axes_models_and_colors():
    rows = [[Entry("sam †2"), Entry("uniform"), Entry("1.0"), Entry("2.0")]]
    grid = Grid("title", ["optimizer", "strategy", "all models", "m1"], rows, names=2)
    table = table_of("t", grid, ["a note"], models=["m1"], colors={"sam": "dot-0", "sam_two": "dot-1"})
    assert [column.axis for column in table.columns] == ["optimizer", "strategy", "", ""]
    assert [column.model for column in table.columns] == ["", "", "", "m1"]
    assert [column.kind for column in table.columns] == ["name", "name", "number", "number"]
    assert (table.rows[0][0].value, table.rows[0][0].color) == ("sam †2", "dot-0")
    assert table.rows[0][1].color == ""
    assert table.starred == [False] * 4
    assert table_of("t", Grid("", ["m"], [[Entry("1*")], [Entry("2")]], 0), [], models=[], colors={}).starred == [True]


def test_dots_have_the_colors_of_the_figures():
    classes = classes_of(["muon", "} body { color: red", "muon"])
    assert list(classes.values()) == ["dot-0", "dot-1"]
    style = style_of(classes)
    assert f".dot-0{{--dot:{color_of('muon')}}}" in style
    assert "body" not in style


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run on /home/someone/runs/x.yaml now", "run on …/x.yaml now"),
        ("file:///srv/data/set", "…/set"),
        ("~/secret/place", "…/place"),
        (r"C:\Users\someone\x.txt", "…/x.txt"),
        ("step time /adamw", "step time /adamw"),
        ("suites/quick.yaml and docs/page.md", "suites/quick.yaml and docs/page.md"),
        ("https://arxiv.org/abs/2502.02407", "https://arxiv.org/abs/2502.02407"),
        ("accuracy/sums 1/3 tokens/s", "accuracy/sums 1/3 tokens/s"),
        ("two\nlines\x1b[31m\u202e", "two lines [31m "),
    ],
)
def test_texts_lose_folders_of_machines_and_control_characters(text, expected):
    assert shown(text) == expected


def test_paths_as_values_may_hold_spaces():
    assert shown_data({"model": "/home/John Doe/my model"}) == {"model": "my model"}
    assert shown_data([{"/a/b c/d": ["/e/f g"]}, 1, None, True]) == [{"…/b c/d": ["f g"]}, 1, None, True]
    assert shown_path("/home/someone/runs") == "runs"
    assert shown_path("~/runs") == "runs"
    assert shown_path("results/runs") == "results/runs"


def test_data_can_neither_end_its_element_nor_a_line():
    value = {"a": "</script><!--<script>&\u2028\u2029", "b": [1.5, None]}
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON"):
        script_json(math.inf)


@pytest.mark.parametrize("code", ["a = '</script>'", "a = '<!--'", "</STYLE>", "a\r\nb"])
def test_code_that_would_end_its_element_is_refused(code):
    with pytest.raises(ValueError, match="inlined"):
        inlined(code)


def test_the_library_is_what_was_published():
    said = json.loads((FOLDER / "vendor.json").read_text(encoding="utf-8"))
    for name, file in said["files"].items():
        content = (FOLDER / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"], name
    found = library()
    assert f"Tabulator v{found.version} " in found.script[:80]
    assert found.version in said["source"]
    assert "MIT License" in found.license_text
    assert "sourceMappingURL" not in found.script + found.style
    assert len(found.script) > 400_000


def contrast(**more):
    row = {
        "name": "a minus b",
        "metric": "accuracy",
        "estimate": 0.05,
        "half_width": 0.02,
        "low": 0.03,
        "high": 0.07,
        "n": 5,
        "seeds_declared": 5,
        "pairs": 4,
        "pairs_declared": 4,
        "p_holm": 0.01,
        "contended": False,
        "resolved": True,
        "within": "",
        "seeds_needed": 4.0,
        "minutes_needed": 0.0,
        "minutes_per_seed": 3.0,
        "sentence": "",
    }
    return {**row, **more}


def rows_of(*rows):
    return [row for group in groups_of(pd.DataFrame(list(rows))) for row in group.rows]


def test_a_contrast_as_a_row_with_its_picture():
    (row,) = rows_of(contrast())
    assert (row.estimate, row.interval, row.p, row.seeds) == ("+5.0", "[+3.0, +7.0]", "0.01", "5")
    assert (row.verdict, row.says, row.next) == ("resolved", "resolved: better", "")
    assert row.picture.zero == WIDTH / 2
    assert row.picture.high == WIDTH - MARGIN
    assert row.picture.zero < row.picture.low < row.picture.dot < row.picture.high
    assert row.picture.dot - row.picture.low == pytest.approx(row.picture.high - row.picture.dot, abs=0.2)


@pytest.mark.parametrize(
    ("more", "verdict", "says", "following"),
    [
        ({"estimate": -0.05}, "worse", "resolved: worse", ""),
        ({"metric": "test_nll"}, "worse", "resolved: worse", ""),
        ({"resolved": False, "contended": True}, "open", "not ranked", "run with --workers 1"),
        (
            {"resolved": False, "seeds_needed": 25.0, "minutes_needed": 60.0},
            "open",
            "not resolved",
            "25 seeds would resolve a difference of 1 point (20 more, about 60 minutes).",
        ),
        (
            {"resolved": False, "seeds_needed": math.inf, "pairs": 3},
            "open",
            "not resolved",
            "No practical number of seeds would resolve a difference of 1 point. First the 1 missing pairs of 4.",
        ),
        (
            {"resolved": False, "within": "2 points"},
            "open",
            "no difference beyond the margin",
            "The interval lies within the margin of 2 points that seeds were added for.",
        ),
        ({"resolved": False}, "open", "not resolved", "As many seeds show a difference of 1 point four times in five"),
        (
            {"resolved": False, "n": 1, "half_width": math.inf, "low": -math.inf, "high": math.inf, "p_holm": math.nan},
            "open",
            "not resolved",
            "More seeds, about 3 minutes each.",
        ),
        (
            {"resolved": False, "n": 0, "pairs": 0, "estimate": math.nan, "half_width": math.nan, "p_holm": math.nan},
            "none",
            "nothing to compare yet",
            "4 of 4 pairs have no complete records",
        ),
        (
            {"resolved": False, "n": 0, "pairs_declared": 0},
            "none",
            "nothing to compare yet",
            "The suite has no two arms",
        ),
    ],
)
def test_what_a_contrast_says_and_what_would_resolve_it(more, verdict, says, following):
    (row,) = rows_of(contrast(**more))
    assert (row.verdict, row.says) == (verdict, says)
    assert following in row.next
    assert bool(row.next) == bool(following)


def test_without_an_interval_there_is_a_dot_alone_and_without_a_number_nothing():
    one, none = rows_of(
        contrast(n=1, half_width=math.inf, low=-math.inf, high=math.inf),
        contrast(estimate=math.nan, low=math.nan, high=math.nan),
    )
    assert (one.interval, one.picture.low, one.picture.dot) == ("no interval", None, WIDTH - MARGIN)
    assert (none.estimate, none.picture) == ("-", None)


def test_contrasts_of_different_metrics_have_scales_of_their_own():
    groups = groups_of(pd.DataFrame([contrast(), contrast(metric="test_nll", high=0.2), contrast(name="c", high=0.1)]))
    assert [(group.metric, group.most, len(group.rows)) for group in groups] == [
        ("accuracy", "+10.0", 2),
        ("test_nll", "+0.2", 1),
    ]


def records(bench, suite):
    return [bench.store.record(cell.key) for cell in suite.cells()]


def test_circumstances_are_counted_and_differences_said(bench):
    suite = bench.suite(("adamw",), seeds=3)
    for cell in suite.cells():
        made = {"commit": "abc", "dirty": cell.seed == 2, "versions": {"torch": "2.13", "gone": None}, "threads": 1}
        bench.write(cell, provenance=made, measured={"contended": cell.seed == 0})
    facts = {fact.name: fact for fact in facts_of(records(bench, suite))}
    assert facts["commit of optbench"].values == [("abc", 3)]
    assert not facts["commit of optbench"].differs
    assert facts["files changed since that commit"].values == [("no", 2), ("yes", 1)]
    assert facts["files changed since that commit"].differs
    assert facts["torch, version"].values == [("2.13", 3)]
    assert "gone, version" not in facts
    assert facts["attention"].values == [("not recorded", 3)]
    assert facts["times measured"].values[0] == ("alone on the device", 2)
    ((day, count),) = facts["date of the record file (UTC)"].values
    assert (len(day), count) == (10, 3)


def test_circumstances_that_nobody_asked_for_stay_off_the_page(bench):
    suite = bench.suite(("adamw",))
    bench.write(suite.cells()[0], provenance={"host": "some-host", "user": "someone", "environment": {"KEY": "secret"}})
    said = str(facts_of(records(bench, suite))) + str(details_of(report_of(suite, bench.store).cells, bench.store, []))
    for word in ("some-host", "someone", "secret"):
        assert word not in said


def test_the_scale_says_axes_and_sizes(bench):
    suite = bench.suite(("adamw", "muon"), models=("m1", "m2"), seeds=2)
    fill(bench, suite, lambda cell: 0.5 if cell.arm.model == "m1" else None)
    cells = report_of(suite, bench.store).cells
    scale = scale_of(cells, [("m1", bench.store.record(suite.cells()[0].key))])
    assert scale.sentence == "2 models × 1 task × 1 strategy × 2 optimizers × 1 budget × 2 seeds"
    assert scale.sizes == {"m1": "0.10M"}
    assert outcomes_of(cells) == {"completed": 4, "missing": 4}


def test_cells_as_data_share_what_they_share_and_are_thinned(bench):
    suite = bench.suite(("adamw", "sam"), strategies=("uniform", "upsample"), seeds=3)
    fill(bench, suite, lambda cell: 1 / 3)
    looked(bench, suite.cells()[0])
    cells = report_of(suite, bench.store).cells
    data = details_of(cells, bench.store, [PANEL])
    assert list(data["cells"]) == [cell.key for cell in suite.cells()]
    pool = data["pool"]
    assert len(pool) == len({repr(value) for value in pool})
    assert pool.count({"rule": {"kind": "sam", "lr": 0.004, "betas": [0.9, 0.999]}}) == 1
    first = data["cells"][suite.cells()[0].key]
    assert [pool[place] for place in first["axes"]] == ["adamw", "uniform", "m", "sums", "300 steps"]
    parts = {title: rest for title, *rest in first["parts"]}
    names, values = parts["Result"]
    assert dict(zip(pool[names], values, strict=True))["accuracy"] == 0.333333
    assert pool[parts["Panel sharpness: spec"][0]] == {"kind": "sharpness", "rho": 0.05}
    assert "Plan of the strategy" not in parts
    assert "observed" not in json.dumps(data)
    steps, losses = first["curve"]
    assert (steps, len(losses)) == (300, POINTS)
    assert losses[0] == pytest.approx(4.0 - 2 / 100)  # The mean of steps 0 to 4.
    assert data["meaning"]["accuracy"][0] == "fraction"
    last = {title for title, *_ in data["cells"][suite.cells()[-1].key]["parts"]}
    assert "Plan of the strategy" in last
    assert not any(title.startswith("Panel") for title in last)


def test_a_curve_that_is_not_there_or_not_whole_is_said_to_be(bench):
    suite = bench.suite(("adamw", "sam", "muon"))
    fill(bench, suite, lambda cell: 0.5)
    first, second, _ = (bench.store.folder(cell.key) / "curves.parquet" for cell in suite.cells())
    first.unlink()
    pd.DataFrame({"step": [0, 1], "loss": [2.0, math.nan]}).to_parquet(second, index=False)
    data = details_of(report_of(suite, bench.store).cells, bench.store, [])
    curves = [data["cells"][cell.key]["curve"] for cell in suite.cells()]
    assert curves[0] == "The record has no curve."
    assert curves[1] == [2, [2.0, None]]
    assert len(curves[2][1]) == POINTS
    script_json(data)


def test_the_table_of_cells_has_the_axes_that_differ_and_the_columns_there_are(bench):
    suite = bench.suite(("adamw",), tasks=("sums", "products"), seeds=2)
    fill(bench, suite, lambda cell: 0.25 if cell.arm.task == "sums" else None)
    amend(bench, suite.cells()[1], measured={"contended": True})
    table = cells_table_of(report_of(suite, bench.store).cells, "accuracy", {"adamw": "dot-0"})
    titles = [column.title for column in table.columns]
    assert titles[:6] == ["optimizer", "strategy", "model", "task", "seed", "outcome"]
    assert titles[6:9] == ["accuracy, %", "test nll, nats", "passes"]
    assert "final loss, nats" not in titles
    step = titles.index("step, ms")
    assert [row[step].value for row in table.rows] == ["100", "~100", "-", "-"]
    assert [row[step].number for row in table.rows] == [0.1, 0.1, None, None]
    assert [row[6].value for row in table.rows] == ["25.0", "25.0", "-", "-"]
    assert table.rows[0][-1].link == suite.cells()[0].key
