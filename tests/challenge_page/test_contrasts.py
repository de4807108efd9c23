"""The picture of the contrasts: every place, number and word in it is that of the records and verdicts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from challenge_page.contents import MARGIN, SEEDS, content_of, judged_of, records, suite_of

from optbench.challenge.page_contrasts import (
    DOT,
    LOOKS,
    TICKS,
    WIDTH,
    Axis,
    differences_of,
    groups_of,
    margin_text,
    tick_text,
)
from optbench.challenge.page_contrasts import (
    MARGIN as EDGE,
)
from optbench.reports.verdicts import Judged


def scores(content, optimizer, metric="accuracy"):
    """The metric of one optimizer by seed, straight from the records."""
    found = {}
    for cell in content.suite.cells():
        if cell.arm.optimizer == optimizer:
            found[cell.seed] = content.store.record(cell.key).result[metric]
    return found


def judged(**fields) -> Judged:
    known = dict(name="muon minus adamw", metric="accuracy", estimate=0.03, low=0.01, high=0.05, n=13, margin=MARGIN)
    return Judged(**{**known, "verdict": "better", "sentence": "Said.", **fields})


def place(axis_low, axis_high, value):
    return EDGE + (WIDTH - 2 * EDGE) * (value - axis_low) / (axis_high - axis_low)


def test_differences_are_those_of_the_records_seed_by_seed(content):
    of, minus = scores(content, "muon"), scores(content, "sam")
    assert differences_of(content, "muon minus sam") == pytest.approx({seed: of[seed] - minus[seed] for seed in SEEDS})
    (group,) = groups_of(content)
    for row, verdict in zip(group.rows, content.contrasts, strict=True):
        values = differences_of(content, row.name)
        assert sum(values.values()) / len(values) == pytest.approx(verdict.estimate)
        assert [(dot.seed, dot.text) for dot in row.seeds] == [(s, f"{100 * v:+.1f}") for s, v in values.items()]
        assert row.n == len(SEEDS) and row.sentence == verdict.sentence


def test_a_seed_that_lacks_an_arm_has_no_dot(tmp_path):
    suite = suite_of(tmp_path, seeds=(1, 2, 3, 99))
    content = content_of(tmp_path, suite, contrasts=judged_of(suite, records()))
    assert list(differences_of(content, "muon minus adamw")) == [1, 2, 3]


def test_everything_lies_where_its_number_is(content):
    (group,) = groups_of(content)
    numbers = [0.0, 1.25 * MARGIN, -1.25 * MARGIN]
    for verdict in content.contrasts:
        numbers += [verdict.low, verdict.high, *differences_of(content, verdict.name).values()]
    low, high = min(numbers), max(numbers)
    assert group.zero == pytest.approx(place(low, high, 0.0), abs=0.06)
    for row, verdict in zip(group.rows, content.contrasts, strict=True):
        assert row.dot == pytest.approx(place(low, high, verdict.estimate), abs=0.06)
        assert row.bar == pytest.approx((place(low, high, verdict.low), place(low, high, verdict.high)), abs=0.06)
        assert row.band == pytest.approx((place(low, high, -MARGIN), place(low, high, MARGIN)), abs=0.06)
        for dot, value in zip(row.seeds, differences_of(content, row.name).values(), strict=True):
            assert dot.x == pytest.approx(place(low, high, value), abs=0.06)
        assert {dot.seed for dot in row.seeds} == set(SEEDS)
        for dot in row.seeds:
            near = [other for other in row.seeds if other.seed != dot.seed and abs(other.x - dot.x) < 2 * DOT]
            assert all(other.y != dot.y for other in near), "two dots lie on each other"


def test_the_sides_say_who_is_better_there_whichever_way_the_column_points(tmp_path):
    contrasts = (("muon", "adamw", "accuracy"), ("muon", "sam", "test_nll"), ("adamw", "sam", "tokens"))
    suite = suite_of(tmp_path, contrasts=contrasts)
    by_metric = {group.metric: group for group in groups_of(content_of(tmp_path, suite))}
    assert list(by_metric) == ["accuracy", "test_nll", "tokens"]
    assert (by_metric["accuracy"].left, by_metric["accuracy"].right) == ("← muon worse", "muon better →")
    assert (by_metric["test_nll"].left, by_metric["test_nll"].right) == ("← muon better", "muon worse →")
    assert (by_metric["tokens"].left, by_metric["tokens"].right) == ("← muon lower", "muon higher →")
    assert by_metric["accuracy"].unit == "points" and by_metric["test_nll"].unit == "nats"


def test_every_verdict_has_a_look_and_a_mark_of_its_own(content):
    verdicts = ("better", "worse", "no difference beyond the margin", "unresolved")
    assert set(LOOKS) == set(verdicts)
    assert len({look for look, _ in LOOKS.values()}) == len({mark for _, mark in LOOKS.values()}) == 4
    for verdict in verdicts:
        (group,) = groups_of(replace(content, contrasts=[judged(verdict=verdict)]))
        (row,) = group.rows
        assert (row.look, row.mark) == LOOKS[verdict]
        assert row.alt == (
            "muon minus adamw: difference +3.0 points, interval [+1.0, +5.0], margin ±2, "
            f"{verdict}; 13 seeds from +26.4 to +48.0"
        )


def test_where_nothing_is_known_nothing_is_drawn(content):
    ends = {"low": -math.inf, "high": math.inf}
    one = judged(estimate=0.03, verdict="unresolved", **ends)
    none = judged(name="muon minus sam", estimate=math.nan, verdict="unresolved", **ends)
    (group,) = groups_of(replace(content, contrasts=[one, none]))
    first, second = group.rows
    assert first.bar is None and first.interval == "no interval" and first.dot is not None
    assert second.bar is None and second.dot is None and second.estimate == "-"
    assert all(math.isfinite(number) for row in group.rows for number in row.band)


def test_where_everything_is_zero_the_picture_has_its_width_all_the_same(tmp_path):
    suite = suite_of(tmp_path, contrasts=(("muon", "adamw", "passes"),), seeds=(1, 2, 3))
    (group,) = groups_of(content_of(tmp_path, suite, contrasts=judged_of(suite, records(), margin=0.0)))
    (row,) = group.rows
    assert row.estimate == "+0" and row.verdict == "no difference beyond the margin"
    assert row.dot == group.zero == WIDTH / 2 and row.bar == row.band == (WIDTH / 2, WIDTH / 2)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (-0.025, 0.48, [0, 0.1, 0.2, 0.3, 0.4]),
        (-0.4, 0.5, [-0.4, -0.2, 0, 0.2, 0.4]),
        (-1e-4, 2e-4, [-1e-4, 0, 1e-4, 2e-4]),
        (-3.0, 0.0, [-3, -2, -1, 0]),
    ],
)
def test_ticks_are_round_and_few_and_zero_is_one(low, high, wanted):
    ticks = Axis(low, high).ticks()
    assert ticks == pytest.approx(wanted, abs=1e-12)
    assert len(ticks) <= TICKS and 0.0 in ticks
    assert all(EDGE <= Axis(low, high).place(value) <= WIDTH - EDGE for value in ticks)


def test_numbers_are_written_in_the_unit_of_a_difference():
    assert margin_text(0.005, "accuracy") == "±0.5" and margin_text(0.02, "test_nll") == "±0.02"
    assert tick_text(-0.1, "accuracy") == "-10" and tick_text(0.0, "accuracy") == "0"
    assert tick_text(0.30000000000000004, "test_nll") == "+0.3"
