"""Which values are tried: a scrambled Sobol sequence, then what the Parzen estimator proposes, the same every time."""

import logging
import math
import warnings

import numpy as np
import pytest
from scipy.stats import qmc

from optbench.optim.search import Choice, Range
from optbench.suite import load_suite
from optbench.tuning.record import Trial
from optbench.tuning.sampling import proposed, quasi_random_until, rounds_of
from optbench.tuning.study import Planned, studies_of

SPACE = {
    "rule.lr": Range(low=1e-4, high=1e-1),
    "estimator.rho": Range(low=0.0, high=1.0, log=False),
    "rule.betas": Choice(values=[[0.9, 0.999], [0.9, 0.95], [0.8, 0.9]]),
    "estimator.refresh_every": Range(low=1, high=4, log=False),
}


def planned(suite_file, space=SPACE, seed=0):
    arms = [arm for arm in load_suite(suite_file()).arms if arm.optimizer == "sam"]
    whole = frozenset({"estimator.refresh_every"} & space.keys())
    return Planned({"optimizer": ["sam"]}, arms, space, "suite", whole, seed)


def trial(values, score, sampler="quasi-random"):
    return Trial(values=values, sampler=sampler, score=score, outcomes={}, keys=[], seconds=0.0)


@pytest.mark.parametrize("trials", range(1, 20))
def test_rounds_are_all_trials_once_in_order_two_at_most_and_of_one_sampler(trials):
    rounds = rounds_of(trials)
    assert [place for places in rounds for place in places] == list(range(trials))
    assert rounds[0] == range(0, 1)
    assert max(map(len, rounds)) <= 2
    assert quasi_random_until(trials) == {1: 1, 2: 2, 3: 2}.get(trials, math.ceil(trials / 2))
    until = quasi_random_until(trials)
    assert all(places.stop <= until or places.start >= until for places in rounds)


def test_the_sequence_is_the_scrambled_sobol_sequence(suite_file):
    study = planned(suite_file, {"rule.lr": Range(low=1e-4, high=1e-1), "estimator.rho": Range(low=0.001, high=10)})
    found = [proposed(study, range(place, place + 1), 40, [], "lower")[0] for place in range(1, 17)]
    assert {sampler for _, sampler in found} == {"quasi-random"}
    expected = qmc.Sobol(d=2, scramble=True, seed=study.stream("sequence")).random(16)
    ends = [[math.log(1e-1 / 1e-4), math.log(1e-4)], [math.log(10 / 0.001), math.log(0.001)]]
    for row, (values, _) in zip(expected, found, strict=True):
        for share, path, (width, start) in zip(row, study.space, ends, strict=True):
            assert values[path] == pytest.approx(math.exp(start + share * width), rel=1e-3)


def test_the_sequence_covers_every_choice_and_every_whole_number(suite_file):
    study = planned(suite_file)
    found = [values for values, _ in proposed(study, range(1, 33), 64, [], "lower")]
    for path in ("rule.betas", "estimator.refresh_every"):
        counts = {}
        for values in found:
            counts[str(values[path])] = counts.get(str(values[path]), 0) + 1
        assert len(counts) == (3 if path == "rule.betas" else 4)
        assert max(counts.values()) - min(counts.values()) <= 3, counts
    assert {type(values["estimator.refresh_every"]) for values in found} == {int}
    assert max(len(f"{values['rule.lr']:.10g}".replace("0.", "").lstrip("0")) for values in found) <= 4, "short numbers"


def test_a_round_is_the_same_alone_and_with_others(suite_file):
    study = planned(suite_file)
    together = proposed(study, range(1, 5), 16, [], "lower")
    assert together == [proposed(study, range(place, place + 1), 16, [], "lower")[0] for place in range(1, 5)]


def history(study, best, count=12, lost=()):
    values = [values for values, _ in proposed(study, range(1, count + 1), 100, [], "lower")]
    return [trial(v, None if place in lost else abs(math.log(v["rule.lr"] / best))) for place, v in enumerate(values)]


def test_the_model_proposes_the_same_two_every_time_and_they_differ(suite_file):
    study = planned(suite_file)
    done = history(study, 0.02)
    first = proposed(study, range(12, 14), 20, done, "lower")
    assert first == proposed(study, range(12, 14), 20, done, "lower")
    assert {sampler for _, sampler in first} == {"tpe"}
    assert first[0] != first[1]
    assert proposed(planned(suite_file, seed=1), range(12, 14), 20, done, "lower") != first
    assert proposed(study, range(14, 16), 20, done, "lower") != first


def test_the_model_goes_where_trials_were_good(suite_file):
    near = []
    for direction, sign in (("lower", 1.0), ("higher", -1.0)):
        study = planned(suite_file, {"rule.lr": SPACE["rule.lr"]})
        done = [each.model_copy(update={"score": sign * each.score}) for each in history(study, 0.02)]
        for start in range(12, 28, 2):
            found = proposed(study, range(start, start + 2), 24, done, direction)
            near += [abs(math.log10(values["rule.lr"] / 0.02)) for values, _ in found]
    assert np.mean(near) < 0.6, "of a range of three decades"


def test_trials_without_a_score_count_as_the_worst(suite_file):
    """Where all high rates are lost, the model keeps away from them as if they had been measured to be worst."""
    study = planned(suite_file, {"rule.lr": SPACE["rule.lr"]})
    done = history(study, 1e-3, count=12)
    worst = max(each.score for each in done)
    lost = [each.model_copy(update={"score": None}) if each.values["rule.lr"] > 0.02 else each for each in done]
    kept = [each.score for each in lost if each.score is not None]
    assert worst not in kept
    told = [each if each.score is not None else each.model_copy(update={"score": max(kept)}) for each in lost]
    assert proposed(study, range(12, 14), 20, lost, "lower") == proposed(study, range(12, 14), 20, told, "lower")
    none = [each.model_copy(update={"score": None}) for each in done]
    assert len(proposed(study, range(12, 14), 20, none, "lower")) == 2


def test_values_of_the_suite_beyond_the_space_are_not_told(suite_file):
    study = planned(suite_file, {"rule.lr": SPACE["rule.lr"]})
    done = history(study, 0.02)
    beyond = trial({"rule.lr": 5.0}, -100.0, "suite")
    within = trial({"rule.lr": 0.09}, -100.0, "suite")
    plain = proposed(study, range(12, 14), 20, done, "lower")
    assert proposed(study, range(12, 14), 20, [beyond, *done], "lower") == plain
    assert proposed(study, range(12, 14), 20, [within, *done], "lower") != plain


def test_optuna_is_not_heard(suite_file, capfd, caplog):
    import optuna

    study = planned(suite_file)
    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        proposed(study, range(1, 3), 20, [], "lower")
        proposed(study, range(12, 14), 20, history(study, 0.02), "lower")
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before


def test_an_optimizer_without_anything_to_tune_repeats_its_values(suite_file):
    study = planned(suite_file, {})
    assert proposed(study, range(1, 3), 4, [], "lower") == [({}, "quasi-random")] * 2


def test_studies_of_a_suite_have_streams_of_their_own(suite_file):
    found = studies_of(load_suite(suite_file()))
    assert len({study.stream("sequence") for study in found}) == 3
    assert all(study.stream("sequence") < 2**32 for study in found)
