"""Declared contrasts and what is said of them."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from optbench.added import Added
from optbench.reports.contrasts import contrasts_of
from optbench.reports.frame import cells_table
from optbench.reports.inference import FIXED
from optbench.reports.leaderboard import render
from optbench.reports.plans import minutes_per_seed
from optbench.reports.sentences import minutes_text
from optbench.reports.sequential import half_width_anytime, p_anytime, seeds_needed_anytime
from optbench.reports.stats import seeds_needed
from optbench.reports.verdicts import judged
from optbench.rng import stream
from optbench.selection import narrowed
from optbench.suitefile import Execution


def contrasts(bench, suite) -> pd.DataFrame:
    return contrasts_of(suite, bench.store, cells_table(suite, bench.store))


def only(bench, suite):
    table = contrasts(bench, suite)
    assert len(table) == 1
    return table.iloc[0]


def test_pairs_agree_on_every_other_axis(bench):
    suite = bench.suite(
        ("adamw", "muon", "gd"),
        models=("a", "b"),
        strategies=("uniform", "augment"),
        contrasts=[bench.contrast("muon", "adamw")],
    )
    base = {("a", "uniform"): 0.1, ("a", "augment"): 0.2, ("b", "uniform"): 0.3, ("b", "augment"): 0.4}
    gain = {("a", "uniform"): 0.01, ("a", "augment"): 0.02, ("b", "uniform"): 0.03, ("b", "augment"): 0.06}

    def accuracy(cell):
        point = (cell.arm.model, cell.arm.strategy)
        return base[point] + (gain[point] if cell.arm.optimizer == "muon" else 0.0)

    bench.fill(suite, accuracy)
    row = only(bench, suite)
    assert row["estimate"] == pytest.approx(0.03)
    assert (row["pairs"], row["pairs_declared"], row["n"]) == (4, 4, 1)


def test_one_seed_is_said_to_resolve_nothing(bench):
    suite = bench.suite(
        ("AdamW", "Muon"),
        models="abcd",
        strategies=("uniform", "upsample", "augment"),
        contrasts=[bench.contrast("Muon", "AdamW")],
    )
    bench.fill(suite, lambda cell: 0.812 if cell.arm.optimizer == "Muon" else 0.5)
    row = only(bench, suite)
    assert row["sentence"] == (
        "Muon minus AdamW: +31.2 points accuracy over 4 models x 3 strategies, 1 seed: not resolved with one seed."
    )
    assert row["half_width"] == math.inf
    assert math.isnan(row["p_holm"])
    assert not row["resolved"]


def test_differences_that_are_equal_up_to_rounding_resolve_nothing(bench):
    """(0.1 + 0.2) - 0.1 and (0.3 + 0.2) - 0.3 differ in their last bits: that is no spread to judge by."""
    suite = bench.suite(seeds=3, contrasts=[bench.contrast("muon", "adamw")])
    bench.fill(suite, lambda cell: 0.1 * (1 + cell.seed) + 0.2 * (cell.arm.optimizer == "muon"))
    row = only(bench, suite)
    assert row["estimate"] == pytest.approx(0.2)
    assert math.isnan(row["sd"]) and math.isnan(row["p"]) and not row["resolved"]
    assert row["half_width"] == math.inf


def test_contrasts_that_are_left_out_still_count(bench):
    """Whoever looks at one of three has looked at three: Holm's factor is the same as without `--only`."""
    names = ("adamw", "muon", "gd", "sam")
    suite = bench.suite(names, seeds=5, contrasts=[bench.contrast(name, "adamw") for name in names[1:]])
    gain = {"adamw": 0.0, "muon": 0.06, "gd": 0.0, "sam": 0.0}
    noise = stream(0, "noise").normal(0.5, 0.03, size=(4, 5))
    bench.fill(suite, lambda cell: noise[names.index(cell.arm.optimizer), cell.seed] + gain[cell.arm.optimizer])
    whole = contrasts(bench, suite)
    part = only(bench, narrowed(suite, ["optimizer=adamw", "optimizer=muon"]))
    assert whole["p"].idxmin() == 0
    assert part["p_holm"] == whole["p_holm"][0] == pytest.approx(3 * part["p"])
    assert part["seeds_needed"] == whole["seeds_needed"][0]
    assert "Holm p" in part["sentence"]


