"""Whole sequences of looks: how often there is an alarm without a difference, and what is found where there is one."""

import math
from pathlib import Path

import numpy as np
import pytest

from optbench.api import open_results
from optbench.errors import UserError
from optbench.reports.sequential import critical_t, half_width_anytime
from optbench.reports.stats import ALPHA, seeds_needed
from optbench.rng import stream
from optbench.sequential.simulation import (
    SHAPES,
    against_one_baseline,
    alarms,
    anytime,
    called_equal,
    effects,
    false_alarms,
    of_records,
    recorded,
    repeated_t,
    t_values,
    table,
)
from optbench.suite import load_suite

ROOT = Path(__file__).resolve().parent.parent.parent
SEQUENCES, SEEDS = 4000, 60
ERROR = 2 * math.sqrt(ALPHA * (1 - ALPHA) / SEQUENCES)
"""Two Monte Carlo standard errors of a rate of 5%."""


def placebo(name="placebo", sequences=SEQUENCES, seeds=SEEDS):
    return stream(0, name).standard_normal((sequences, seeds))


def test_a_look_after_every_seed_alarms_falsely_in_less_than_5_of_100_sequences():
    found = np.isfinite(alarms(placebo(), anytime))
    # 2.7% by 60 seeds: some of the level is left for the looks that are still to come.
    assert 0.015 < found.mean() < ALPHA


def test_a_t_test_after_every_seed_alarms_falsely_in_a_third():
    # Why the rule is needed.
    assert np.isfinite(alarms(placebo(), repeated_t)).mean() > 0.2


def test_three_contrasts_with_one_baseline_share_the_level():
    draws = against_one_baseline(stream(0, "family"), SEQUENCES, 3, SEEDS)
    first, second = draws[:, 0].ravel(), draws[:, 1].ravel()
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0.5, abs=0.01)
    assert 0.01 < np.isfinite(alarms(draws, anytime, ALPHA / 3)).any(axis=1).mean() < ALPHA
    # Without sharing it, three chances are too many.
    assert np.isfinite(alarms(draws, anytime, 2 * ALPHA)).any(axis=1).mean() > ALPHA
    assert np.isfinite(alarms(draws, repeated_t, ALPHA / 3)).any(axis=1).mean() > 0.2


def test_a_rule_that_knows_the_future_has_no_more_false_alarms():
    # Stop where the interval is furthest from 0, as only someone can who has seen all seeds beforehand.
    n = np.arange(1, SEEDS + 1)
    with np.errstate(invalid="ignore"):
        beyond = np.nanmax(np.abs(t_values(placebo("future"))) - anytime(n, ALPHA), axis=1)
    assert 0.015 < (beyond >= 0).mean() < ALPHA


@pytest.mark.parametrize(
    ("effect", "found", "mean"), [(0.5, 0.735, None), (1.0, 1.0, 13.8), (2.0, 1.0, 6.2)], ids=["0.5", "1", "2"]
)
def test_planted_effects_are_found_with_the_documented_power_and_seeds(effect, found, mean):
    first = alarms(placebo("effect") + effect, anytime)
    assert np.isfinite(first).mean() == pytest.approx(found, abs=0.025)
    if mean is not None:
        assert first[np.isfinite(first)].mean() == pytest.approx(mean, rel=0.03)
        # What looking costs against a test that knew the effect beforehand: less than half as many seeds again.
        assert seeds_needed(1.0, effect) < mean < 1.5 * seeds_needed(1.0, effect)
    # And hardly ever on the wrong side.
    n = np.where(np.isfinite(first), first, 1).astype(int)
    t = t_values(placebo("effect") + effect)[np.arange(SEQUENCES), n - 1]
    assert ((t < 0) & np.isfinite(first)).mean() < 0.005


@pytest.mark.parametrize("level", [ALPHA, 0.2])
def test_a_difference_of_the_margin_is_called_none_in_few_sequences(level):
    # One of 1 sd, with a margin of 1 sd: whoever looks after every seed up to 200 sees it lie within.
    draws = placebo("equivalence", seeds=200) + 1.0
    rate = called_equal(draws, 1.0, level).mean()
    # The interval errs to either side, and only one of them is this error.
    assert level / 8 < rate <= level / 2 + ERROR
    n = np.arange(1, 201)
    t, mean = t_values(draws), np.cumsum(draws, axis=1) / n
    naive = (np.abs(mean) + np.abs(mean / np.where(t == 0, 1e-9, t)) * repeated_t(n, level) <= 1.0)[:, 1:]
    assert naive.any(axis=1).mean() > 2 * level


