"""Error rates of the rule on what was recorded: differences per seed are drawn again from the recorded ones."""

import math
from dataclasses import replace

import numpy as np
import pytest
from planted import repetitions
from planted.repetitions import FIRST, MARGIN, PILOT, SEEDS, first_verdicts, planted_suite, recorded, scores

from optbench.added import Added
from optbench.reports.contrasts import contrasts_of
from optbench.reports.frame import cells_table
from optbench.reports.sequential import joint_level
from optbench.reports.stats import half_width
from optbench.reports.verdicts import judged

DRAWS, LONG = 2000, 200
LEVEL = joint_level(2)
NULLS = ("planted", "placebo", "adamw")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repetitions.ROOT)
        return scores(planted_suite(), recorded(tmp_path_factory.mktemp("records")))


def differences(table, arm):
    """Per seed; of AdamW against itself, at seeds of which each is used once."""
    if arm == "adamw":
        own = table["adamw"].dropna().to_numpy()
        half = len(own) // 2
        return own[:half] - own[half : 2 * half]
    return (table[arm] - table["adamw"]).dropna().to_numpy()


def drawn(numbers, length, *, seed=0):
    return np.random.default_rng(seed).choice(numbers, size=(DRAWS, length))


def test_what_was_recorded(table):
    assert len(differences(table, "planted")) >= 200 and len(differences(table, "adamw")) >= 200
    placebo = differences(table, "placebo")
    assert len(placebo) >= 30
    assert np.count_nonzero(placebo) == len(placebo)


def test_the_planted_improvement_is_found_with_a_chance_of_four_fifths(table):
    verdicts, _ = first_verdicts(drawn(differences(table, "planted"), SEEDS), level=LEVEL)
    assert (verdicts == -1).mean() >= 0.8
    assert (verdicts == 1).mean() == 0.0


@pytest.mark.parametrize("arm", NULLS)
def test_no_difference_is_found_where_there_is_none_however_often_one_looks(arm, table):
    """Differences less their mean, in the shape that was recorded; a margin that stops nothing, so that every look at
    up to 200 seeds counts."""
    numbers = differences(table, arm)
    verdicts, _ = first_verdicts(drawn(numbers - numbers.mean(), LONG, seed=1), level=LEVEL, margin=0.0)
    assert (~np.isnan(verdicts)).mean() <= LEVEL


def test_usual_intervals_would_not_do(table, monkeypatch):
    """The same by Student's t, at the same level: what looks and stops finds something too often."""
    monkeypatch.setattr(repetitions, "half_width_anytime", half_width)
    numbers = differences(table, "adamw")
    verdicts, _ = first_verdicts(drawn(numbers - numbers.mean(), LONG, seed=1), level=LEVEL, margin=0.0)
    assert (~np.isnan(verdicts)).mean() > 3 * LEVEL


def test_the_rule_here_is_that_of_the_package(table, tmp_path, monkeypatch):
    monkeypatch.chdir(repetitions.ROOT)
    suite, store = planted_suite(), recorded(tmp_path)
    words = {"better": -1.0, "worse": 1.0, "no difference beyond the margin": 0.0, "unresolved": math.nan}
    seen = set()
    for count in range(PILOT, SEEDS + 1, 4):
        own = replace(suite, seeds=list(range(FIRST, FIRST + count)), added=Added(MARGIN, {}))
        verdict = judged(own, contrasts_of(own, store, cells_table(own, store)), MARGIN)[0].verdict
        numbers = (table["planted"] - table["adamw"]).to_numpy()[:count]
        (mine,), _ = first_verdicts(numbers[None], level=LEVEL, pilot=count)
        assert mine == pytest.approx(words[verdict], nan_ok=True)
        seen.add(verdict)
    assert len(seen) > 1