def test_the_interval_is_that_of_differences_per_seed_averaged_over_pairs(bench):
    suite = bench.suite(models=("a", "b"), seeds=4, contrasts=[bench.contrast("muon", "adamw")])
    noise = stream(0, "noise").normal(0.5, 0.05, size=(2, 2, 4))
    place = {"a": 0, "b": 1, "adamw": 0, "muon": 1}
    bench.fill(suite, lambda cell: noise[place[cell.arm.model], place[cell.arm.optimizer], cell.seed])
    mean, width = FIXED.interval((noise[:, 1] - noise[:, 0]).mean(axis=0))
    row = only(bench, suite)
    assert (row["estimate"], row["half_width"]) == (pytest.approx(mean), pytest.approx(width))
    assert (row["low"], row["high"]) == (pytest.approx(mean - width), pytest.approx(mean + width))


def test_pairing_resolves_one_point_under_seed_noise_of_five(bench):
    suite = bench.suite(seeds=8, contrasts=[bench.contrast("muon", "adamw")])
    shared = stream(0, "shared").normal(0.5, 0.05, size=8)
    own = stream(0, "own").normal(0.0, 0.003, size=(2, 8))
    bench.fill(
        suite,
        lambda cell: (
            shared[cell.seed]
            + own[int(cell.arm.optimizer == "muon"), cell.seed]
            + 0.01 * (cell.arm.optimizer == "muon")
        ),
    )
    row = only(bench, suite)
    assert row["resolved"]
    assert row["sentence"].endswith("n = 8 seeds, p < 0.001: resolved.")


def test_what_is_not_resolved_says_how_many_seeds_would_do(bench):
    suite = bench.suite(
        ("adamw", "muon", "sam"), seeds=4, contrasts=[bench.contrast("muon", "adamw"), bench.contrast("sam", "adamw")]
    )
    noise = stream(1, "noise").normal(0.5, 0.05, size=(3, 4))
    bench.fill(suite, lambda cell: noise[["adamw", "muon", "sam"].index(cell.arm.optimizer), cell.seed])
    row = contrasts(bench, suite).iloc[0]
    assert not row["resolved"]
    assert f"not resolved; {row['seeds_needed']:.0f} seeds would resolve a difference of 1 point." in row["sentence"]
    assert "Holm p = " in row["sentence"]
    assert row["seeds_needed"] == seeds_needed(float(row["sd"]), 0.01, level=0.05 / 2)


def test_holm_runs_over_all_declared_contrasts(bench):
    declared = [bench.contrast("muon", "adamw"), bench.contrast("sam", "adamw"), bench.contrast("x", "adamw")]
    suite = bench.suite(("adamw", "muon", "sam"), seeds=3, contrasts=declared)
    noise = {"adamw": [0.1, 0.2, 0.3], "muon": [0.4, 0.52, 0.61], "sam": [0.2, 0.25, 0.6]}
    bench.fill(suite, lambda cell: noise[cell.arm.optimizer][cell.seed])
    table = contrasts(bench, suite)
    assert table["p_holm"].iloc[0] == pytest.approx(3 * table["p"].iloc[0])
    assert table["p_holm"].iloc[1] == pytest.approx(2 * table["p"].iloc[1])


def test_missing_pairs_are_said_and_left_out(bench):
    suite = bench.suite(models="abcd", contrasts=[bench.contrast("muon", "adamw")])
    lost = {("b", "muon"), ("c", "adamw"), ("c", "muon")}
    bench.fill(suite, lambda cell: None if (cell.arm.model, cell.arm.optimizer) in lost else 0.5)
    row = only(bench, suite)
    assert row["estimate"] == 0.0
    assert row["pairs"] == 2
    assert row["sentence"].endswith("not resolved with one seed (2 of 4 pairs missing).")


def test_seeds_that_lack_a_pair_are_said_and_left_out(bench):
    suite = bench.suite(models="ab", seeds=3, contrasts=[bench.contrast("muon", "adamw")])
    # Model b is the one where muon is much better: a ragged average would move with what is missing.
    bench.fill(
        suite,
        lambda cell: (
            None
            if (cell.arm.model, cell.seed) == ("b", 2)
            else 0.5 + 0.2 * (cell.arm.model == "b") * (cell.arm.optimizer == "muon")
        ),
    )
    row = only(bench, suite)
    assert (row["estimate"], row["n"], row["pairs"]) == (pytest.approx(0.1), 2, 2)
    assert "(1 of 3 seeds incomplete)" in row["sentence"]


