"""Which hyper-parameters mattered, on studies where that is known."""

import logging
import random

import pytest

from optbench.optim.search import Choice, Range
from optbench.tuning.importance import BETTER, FEWEST, importance_of
from optbench.tuning.record import Trial

optuna = pytest.importorskip("optuna")

SPACE = {
    "rule.lr": Range(low=1e-4, high=1e-2),
    "rule.weight_decay": Range(low=0, high=0.1, log=False),
    "rule.betas": Choice(values=[[0.9, 0.95], [0.9, 0.99], [0.8, 0.9]]),
}


def trial(score, lr, weight_decay=0.05, betas=(0.9, 0.95)):
    values = {"rule.lr": lr, "rule.weight_decay": weight_decay, "rule.betas": list(betas)}
    outcomes = {"completed" if score is not None else "diverged": 1}
    return Trial(values=values, sampler="quasi-random", score=score, outcomes=outcomes, keys=[], seconds=1.0)


def trials(count, score, seed=0):
    """Trials anywhere in the space; `score` sees the place of the rate and of the decay in 0 to 1, and of the betas."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        rate, decay, place = draw.random(), draw.random(), draw.randrange(3)
        betas = SPACE["rule.betas"].values[place]
        found.append(trial(score(rate, decay, place), 1e-4 * 100**rate, 0.1 * decay, betas))
    return found


@pytest.mark.parametrize(
    ("matters", "score"),
    [
        ("rule.lr", lambda rate, decay, place: (rate - 0.4) ** 2),
        ("rule.weight_decay", lambda rate, decay, place: (decay - 0.8) ** 2),
        ("rule.betas", lambda rate, decay, place: float(place != 1)),
    ],
)
def test_what_decides_the_score_comes_first(matters, score):
    found = importance_of(SPACE, trials(48, score), "lower")
    assert next(iter(found)) == matters and found[matters] > 0.6
    assert sum(found.values()) == pytest.approx(1)
    assert list(found.values()) == sorted(found.values(), reverse=True) and found.keys() == SPACE.keys()


def test_the_direction_says_which_trials_are_the_better_ones():
    # A rate above the middle is good, and how good does not depend on it; below, the decay decides.
    def score(rate, decay, place):
        return 1 + 0.01 * decay if rate > 0.5 else decay / 2

    drawn = trials(60, score)
    up, down = importance_of(SPACE, drawn, "higher"), importance_of(SPACE, drawn, "lower")
    assert up != down
    mirrored = [trial.model_copy(update={"score": -trial.score}) for trial in drawn]
    assert importance_of(SPACE, mirrored, "lower") == up


def test_only_the_order_of_the_scores_counts():
    drawn = trials(20, lambda rate, decay, place: (rate - 0.4) ** 2 + 0.1 * decay)
    stretched = [trial.model_copy(update={"score": trial.score**3 * 1e6}) for trial in drawn]
    assert importance_of(SPACE, stretched, "lower") == importance_of(SPACE, drawn, "lower")


def test_a_trial_without_a_score_is_the_worst():
    def score(rate, decay, place):
        return None if rate > 0.6 else 0.5 + 0.001 * place

    found = importance_of(SPACE, trials(40, score), "lower")
    assert next(iter(found)) == "rule.lr"
    higher = importance_of(SPACE, trials(40, score), "higher")
    assert next(iter(higher)) == "rule.lr"


def test_nothing_is_said_of_a_few_trials():
    drawn = trials(FEWEST, lambda rate, decay, place: rate)
    assert importance_of(SPACE, drawn, "lower") and not importance_of(SPACE, drawn[:-1], "lower")
    failed = [trial.model_copy(update={"score": None}) for trial in drawn]
    few = [*failed[: FEWEST - BETTER + 1], *drawn[FEWEST - BETTER + 1 :]]
    assert not importance_of(SPACE, few, "lower")
    assert not importance_of({}, drawn, "lower")


def test_values_outside_the_space_are_left_out():
    drawn = trials(FEWEST, lambda rate, decay, place: rate)
    outside = [trial(0.0, 0.5), trial(0.0, 1e-3, betas=(0.5, 0.5)), trial(0.0, 1e-3, weight_decay=0.2)]
    without = drawn[0].model_copy(update={"values": {"rule.lr": 1e-3}})
    assert importance_of(SPACE, [*drawn, *outside, without], "lower") == importance_of(SPACE, drawn, "lower")


def test_optuna_says_nothing(caplog, capfd):
    optuna.logging.enable_propagation()
    try:
        level = optuna.logging.get_verbosity()
        with caplog.at_level(logging.DEBUG):
            importance_of(SPACE, trials(FEWEST, lambda rate, decay, place: rate), "lower")
    finally:
        optuna.logging.disable_propagation()
    assert not caplog.records and capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == level
