"""Simulated runs with known effects, through the code that reports them.

A simulated cell answers questions of different difficulty. The chance of a right answer moves with a seed noise that
both arms share (order of the data, initial weights), with noise of the arm's own, and with the effect that is to be
found. Everything below is in fractions: 0.05 are 5 points.

In most worlds the answers to questions are drawn anew for each arm and seed. In the last one an arm finds a question
hard or easy at every seed alike, so that other questions would give another difference.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

from optbench.reports.contrasts import contrasts_of
from optbench.reports.frame import AXES
from optbench.reports.stats import half_width, half_width_all, holm, power, seeds_needed, t_p_value
from optbench.rng import stream

BATCH = 20
"""Simulated benchmarks per suite: each is one contrast between two arms of its own."""


@dataclass(frozen=True)
class World:
    """Where the noise comes from: standard deviations over seeds, and how many questions are asked (0: no end)."""

    shared: float
    own: float
    questions: int


SEEDS_DOMINATE = World(shared=0.05, own=0.06, questions=512)
ANSWERS_DOMINATE = World(shared=0.05, own=0.005, questions=64)
"""Chance in single answers: binomial noise, independent over arms and seeds, as if all questions were alike to arms."""
PAIRED = World(shared=0.05, own=0.003, questions=0)
WORLDS = pytest.mark.parametrize("world", [SEEDS_DOMINATE, ANSWERS_DOMINATE], ids=["seeds", "single answers"])


def chances(world, rng, seeds, *, effect, arms=2):
    """The chance of a right answer beside the question's own, [arms, seeds]; all arms but the first have the effect."""
    shared, own = rng.normal(0, world.shared, size=seeds), rng.normal(0, world.own, size=(arms, seeds))
    return shared + own + effect * (np.arange(arms) > 0)[:, None]


def answers(world, rng, moved):
    """Right answers [arms, seeds, questions]; the difficulty of a question is the same for all arms and seeds."""
    difficulty = rng.uniform(0.25, 0.75, size=world.questions)
    return rng.random((*moved.shape, world.questions)) < np.clip(moved[..., None] + difficulty, 0, 1)


def accuracies(world, rng, seeds, *, effect, arms=2):
    """Accuracies [arms, seeds]."""
    moved = chances(world, rng, seeds, effect=effect, arms=arms)
    return answers(world, rng, moved).mean(axis=2) if world.questions else moved + 0.5


def table_of(suite, values) -> pd.DataFrame:
    """The cells of a suite as they are read from records, with accuracies [arms, seeds]."""
    arms, seeds = values.shape
    table = pd.DataFrame([{"name": arm.name, **arm.axes()} for arm in suite.arms], columns=["name", *AXES])
    table = table.loc[np.repeat(np.arange(arms), seeds)].reset_index(drop=True)
    table.insert(0, "arm", np.repeat(np.arange(arms), seeds))
    keys = [f"{place:016x}" for place in range(arms * seeds)]
    made = {"device_type": "cpu", "device": "a processor", "precision": "float32", "contended": False}
    return table.assign(
        seed=np.tile(np.arange(seeds), arms), key=keys, outcome="completed", probe="", **made, accuracy=values.ravel()
    )


def draws_of(world, seeds, *, effect, replications, name="coverage"):
    """Accuracies of so many independent benchmarks of two arms, [replications, 2, seeds]."""
    rng = stream(seeds, name)
    return np.stack([accuracies(world, rng, seeds, effect=effect) for _ in range(replications)])


def reported(bench, draws) -> pd.DataFrame:
    """What a report says of the benchmarks, one row each: a suite declares the contrasts of `BATCH` of them."""
    pairs = [(f"old{place}", f"new{place}") for place in range(BATCH)]
    suite = bench.suite(
        [arm for pair in pairs for arm in pair],
        seeds=draws.shape[2],
        contrasts=[bench.contrast(new, old) for old, new in pairs],
    )
    batches = draws.reshape(-1, 2 * BATCH, draws.shape[2])
    return pd.concat([contrasts_of(suite, bench.store, table_of(suite, batch)) for batch in batches], ignore_index=True)


def in_short(draws):
    """Mean, standard deviation and half-width of each benchmark as a contrast computes them, all at once."""
    differences = draws[:, 1] - draws[:, 0]
    mean, sd = differences.mean(axis=1), differences.std(axis=1, ddof=1)
    # What all seeds agree on by coincidence has no spread to judge by.
    return mean, sd, half_width(np.where(sd > 0, sd, np.nan), draws.shape[2])


def coverage_of(draws, effect) -> float:
    mean, _, width = in_short(draws)
    return float((np.abs(mean - effect) <= width).mean())


@WORLDS
@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_the_interval_covers_the_effect(world, seeds):
    draws = draws_of(world, seeds, effect=0.01, replications=4000)
    mean, _, _ = in_short(draws)
    assert mean.mean() == pytest.approx(0.01, abs=4 * mean.std() / 4000**0.5)
    assert 0.93 <= coverage_of(draws, 0.01) <= 0.975


@WORLDS
@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_a_report_says_just_these_intervals(bench, world, seeds):
    draws = draws_of(world, seeds, effect=0.01, replications=2 * BATCH)
    table = reported(bench, draws)
    mean, sd, width = in_short(draws)
    assert table["estimate"].to_numpy() == pytest.approx(mean)
    assert table["half_width"].to_numpy() == pytest.approx(width)
    assert table["p"].to_numpy() == pytest.approx(t_p_value(mean, sd, seeds), nan_ok=True)


@pytest.mark.slow
@WORLDS
@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_reported_intervals_cover_the_effect(bench, world, seeds):
    table = reported(bench, draws_of(world, seeds, effect=0.01, replications=2000, name="reported"))
    assert ((table["low"] <= 0.01) & (table["high"] >= 0.01)).mean() >= 0.93