def test_a_contrast_without_records_says_so(bench):
    suite = bench.suite(models="ab", contrasts=[bench.contrast("muon", "adamw")])
    row = only(bench, suite)
    assert row["sentence"] == "muon minus adamw: no accuracy to compare yet over 2 models (2 of 2 pairs missing)."
    assert (row["n"], row["pairs"]) == (0, 0)


def test_a_contrast_without_arms_says_so(bench):
    suite = bench.suite(contrasts=[bench.contrast("sam", "adamw")])
    bench.fill(suite, lambda cell: 0.5)
    assert only(bench, suite)["sentence"].endswith("the suite has no two arms that differ in this alone.")


def test_a_diverged_cell_counts_as_accuracy_zero(bench):
    suite = bench.suite(seeds=2, contrasts=[bench.contrast("muon", "adamw")])
    for cell in suite.cells():
        if cell.arm.optimizer == "muon" and cell.seed == 1:
            bench.write(cell, None, outcome="diverged")
        else:
            bench.write(cell, 0.6)
    row = only(bench, suite)
    assert row["estimate"] == pytest.approx(-0.3)
    assert row["n"] == 2
    assert row["sentence"].endswith("(1 diverged cell counts as accuracy 0).")


def test_a_diverged_cell_leaves_no_average_likelihood(bench):
    suite = bench.suite(seeds=2, contrasts=[bench.contrast("muon", "adamw", metric="test_nll")])
    for cell in suite.cells():
        if cell.arm.optimizer == "muon" and cell.seed == 1:
            bench.write(cell, None, outcome="diverged")
        else:
            bench.write(cell, result={"test_nll": 0.6})
    row = only(bench, suite)
    assert math.isnan(row["estimate"])
    assert not row["resolved"]
    assert row["sentence"] == (
        "muon minus adamw: no average test_nll, n = 2 seeds: not resolved (1 diverged cell counts as test_nll inf)."
    )


def test_running_out_of_memory_is_a_missing_pair(bench):
    suite = bench.suite(models="ab", contrasts=[bench.contrast("muon", "adamw")])
    for cell in suite.cells():
        out = (cell.arm.model, cell.arm.optimizer) == ("b", "muon")
        bench.write(cell, None if out else 0.5, outcome="out_of_memory" if out else "completed")
    assert "(1 of 2 pairs missing)" in only(bench, suite)["sentence"]


def test_times_taken_beside_others_are_never_resolved(bench):
    suite = bench.suite(seeds=3, contrasts=[bench.contrast("muon", "adamw", metric="step_seconds")])
    for cell in suite.cells():
        seconds = 1.0 + 0.01 * cell.seed + 2.0 * (cell.arm.optimizer == "muon")
        bench.write(cell, measured={"step_seconds": seconds, "contended": True})
    row = only(bench, suite)
    assert row["estimate"] == pytest.approx(2.0)
    assert not row["resolved"]
    assert row["sentence"].endswith("n = 3 seeds: measured beside other running cells, so not ranked.")


def test_other_metrics_keep_their_unit(bench):
    suite = bench.suite(seeds=3, contrasts=[bench.contrast("muon", "adamw", metric="test_nll")])
    bench.fill(suite, lambda cell: 0.5)
    for cell in suite.cells():
        nll = 0.9 - 0.25 * (cell.arm.optimizer == "muon") + 0.01 * cell.seed * (cell.arm.optimizer == "muon")
        bench.write(cell, result={"test_nll": nll})
    assert "-0.24 nats test_nll [-0.265, -0.215], n = 3 seeds" in only(bench, suite)["sentence"]


def test_the_error_of_one_pair_is_that_of_mcnemar(bench):
    suite = bench.suite(contrasts=[bench.contrast("muon", "adamw")])
    adamw, muon = suite.cells()
    left = np.array([1, 1, 0, 0, 1, 0, 1, 1, 0, 1], dtype=bool)
    right = np.array([1, 0, 1, 0, 0, 0, 1, 0, 0, 1], dtype=bool)
    bench.write(adamw, right.mean(), correct=right.tolist())
    bench.write(muon, left.mean(), correct=left.tolist())
    b, c, n = 3, 1, 10
    expected = math.sqrt(b + c - (b - c) ** 2 / n) / n * math.sqrt(n / (n - 1))
    assert only(bench, suite)["question_se"] == pytest.approx(expected)


