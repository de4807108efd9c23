"""Verdicts on contrasts, from records through the table of contrasts."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from optbench.added import Added
from optbench.arm import Arm
from optbench.metrics.columns import column
from optbench.reports.sequential import half_width_anytime, log_e_coin
from optbench.reports.verdicts import judged
from optbench.selection import narrowed
from optbench.suite import Contrast, Suite, load_suite
from optbench.suitefile import Execution


def row(estimate=0.05, sd=0.02, n=8, metric="accuracy", **more):
    """A row of the table of contrasts, as far as verdicts read it."""
    usual = {
        "name": "muon minus adamw", "metric": metric, "estimate": estimate, "sd": sd, "n": n, "over": "", "diverged": 0,
        "pairs": 1, "pairs_declared": 1, "seeds_declared": n, "contended": False,
        "of_alone_diverged": 0, "minus_alone_diverged": 0,
    }  # fmt: skip
    return {**usual, **more}


def suite_of(family=1) -> Suite:
    contrasts = [
        Contrast(f"c{place}", {"optimizer": "muon"}, {"optimizer": "adamw"}, "accuracy") for place in range(family)
    ]
    arms: list[Arm] = []
    return Suite("toy", "", "toy.yaml", arms, [0], contrasts, Execution(), added=Added(0.02, {}))


def verdict_of(*, margin=0.02, family=1, **given):
    (found,) = judged(suite_of(family), pd.DataFrame([row(**given)]), margin)
    return found


WIDTH = float(half_width_anytime(0.02, 8))


@pytest.mark.parametrize(
    ("estimate", "metric", "verdict", "says"),
    [
        (0.02 + 1.01 * WIDTH, "accuracy", "better", "better, by more than the margin of 2 points: +"),
        (1.01 * WIDTH, "accuracy", "better", "better; whether by more than the margin of 2 points is open: +"),
        (-1.01 * WIDTH, "accuracy", "worse", "worse; whether by more than the margin of 2 points is open: -"),
        (-0.02 - 1.01 * WIDTH, "accuracy", "worse", "worse, by more than the margin of 2 points: -"),
        (-1.01 * WIDTH, "test_nll", "better", "better; whether by more than the margin of 0.02 nats is open: -"),
        (1.01 * WIDTH, "test_nll", "worse", "worse; whether by more than the margin of 0.02 nats is open: +"),
        (1.01 * WIDTH, "format_error", "worse", "worse; whether by more than the margin of 2 points is open: +"),
        (
            0.99 * WIDTH,
            "accuracy",
            "unresolved",
            "a difference beyond the margin of 2 points and none are both left: +",
        ),
        (
            -0.99 * WIDTH,
            "test_nll",
            "unresolved",
            "a difference beyond the margin of 0.02 nats and none are both left: -",
        ),
    ],
)
def test_the_interval_decides(estimate, metric, verdict, says):
    found = verdict_of(estimate=estimate, metric=metric)
    assert found.verdict == verdict
    assert says in found.sentence
    assert (found.low, found.high) == (pytest.approx(estimate - WIDTH), pytest.approx(estimate + WIDTH))
    assert found.sentence.endswith("n = 8 seeds, interval valid under repeated looks.")


def test_a_difference_within_the_margin():
    width = float(half_width_anytime(0.005, 8))
    assert verdict_of(estimate=0.9 * width, sd=0.005).verdict == "no difference beyond the margin"
    assert verdict_of(estimate=-0.9 * width, sd=0.005, metric="test_nll").verdict == "no difference beyond the margin"
    assert verdict_of(estimate=0.9 * width, sd=0.005, margin=1.8 * width).verdict == "unresolved"
    assert verdict_of(estimate=0.9 * width, sd=0.005, margin=1.91 * width).verdict == "no difference beyond the margin"
    sentence = verdict_of(estimate=0.0, sd=0.005).sentence
    assert "no difference beyond the margin of 2 points: +0.0 points accuracy [-0.7, +0.7]; n = 8" in sentence


def test_better_by_less_than_the_margin():
    width = float(half_width_anytime(0.002, 8))
    found = verdict_of(estimate=0.01, sd=0.002)
    assert 0 < 0.01 - width and 0.01 + width < 0.02
    assert found.verdict == "better"
    assert "better, but by no more than the margin of 2 points: +1.0 points accuracy" in found.sentence
    assert "worse, but by no more than the margin" in verdict_of(estimate=-0.01, sd=0.002).sentence


def test_contrasts_share_the_level():
    estimate = 1.01 * WIDTH
    alone, one_of_three = verdict_of(estimate=estimate), verdict_of(estimate=estimate, family=3)
    assert (alone.verdict, one_of_three.verdict) == ("better", "unresolved")
    assert one_of_three.high - one_of_three.low == pytest.approx(2 * float(half_width_anytime(0.02, 8, level=0.05 / 3)))
    assert "valid under repeated looks and for all 3 contrasts at once." in one_of_three.sentence


def test_few_seeds_leave_everything_open():
    three = verdict_of(estimate=0.5, sd=0.0001, n=3)
    assert (three.verdict, three.low, three.high) == ("unresolved", -math.inf, math.inf)
    assert three.sentence == (
        "muon minus adamw: unresolved: +50.0 points accuracy; n = 3 seeds, too few for an interval valid under "
        "repeated looks."
    )
    one = verdict_of(estimate=0.5, sd=math.nan, n=1)
    assert one.verdict == "unresolved" and "; 1 seed, too few for an interval" in one.sentence
    equal = verdict_of(estimate=0.5, sd=math.nan, n=9)
    assert equal.verdict == "unresolved" and "n = 9 seeds without any spread, so no interval." in equal.sentence


def test_nothing_to_compare():
    none = verdict_of(estimate=math.nan, sd=math.nan, n=0, pairs=0, pairs_declared=2, seeds_declared=4)
    assert none.verdict == "unresolved"
    assert none.sentence == "muon minus adamw: unresolved, for there is nothing to compare yet (2 of 2 pairs missing)."
    arms = verdict_of(estimate=math.nan, sd=math.nan, n=0, pairs=0, pairs_declared=0, seeds_declared=0)
    assert arms.sentence.endswith("unresolved, for the suite has no two arms that differ in this alone.")


def test_times_beside_others_and_columns_without_a_direction_stay_unresolved():
    busy = verdict_of(estimate=5.0, sd=0.1, metric="step_seconds", contended=True)
    assert busy.verdict == "unresolved" and "measured beside other running cells" in busy.sentence
    assert verdict_of(estimate=5.0, sd=0.1, metric="step_seconds").verdict == "worse"
    assert column("tokens").direction == "neither"
    tokens = verdict_of(estimate=500.0, sd=10.0, metric="tokens")
    assert tokens.verdict == "unresolved" and "neither more nor less is better" in tokens.sentence
    assert verdict_of(estimate=0.0, sd=1e-3, metric="tokens", margin=1).verdict == "no difference beyond the margin"


def test_counts_that_no_seed_moves_are_certain():
    found = verdict_of(estimate=300.0, sd=0.0, n=2, metric="passes", margin=10)
    assert (found.verdict, found.low, found.high) == ("worse", 300.0, 300.0)
    assert verdict_of(estimate=0.0, sd=0.0, n=2, metric="passes", margin=0).verdict == "no difference beyond the margin"


def test_what_is_missing_is_said():
    found = verdict_of(
        estimate=0.0, sd=0.001, pairs=3, pairs_declared=4, seeds_declared=10, over="3 models", diverged=2
    )
    assert " over 3 models; n = 8 seeds" in found.sentence
    for words in ("1 of 4 pairs missing", "2 of 10 seeds incomplete", "2 diverged cells counted as the worst value"):
        assert words in found.sentence


@pytest.mark.parametrize(
    ("of", "minus", "verdict"),
    [(6, 0, "unresolved"), (7, 0, "worse"), (0, 7, "better"), (0, 6, "unresolved"), (8, 1, "unresolved"),
     (12, 1, "worse"), (1, 12, "better")],
)  # fmt: skip
def test_where_runs_diverged_a_likelihood_has_no_average_and_how_often_they_do_decides(of, minus, verdict):
    found = verdict_of(
        estimate=math.nan, sd=math.nan, n=20, metric="test_nll", diverged=of + minus,
        of_alone_diverged=of, minus_alone_diverged=minus,
    )  # fmt: skip
    assert found.verdict == verdict
    assert (float(log_e_coin(of, of + minus)) >= math.log(20)) == (verdict != "unresolved")
    assert math.isnan(found.estimate) and (found.low, found.high) == (-math.inf, math.inf)
    assert f"at {of} of 20 seeds it alone diverged, at {minus} the other side alone; n = 20 seeds." in found.sentence
    if verdict == "unresolved":
        assert "where runs diverged test_nll has no average" in found.sentence
    else:
        assert f"it diverges {'more' if verdict == 'worse' else 'less'} often" in found.sentence


def test_the_test_of_divergence_shares_the_level_too():
    given = {"estimate": math.nan, "sd": math.nan, "n": 7, "metric": "test_nll", "of_alone_diverged": 7}
    assert verdict_of(**given).verdict == "worse"
    assert verdict_of(**given, family=3).verdict == "unresolved"


def test_all_contrasts_are_judged_in_their_order():
    rows = [row(name="a", estimate=0.5), row(name="b", estimate=-0.5), row(name="c", estimate=0.0)]
    found = judged(suite_of(3), pd.DataFrame(rows), 0.05)
    assert [(one.name, one.verdict) for one in found] == [
        ("a", "better"), ("b", "worse"), ("c", "no difference beyond the margin")
    ]  # fmt: skip
    assert all(isinstance(one.n, int) and one.margin == 0.05 for one in found)


def test_verdicts_of_simulated_contrasts_are_wrong_in_few_families():
    # Three contrasts looked at after every seed: none, one of the margin, one beyond it; wrong if any look says so.
    rng = np.random.default_rng(5)
    truth, wrong = np.array([0.0, 1.0, -1.5]), 0
    for _ in range(40):
        draws = rng.standard_normal((3, 40)) + truth[:, None]
        seen = set()
        for n in (5, 8, 12, 20, 40):
            rows = [row(estimate=own[:n].mean(), sd=own[:n].std(ddof=1), n=n) for own in draws]
            found = [one.verdict for one in judged(suite_of(3), pd.DataFrame(rows), 0.99)]
            seen |= set(enumerate(found))
        wrong += bool(seen & {(0, "better"), (0, "worse"), (1, "worse"), (1, "no difference beyond the margin"),
                              (2, "better"), (2, "no difference beyond the margin")})  # fmt: skip
        assert (2, "worse") in seen
    # At most 5% of families: 2 of 40, and two standard errors more.
    assert wrong <= 4


def test_nothing_is_said_where_a_part_is_missing():
    assert verdict_of(estimate=0.5).verdict == "better"
    found = verdict_of(estimate=0.5, pairs=1, pairs_declared=2)
    assert found.verdict == "unresolved"
    assert "for a part of what it compares is missing" in found.sentence


@pytest.mark.parametrize("margin", [-0.01, math.nan, math.inf])
def test_a_margin_is_a_number_from_0_on(margin):
    with pytest.raises(ValueError, match="a margin is a number from 0 on"):
        verdict_of(margin=margin)


def test_contrasts_that_were_narrowed_away_still_count():
    rows = pd.DataFrame([row()])
    (alone,), (of_three,) = (judged(replace(suite_of(), left_out=left_out), rows, 0.02) for left_out in (0, 2))
    assert alone.high - alone.estimate == pytest.approx(WIDTH)
    assert of_three.high - of_three.estimate == pytest.approx(float(half_width_anytime(0.02, 8, level=0.05 / 3)))
    assert "for all 3 contrasts at once" in of_three.sentence
    narrowed_once = narrowed(load_suite("suites/quick.yaml"), ["optimizer=muon", "optimizer=adamw"])
    assert (len(narrowed_once.contrasts), narrowed_once.family) == (3, 9)
    assert narrowed(narrowed_once, ["strategy=uniform"]).family == 9