def test_pairing_resolves_one_point_under_seed_noise_of_five_and_two_samples_do_not(bench):
    draws = draws_of(PAIRED, 12, effect=0.01, replications=400)
    mean, sd, _ = in_short(draws)
    assert coverage_of(draws, 0.01) >= 0.93
    assert (t_p_value(mean, sd, 12) < 0.05).mean() > 0.99
    assert (reported(bench, draws[:BATCH])["p_holm"] < 0.05).mean() > 0.9
    # Noise of 5 points in each arm, and 12 seeds: Welch's t of two samples sees the effect hardly more often than none.
    assert (reference.ttest_ind(draws[:, 1], draws[:, 0], axis=1, equal_var=False).pvalue < 0.05).mean() < 0.1


def test_a_percentile_bootstrap_of_three_seeds_does_not_cover():
    # Why the interval is Student's: resampling three seeds cannot show how far apart seeds are.
    rng, covered = stream(3, "bootstrap"), []
    for _ in range(400):
        old, new = answers(SEEDS_DOMINATE, rng, chances(SEEDS_DOMINATE, rng, 3, effect=0.01)).astype(float)
        questions = rng.multinomial(old.shape[1], np.full(old.shape[1], 1 / old.shape[1]), size=200) / old.shape[1]
        seeds = rng.integers(0, 3, size=(200, 3))
        means = ((new - old) @ questions.T)[seeds, np.arange(200)[:, None]].mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        covered.append(low <= 0.01 <= high)
    assert np.mean(covered) < 0.9


def test_holm_keeps_the_chance_of_any_false_claim_of_a_suite(bench):
    # Eight arms against one control: contrasts that share it are correlated, and Holm needs no independence.
    rng = stream(0, "family")
    draws = np.stack([accuracies(SEEDS_DOMINATE, rng, 5, effect=0.0, arms=9) for _ in range(2000)])
    differences = draws[:, 1:] - draws[:, :1]
    p = t_p_value(differences.mean(axis=2), differences.std(axis=2, ddof=1), 5)
    adjusted = np.stack([holm(family) for family in p])
    # Two standard errors of 2000 draws above 5%.
    assert (adjusted < 0.05).any(axis=1).mean() <= 0.06
    assert (p < 0.05).any(axis=1).mean() > 0.15
    rest = [f"arm{place}" for place in range(8)]
    suite = bench.suite(["control", *rest], seeds=5, contrasts=[bench.contrast(arm, "control") for arm in rest])
    for values, family in zip(draws[:5], adjusted, strict=False):
        table = contrasts_of(suite, bench.store, table_of(suite, values))
        assert table["p_holm"].to_numpy() == pytest.approx(family)
        assert table["resolved"].tolist() == (family < 0.05).tolist()


def test_the_seeds_that_a_plan_asks_for_resolve_the_difference():
    sd = 2**0.5 * 0.008
    needed = int(seeds_needed(sd, 0.01))
    world = World(shared=0.05, own=0.008, questions=0)
    mean, spread, _ = in_short(draws_of(world, needed, effect=0.01, replications=4000, name="plan"))
    assert (t_p_value(mean, spread, needed) < 0.05).mean() >= 0.78
    assert power(sd, 0.01, needed - 1) < 0.8
    # What is planned from a spread that was itself estimated is right on the whole, and rough in each case.
    _, pilot, _ = in_short(draws_of(world, 6, effect=0.01, replications=400, name="pilot"))
    assert needed / 2 <= np.median([seeds_needed(spread, 0.01) for spread in pilot]) <= 2 * needed


def fixed_by_question(seeds, *, spread=0.2, asked=64, effect=0.01, replications=4000):
    """The second arm less the first, where each arm's chance moves by `spread` from question to question, at all seeds
    alike: differences [replications, seeds], their standard errors over questions, and the true effects on the
    questions that were asked. Chances stay so far from 0 and 1 that noise of seeds moves all of them alike.
    """
    rng, parts = stream(seeds, "fixed by question"), []
    for _ in range(replications // 500):
        difficulty = rng.uniform(0.25, 0.75, size=(500, 1, asked))
        chance = np.clip(difficulty + rng.normal(0, spread, size=(500, 2, asked)), 0.1, 0.9)
        chance[:, 1] += effect
        moved = rng.normal(0, 0.02, size=(500, 1, seeds)) + rng.normal(0, 0.005, size=(500, 2, seeds))
        right = rng.random((500, 2, seeds, asked), dtype=np.float32) < chance[:, :, None] + moved[..., None]
        differences = right[:, 1].astype(np.int8) - right[:, 0]
        error = differences.mean(axis=1).std(axis=1, ddof=1) / asked**0.5
        parts.append((differences.mean(axis=2), error, (chance[:, 1] - chance[:, 0]).mean(axis=1)))
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


@pytest.mark.parametrize(("seeds", "below"), [(3, 0.95), (5, 0.92), (12, 0.82)])
def test_the_interval_is_about_the_questions_asked_and_the_wider_one_about_all(seeds, below):
    differences, error, asked = fixed_by_question(seeds)
    mean, sd = differences.mean(axis=1), differences.std(axis=1, ddof=1)
    sd = np.where(sd > 0, sd, np.nan)
    assert 0.93 <= (np.abs(mean - asked) <= half_width(sd, seeds)).mean() <= 0.97
    assert (np.abs(mean - 0.01) <= half_width(sd, seeds)).mean() < below
    assert (np.abs(mean - 0.01) <= half_width_all(sd, error, seeds)).mean() >= 0.95