def test_a_question_hard_for_all_models_is_counted_once(bench):
    suite = bench.suite(models="abcd", contrasts=[bench.contrast("muon", "adamw")])
    verdicts = stream(0, "verdicts").random(50) < 0.4
    for cell in suite.cells():
        correct = verdicts if cell.arm.optimizer == "muon" else np.zeros(50, dtype=bool)
        bench.write(cell, correct.mean(), correct=correct.tolist())
    # Four copies of the same answers say no more than one.
    assert only(bench, suite)["question_se"] == pytest.approx(verdicts.std(ddof=1) / math.sqrt(50))


def test_a_diverged_model_is_wrong_about_every_question(bench):
    suite = bench.suite(contrasts=[bench.contrast("muon", "adamw")])
    adamw, muon = suite.cells()
    bench.write(adamw, 0.5, correct=[True, False] * 10)
    bench.write(muon, None, outcome="diverged")
    assert only(bench, suite)["question_se"] == pytest.approx(np.std([0, 1] * 10, ddof=1) / math.sqrt(20))


def test_programs_read_the_interval_for_all_questions_where_the_answers_are_there(bench):
    suite = bench.suite(seeds=3, contrasts=[bench.contrast("muon", "adamw")])
    for cell in suite.cells():
        own = stream(cell.seed, cell.arm.optimizer).random(50) < (0.7 if cell.arm.optimizer == "muon" else 0.5)
        bench.write(cell, float(own.mean()), correct=own.tolist())
    row = only(bench, suite)
    wider = 4.302653 * math.hypot(row["sd"] / math.sqrt(3), row["question_se"])
    (contrast,) = json.loads(render(suite, bench.store, "json"))["contrasts"]
    assert contrast["interval_all_questions"] == pytest.approx([row["estimate"] - wider, row["estimate"] + wider])
    assert contrast["interval"][0] > contrast["interval_all_questions"][0]
    bench.fill(suite, lambda cell: 0.5 + 0.01 * cell.seed * (cell.arm.optimizer == "muon"), correct=[True] * 4)
    (contrast,) = json.loads(render(suite, bench.store, "json"))["contrasts"]
    assert contrast["interval"] is not None and contrast["interval_all_questions"] is None


def test_questions_that_differ_are_not_paired(bench):
    suite = bench.suite(contrasts=[bench.contrast("muon", "adamw")])
    adamw, muon = suite.cells()
    bench.write(adamw, 0.5, correct=[True, False])
    bench.write(muon, 0.5, correct=[True, False, True])
    assert math.isnan(only(bench, suite)["question_se"])


def test_a_budget_is_an_axis(bench):
    suite = bench.suite(
        budgets=({"steps": 300}, {"passes": 600}),
        contrasts=[bench.contrast("600 passes", "300 steps", axis="budget")],
    )
    bench.fill(suite, lambda cell: 0.7 if "passes" in cell.arm.budget else 0.5)
    row = only(bench, suite)
    assert row["estimate"] == pytest.approx(0.2)
    assert "over 2 optimizers" in row["sentence"]


@pytest.fixture
def timed(bench):
    """Noisy accuracies, and cells of a minute (adamw) and two (muon); the other contrast lies in the noise too."""

    def build(seeds=4, workers=1, budgets=({"steps": 300},)):
        suite = bench.suite(models="ab", seeds=seeds, budgets=budgets, contrasts=[bench.contrast("muon", "adamw")])
        suite.execution = Execution(workers=workers)
        noise = stream(1, "noise").normal(0.5, 0.02, size=(2, seeds))
        for cell in suite.cells():
            muon = cell.arm.optimizer == "muon"
            bench.write(cell, noise[int(muon), cell.seed], measured={"total_seconds": 120.0 if muon else 60.0})
        return suite

    return build


def test_minutes_are_those_of_the_missing_seeds(bench, timed):
    row = only(bench, timed())
    # Two models, a minute and two: six minutes a seed.
    assert row["minutes_per_seed"] == pytest.approx(6.0)
    missing = row["seeds_needed"] - 4
    assert missing > 0
    assert row["minutes_needed"] == pytest.approx(6.0 * missing)
    assert f"1 point ({missing:.0f} more: about " in row["sentence"]


