"""Accuracy by set of questions, in every format."""

import json

import pytest

from optbench.metrics.columns import SETS, column, worst
from optbench.reports.leaderboard import render, report_of
from optbench.tasks.published_sets import PUBLISHED


@pytest.fixture
def asked(bench):
    """Two optimizers on two sets; muon is better on MATH alone."""

    def build(**extra):
        suite = bench.suite(models=("a",), seeds=3)
        for cell in suite.cells():
            better = 0.2 * (cell.arm.optimizer == "muon")
            sets = {"accuracy/gsm8k": 0.5 + 0.01 * cell.seed, "accuracy/math": 0.1 + better, "accuracy/other": 0.9}
            bench.write(cell, 0.3 + better / 2, result={**sets, **extra})
        return suite

    return build


def test_each_set_has_a_column_beside_what_else_was_read(bench, asked):
    report = report_of(asked(accuracy_strict=0.2, accuracy_flexible=0.4, by_program=0.6), bench.store)
    (table,) = report.panels
    assert table.family == "accuracy by set"
    names = ["accuracy/gsm8k", "accuracy/math", "accuracy_strict", "accuracy_flexible", "by_program"]
    assert table.mean.columns.tolist() == names
    assert table.mean["accuracy/math"].tolist() == [pytest.approx(0.3), pytest.approx(0.1)]
    assert table.mean["accuracy/gsm8k"].tolist() == [pytest.approx(0.51)] * 2


@pytest.mark.parametrize("format", ["table", "markdown", "latex"])
def test_readers_see_the_sets(bench, asked, format):
    text = render(asked(accuracy_strict=0.25), bench.store, format)
    assert "accuracy by set" in text and "gsm8k" in text and "lm-eval" in text
    assert "30.0" in text and "25.0" in text


def test_data_formats_have_every_part(bench, asked):
    content = json.loads(render(asked(**{"accuracy_strict/gsm8k": 0.2}), bench.store, "json"))
    assert content["panels"][0]["family"] == "accuracy by set"
    assert content["arms"][0]["metrics"]["accuracy_strict/gsm8k"]["mean"] == pytest.approx(0.2)


def test_sources_that_are_no_published_sets_make_no_table(bench):
    suite = bench.suite(models=("a",), seeds=2)
    for cell in suite.cells():
        bench.write(cell, 0.5, result={"accuracy/sums": 0.5, "accuracy_strict": 0.1})
    assert report_of(suite, bench.store).panels == []


def test_the_names_of_sets_are_the_published_ones():
    assert set(SETS) == set(PUBLISHED)


def test_a_diverged_cell_is_never_right_in_any_reading():
    assert worst("accuracy_strict/gsm8k") == worst("accuracy_flexible") == 0.0
    assert column("accuracy_strict/gsm8k").direction == "higher"
    assert column("by_program").unit == "fraction"
