"""Where the first trial of each arm comes from, as a challenge says it."""

from pathlib import Path

import pytest

from optbench.challenge.reading import read
from optbench.suite import load_suite
from optbench.tuning.overrides_file import write_tuned
from optbench.tuning.record import Study, Trial, Tuned
from optbench.tuning.study import studies_of

SUITE = Path("suites/tiny.yaml")


@pytest.fixture
def tuned_suite(place):
    """The suite, with values that five trials of adamw and muon chose."""
    studies = [
        Study(
            optimizer=own.optimizer,
            where=dict(own.where),
            arms=[arm.name for arm in own.arms],
            space=dict(own.space),
            declared_by=own.declared_by,
            trials=[Trial(values={"rule.lr": 0.007}, sampler="suite", score=1.0, outcomes={}, keys=[], seconds=1.0)]
            * 5,
            best=0,
        )
        for own in studies_of(load_suite(SUITE))
        if own.optimizer in ("adamw", "muon")
    ]
    tuned = Tuned(suite="tiny", score="test_nll", direction="lower", seeds=[1000], seed=0, studies=studies)
    write_tuned(tuned, Path("suites/tiny_tuned.yaml"))
    SUITE.write_text(SUITE.read_text() + "tuned: tiny_tuned.yaml\n")


def test_baselines_of_a_tuned_suite_start_with_what_its_trials_chose(tuned_suite, request_of):
    said = read(request_of(against=["adamw", "muon", "gd"])).starts
    assert said[1:] == [
        "Started with what earlier, recorded trials of the suite chose: adamw (5 trials), muon (5 trials).",
        "Started with values of the suite or of a preset, of which it is not recorded whether they were tuned: gd.",
        "Signed started with the rate of its class's default; trials before this challenge are not known of.",
    ]


def test_without_recorded_trials_nothing_is_said_of_their_number(request_of):
    said = read(request_of(lr=0.5)).starts
    assert said[1] == (
        "Started with values of the suite or of a preset, of which it is not recorded whether they were tuned: adamw."
    )
    assert said[2].startswith("Signed started with the rate of --lr;")


def test_a_challenger_of_the_suite_starts_like_its_baselines(tuned_suite, request_of):
    said = read(request_of(target="muon", against=["adamw"])).starts
    assert said[1:] == [
        "Started with what earlier, recorded trials of the suite chose: muon (5 trials), adamw (5 trials)."
    ]