def test_workers_share_the_minutes(bench, timed):
    assert only(bench, timed(workers=2))["minutes_per_seed"] == pytest.approx(3.0)


def test_enough_seeds_need_no_more_minutes(bench):
    suite = bench.suite(seeds=8, contrasts=[bench.contrast("muon", "adamw")])
    noise = stream(2, "tiny").normal(0.5, 0.001, size=(2, 8))
    for cell in suite.cells():
        value = noise[int(cell.arm.optimizer == "muon"), cell.seed]
        bench.write(cell, value, measured={"total_seconds": 60.0})
    row = only(bench, suite)
    assert row["minutes_needed"] == 0.0
    assert "more:" not in row["sentence"]


def test_without_times_or_without_a_spread_nothing_is_said_of_minutes(bench, timed):
    suite = bench.suite(seeds=4, contrasts=[bench.contrast("muon", "adamw")])
    bench.fill(suite, lambda cell: 0.5 + 0.01 * cell.seed * (cell.arm.optimizer == "muon"))
    assert math.isnan(only(bench, suite)["minutes_needed"])
    row = only(bench, timed(seeds=1))
    assert math.isnan(row["minutes_needed"])
    assert row["minutes_per_seed"] == pytest.approx(6.0)


def test_a_run_that_two_arms_share_is_paid_for_once():
    cells = pd.DataFrame(
        {
            "arm": [0, 0, 1, 1],
            "seed": [0, 1, 0, 1],
            "key": ["same0", "same1", "same0", "same1"],
            "total_seconds": [60.0, 60.0, 60.0, math.nan],
        }
    )
    assert minutes_per_seed(cells, np.array([0, 1]), workers=1) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(0.2, "less than a minute"), (1.2, "about 1 minute"), (75.0, "about 75 minutes"), (300.0, "about 5 hours"),
     (60.0 * 24 * 10, "about 10 days")],
)  # fmt: skip
def test_a_time_is_said_in_a_unit_that_suits_it(minutes, words):
    assert minutes_text(minutes) == words


def test_programs_read_seeds_and_minutes(bench, timed):
    (contrast,) = json.loads(render(timed(), bench.store, "json"))["contrasts"]
    assert contrast["planned_difference"] == 0.01
    assert contrast["minutes_needed"] == pytest.approx(6.0 * (contrast["seeds_needed"] - 4))


SPREAD = (0.0, 0.031, -0.012, 0.024, -0.041, 0.009, 0.015, -0.026, 0.035, -0.005)


def looked_at(bench, *, seeds=3, added=7, gain=0.05, family=1, metric="accuracy", models=("m",)):
    """A suite whose arms have some seeds of its own and some that were added, and a record for each."""
    suite = bench.suite(models=models, seeds=seeds, contrasts=[bench.contrast("muon", "adamw", metric=metric)] * family)
    more = range(seeds, seeds + added)
    suite.added = Added(0.02, {arm.name: more for arm in suite.arms})
    for cell in suite.cells():
        value = 0.5 + (gain + SPREAD[cell.seed]) * (cell.arm.optimizer == "muon")
        bench.write(cell, value, result={"test_nll": value}, measured={"total_seconds": 60.0})
    return suite


def test_added_seeds_bring_the_interval_that_allows_for_looks(bench):
    row = only(bench, looked_at(bench))
    differences = 0.05 + np.array(SPREAD)
    assert (row["n"], row["seeds_declared"]) == (10, 10)
    assert row["estimate"] == pytest.approx(differences.mean())
    assert row["half_width"] == pytest.approx(float(half_width_anytime(differences.std(ddof=1), 10)))
    assert (row["low"], row["high"]) == (row["estimate"] - row["half_width"], row["estimate"] + row["half_width"])
    assert row["p"] == row["p_holm"] == pytest.approx(float(p_anytime(row["estimate"], row["sd"], 10)))
    assert row["resolved"]
    low, high = 100 * row["low"], 100 * row["high"]
    assert row["sentence"] == (
        f"muon minus adamw: +5.3 points accuracy [{low:+.1f}, {high:+.1f}], n = 10 seeds, "
        "interval valid under repeated looks: resolved."
    )