def test_what_does_not_differ_is_called_so_by_and_by():
    assert called_equal(placebo("equal"), 1.0).mean() > 0.99
    assert not called_equal(placebo("equal", seeds=20), 0.1).any()


def test_a_sequence_is_judged_as_a_report_judges_it():
    draws = placebo(sequences=5, seeds=12) + 0.8
    for numbers in draws:
        widths = [half_width_anytime(numbers[:n].std(ddof=1), n) if n > 1 else math.inf for n in range(1, 13)]
        means = [numbers[:n].mean() for n in range(1, 13)]
        excluded = [n for n, (mean, width) in enumerate(zip(means, widths, strict=True), 1) if abs(mean) >= width]
        assert float(alarms(numbers, anytime)) == min(excluded, default=math.inf)
        within = any(abs(mean) + width <= 2.0 for mean, width in zip(means, widths, strict=True))
        assert bool(called_equal(numbers, 2.0)) == within


def test_equal_numbers_raise_no_alarm():
    assert np.isinf(alarms(np.full((1, 20), 0.1), anytime)).all()
    assert np.isinf(alarms(np.full((1, 20), 1 / 3), repeated_t)).all()


@pytest.mark.parametrize(("shape", "least", "most"), [(1, 0.005, 0.03), (2, 0.10, 0.16), (3, 0.25, 0.36)])
def test_other_shapes_alarm_as_often_as_documented(shape, least, most):
    # Heavy tails hide differences; skewness and rare losses raise alarms, as they do in a t test of a few seeds.
    name, draw = list(SHAPES.items())[shape]
    draws = draw(stream(1, name), (SEQUENCES, SEEDS))
    assert abs(draws.mean()) < 0.02
    assert least < np.isfinite(alarms(draws, anytime)).mean() < most


def test_recorded_differences_alarm_as_gaussian_ones_do():
    suite = load_suite(ROOT / "suites/quick_seeds.yaml")
    store = open_results(ROOT / "results/reference/quick_seeds/records.zip")
    found = list(recorded(suite, store))
    # Every two of seven optimizers, at each of four models, in two metrics.
    assert len(found) == 21 * 4 * 2
    assert all(len(numbers) == 13 and abs(numbers.mean()) < 1e-12 for numbers in found)
    header, own, ideal, pooled = of_records(suite, store, sequences=250)
    assert len(header) == len(own) == 3
    rates = [float(row[1].split(" ± ")[0]) for row in (own, ideal, pooled)]
    assert abs(rates[0] - rates[1]) < 0.015
    assert 0.01 < rates[2] < ALPHA


def test_a_suite_without_seeds_has_no_differences_to_draw_from():
    suite = load_suite(ROOT / "suites/quick.yaml")
    store = open_results(ROOT / "results/reference/quick_seeds/records.zip")
    with pytest.raises(UserError, match="quick: no two arms .* six seeds"):
        list(of_records(suite, store))


def test_the_tables_are_those_of_the_documentation():
    lines = (ROOT / "docs/sequential.md").read_text(encoding="utf-8").splitlines()
    rows = [row for printed in (false_alarms(), effects()) for row in printed]
    assert len(rows) == 1 + 5 + 1 + 4
    for label, *figures in rows:
        (found,) = [line for line in lines if line.startswith(f"| {label} | {figures[0].split(' ± ')[0]}")]
        shown = [figure.strip() for figure in found.strip("|").split("|")][1:]
        assert len(shown) == len(figures)
        for one, other in zip(shown, figures, strict=True):
            # Up to what another way of adding up moves: a sequence or two.
            assert one == other or float(one.split()[-1]) == pytest.approx(
                float(other.split()[-1]), rel=0.02, abs=0.002
            )


def test_tables_are_markdown():
    rows = [("effect", "found"), ("1", "0.5")]
    assert table(iter(rows)).splitlines() == ["| effect | found |", "| --- | --- |", "| 1 | 0.5 |"]


def test_the_first_look_that_can_decide_is_the_fourth():
    assert np.isinf(anytime(np.array([1, 2, 3]), ALPHA)).all()
    assert np.isfinite(critical_t(4))
    first = alarms(placebo(sequences=200) + 50, anytime)
    assert (first == 4).all()
