"""Studies that try the same points: what differs between equal spaces is then due to the optimizers."""

import pytest

from optbench.suite import load_suite
from optbench.tuning.engine import tune
from optbench.tuning.study import studies_of

TWINS = (
    "[{preset: gd, rule: {lr: 0.1}}, adamw, sam]",
    "[{name: twin, preset: adamw}, adamw, {name: wide, preset: adamw}]",
)
SPACES = """\
    - {optimizer: gd, space: {rule.lr: {low: 1e-3, high: 10}}}
    - {optimizer: adamw, space: {rule.lr: {low: 1e-4, high: 1e-1}}}
    - {optimizer: sam, space: {rule.lr: {low: 1e-4, high: 1e-1}, estimator.rho: {low: 0.01, high: 1}}}
"""
BOTH = "{low: 1e-4, high: 1e-1}, rule.weight_decay: {low: 1e-3, high: 1}"


@pytest.fixture
def twins(suite_file):
    """A suite in which adamw has a twin of another name, its space in another order, and one in a wider space."""

    def read(sequence):
        spaces = (
            "    - {optimizer: twin, space: {rule.weight_decay: {low: 1e-3, high: 1}, "
            "rule.lr: {low: 1e-4, high: 1e-1}}}\n"
            f"    - {{optimizer: adamw, space: {{rule.lr: {BOTH}}}}}\n"
            "    - {optimizer: wide, space: {rule.lr: {low: 1e-5, high: 1}, rule.weight_decay: {low: 1e-3, high: 1}}}\n"
        )
        more = () if sequence is None else (("  trials: 8\n", f"  trials: 8\n  sequence: {sequence}\n"),)
        return load_suite(suite_file(TWINS, (SPACES, spaces), *more))

    return read


def tried(study):
    return [(dict(trial.values), trial.sampler, trial.score) for trial in study.trials]


def test_a_twin_of_another_name_has_the_same_trials_and_ends_with_the_same_values(twins, cells_run, tmp_path):
    found = tune(twins("shared"), tmp_path / "runs", trials=8, tell=lambda text: None)
    twin, adamw, wide = found.studies
    assert [trial.sampler for trial in twin.trials] == ["suite"] + ["quasi-random"] * 3 + ["tpe"] * 4
    assert tried(twin) == tried(adamw)
    assert twin.chosen == adamw.chosen
    assert [trial.keys for trial in twin.trials] == [trial.keys for trial in adamw.trials]
    assert tried(wide)[1:] != tried(adamw)[1:]


@pytest.mark.parametrize("sequence", ["own", None])
def test_by_default_each_study_has_its_own_points_as_those_on_record_had(twins, sequence):
    twin, adamw, _ = studies_of(twins(sequence))
    assert twin.stream("sequence") != adamw.stream("sequence")
    assert adamw.stream("sequence") == 2564248861


def test_studies_of_other_tasks_or_models_share_nothing(suite_file):
    changes = ("  trials: 8\n", "  trials: 8\n  sequence: shared\n  per: [strategy]\n")
    spaces = (SPACES, "    - {space: {rule.lr: {low: 1e-3, high: 10}}}\n")
    found = studies_of(load_suite(suite_file(changes, spaces)))
    streams = {(study.where["strategy"][0], study.stream("sequence"), study.stream("model", 5)) for study in found}
    assert len(found) == 6
    assert len(streams) == 2
    assert len({stream for _, stream, _ in streams}) == 2