def test_the_same_seeds_declared_beforehand_keep_students_interval(bench):
    suite = looked_at(bench)
    suite.seeds, suite.added = list(range(10)), None
    row = only(bench, suite)
    assert row["half_width"] == pytest.approx(FIXED.interval(0.05 + np.array(SPREAD))[1], rel=1e-12)
    assert "looks" not in row["sentence"] and "p < 0.001" in row["sentence"]
    assert row["seeds_needed"] == seeds_needed(float(row["sd"]), 0.01)


def test_intervals_of_several_contrasts_with_added_seeds_hold_at_once(bench):
    table = contrasts(bench, looked_at(bench, family=3, gain=0.018))
    row = table.iloc[0]
    assert row["half_width"] == pytest.approx(float(half_width_anytime(row["sd"], 10, level=0.05 / 3)))
    assert row["p_holm"] == pytest.approx(min(3 * row["p"], 1))
    assert "interval valid under repeated looks and for all 3 contrasts at once: not resolved; " in row["sentence"]
    assert row["seeds_needed"] == seeds_needed_anytime(float(row["sd"]), 0.01, level=0.05 / 3)
    assert row["seeds_needed"] > seeds_needed(float(row["sd"]), 0.01, level=0.05 / 3)
    assert row["minutes_needed"] == pytest.approx(2 * (row["seeds_needed"] - 10))


def test_with_added_seeds_resolved_is_that_the_interval_excludes_0(bench):
    # A gain at which Holm's second step would do, and the interval that holds for both contrasts does not.
    found = set()
    for gain in (0.026, 0.028, 0.03, 0.032, 0.034, 0.036):
        suite = looked_at(bench, family=2, gain=gain)
        table = contrasts(bench, suite)
        assert (table["resolved"] == (table["low"] > 0)).all()
        assert (table["resolved"] == (2 * table["p"] < 0.05)).all()
        found |= set(zip(table["resolved"], table["p"] < 0.05, strict=True))
    assert found == {(False, False), (False, True), (True, True)}


def test_holms_second_step_resolves_nothing_with_added_seeds(bench):
    suite = looked_at(bench, gain=0.0305)
    suite.contrasts = [bench.contrast("muon", "adamw"), bench.contrast("muon", "adamw", metric="test_nll")]
    for cell in suite.cells():
        value = 0.5 + (0.0305 + SPREAD[cell.seed]) * (cell.arm.optimizer == "muon")
        bench.write(cell, value, result={"test_nll": value + (cell.arm.optimizer == "muon")})
    row, clear = (own for _, own in contrasts(bench, suite).iterrows())
    assert clear["resolved"] and 0.025 < row["p"] == row["p_holm"] < 0.05
    assert row["low"] < 0 and not row["resolved"]


def test_a_report_says_what_the_run_that_added_the_seeds_said(bench):
    said = set()
    for gain, margin in ((0.0, 0.02), (0.0, 0.05), (0.01, 0.05), (0.02, 0.05), (0.05, 0.05), (0.05, 0.2)):
        suite = looked_at(bench, gain=gain)
        suite.added = replace(suite.added, margin=margin)
        table = contrasts(bench, suite)
        (verdict,) = judged(suite, table, margin)
        (row,) = (own for _, own in table.iterrows())
        assert bool(row["within"]) == (verdict.verdict == "no difference beyond the margin")
        if row["within"]:
            assert row["sentence"].endswith(f"looks: no difference beyond the margin of {100 * margin:g} points.")
            assert "would resolve" not in row["sentence"]
        said.add(verdict.verdict)
    assert said == {"better", "no difference beyond the margin", "unresolved"}


def test_times_beside_other_cells_and_parts_of_pairs_are_within_no_margin(bench):
    suite = looked_at(bench, gain=0.0, models="ab")
    suite.added = replace(suite.added, margin=0.5)
    assert contrasts(bench, suite)["within"].tolist() == ["50 points"]
    for cell in suite.cells():
        if cell.arm.model == "b":
            shutil.rmtree(bench.store.folder(cell.key))
    assert contrasts(bench, suite)["within"].tolist() == [""]


def test_worse_by_added_seeds_is_resolved_too(bench):
    row = only(bench, looked_at(bench, gain=-0.05, metric="test_nll"))
    assert row["resolved"] and row["high"] < 0


def test_a_suite_with_added_seeds_and_no_records_says_so(bench):
    suite = bench.suite(models="ab", contrasts=[bench.contrast("muon", "adamw")])
    suite.added = Added(0.02, {})
    row = only(bench, suite)
    assert row["sentence"] == "muon minus adamw: no accuracy to compare yet over 2 models (2 of 2 pairs missing)."
    (verdict,) = judged(suite, contrasts(bench, suite), 0.02)
    assert verdict.verdict == "unresolved" and "nothing to compare yet (2 of 2 pairs missing)" in verdict.sentence
    suite.contrasts = [bench.contrast("sam", "adamw")]
    assert only(bench, suite)["sentence"].endswith("the suite has no two arms that differ in this alone.")


def test_three_seeds_are_too_few_for_looks(bench):
    row = only(bench, looked_at(bench, added=0))
    assert math.isinf(row["half_width"]) and not row["resolved"]
    assert (
        "+5.6 points accuracy, n = 3 seeds, too few for an interval valid under repeated looks: not" in row["sentence"]
    )


def test_seeds_that_were_added_to_one_pair_are_no_reason_to_leave_the_other_out(bench):
    suite = looked_at(bench, models=("a", "b"))
    suite.added = Added(0.02, {arm.name: range(3, 10) for arm in suite.arms if arm.model == "a"})
    row = only(bench, suite)
    assert (row["pairs"], row["n"], row["seeds_declared"]) == (2, 3, 3)
    assert "missing" not in row["sentence"] and "incomplete" not in row["sentence"]


def test_numbers_that_agree_up_to_rounding_are_no_certainty(bench):
    suite = looked_at(bench)
    for cell in suite.cells():
        bench.write(cell, [100, 120, 140, 77][cell.seed % 4] / 500 + 0.02 * (cell.arm.optimizer == "muon"))
    row = only(bench, suite)
    assert row["estimate"] == pytest.approx(0.02)
    assert math.isnan(row["sd"]) and not row["resolved"]


def test_counts_that_no_seed_moves_need_no_interval(bench):
    suite = looked_at(bench, metric="passes")
    for cell in suite.cells():
        bench.write(cell, result={"passes": 600.0 if cell.arm.optimizer == "muon" else 300.0})
    row = only(bench, suite)
    assert (row["half_width"], row["p"], row["resolved"]) == (0.0, 0.0, True)


def test_seeds_at_which_one_side_alone_diverged_are_counted(bench):
    suite = looked_at(bench, metric="test_nll")
    for cell in suite.cells():
        failed = {"muon": {1, 4, 6, 7}, "adamw": {7, 8}}[cell.arm.optimizer]
        if cell.seed in failed:
            bench.write(cell, None, outcome="diverged")
    row = only(bench, suite)
    assert (row["of_alone_diverged"], row["minus_alone_diverged"]) == (3, 1)
    assert math.isnan(row["estimate"]) and not row["resolved"]
    (verdict,) = judged(suite, contrasts(bench, suite), 0.02)
    assert verdict.verdict == "unresolved" and "at 3 of 10 seeds it alone diverged" in verdict.sentence
    # An accuracy has a worst value, and so an average.
    suite.contrasts = [bench.contrast("muon", "adamw")]
    row = only(bench, suite)
    assert (row["of_alone_diverged"], row["minus_alone_diverged"], row["n"]) == (0, 0, 10)


def test_the_interval_for_all_questions_allows_for_looks_too(bench):
    suite = looked_at(bench)
    for cell in suite.cells():
        own = stream(cell.seed, cell.arm.optimizer).random(50) < (0.7 if cell.arm.optimizer == "muon" else 0.5)
        bench.write(cell, float(own.mean()), correct=own.tolist())
    row = only(bench, suite)
    wider = float(half_width_anytime(math.hypot(row["sd"], row["question_se"] * math.sqrt(10)), 10))
    assert row["high_all"] == pytest.approx(row["estimate"] + wider)
    assert row["high_all"] > row["high"]


def test_verdicts_take_the_intervals_of_the_table(bench):
    suite = looked_at(bench, family=2)
    table = contrasts(bench, suite)
    for (_, row), verdict in zip(table.iterrows(), judged(suite, table, suite.added.margin), strict=True):
        assert (verdict.low, verdict.high, verdict.n) == (row["low"], row["high"], 10)
        assert verdict.verdict == "better"
