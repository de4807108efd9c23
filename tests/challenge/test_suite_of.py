"""The suite that a challenge makes of another one."""

from pathlib import Path

import pytest

from optbench.challenge.reading import read
from optbench.challenge.suite_of import check_same, content_of, fresh_seeds, text_of
from optbench.errors import UserError
from optbench.suite import load_suite
from optbench.tuning.sampling import proposed
from optbench.tuning.study import studies_of

SPACES = "tuning: {spaces: [{space: {rule.lr: {low: 1e-4, high: 1e-1}}}]}\n"
PER_MODEL = (
    "  - {where: {model: other, optimizer: adamw}, set: {optimizer: {rule: {lr: 0.001}}, training: {batch_size: 8}}}\n"
)


def made(challenge, name="made.yaml", **more):
    request = challenge.request
    content = content_of(
        challenge.suite, challenge.entrant, request.against, name="made", seeds=challenge.suite.seeds, **more
    )
    Path(name).write_text(text_of(content, request.command), encoding="utf-8")
    return load_suite(name)


def test_it_reads_as_it_was_written(request_of):
    challenge = read(request_of(against=["muon", "adamw"]))
    suite = made(challenge)
    check_same(suite, challenge.suite)
    assert [(each.of, each.minus, each.metric) for each in suite.contrasts] == [
        ({"optimizer": "Signed"}, {"optimizer": "muon"}, "test_nll"),
        ({"optimizer": "Signed"}, {"optimizer": "adamw"}, "test_nll"),
    ]
    assert suite.ranked_by == "test_nll"
    assert [arm.optimizer_spec.rule.lr for arm in suite.arms] == [0.01, 0.01, 0.004]


def test_baselines_are_the_cells_of_the_suite(request_of):
    base = {cell.key for cell in load_suite("suites/tiny.yaml").cells() if cell.seed == 1}
    challenge = read(request_of(against=["muon", "adamw"]))
    suite = made(challenge)
    Path("again.yaml").write_text(Path("made.yaml").read_text().replace("[10000, 10001, 10002]", "[1]"))
    keys = [cell.key for cell in load_suite("again.yaml").cells()]
    assert keys[0] not in base
    assert set(keys[1:]) < base
    assert len({cell.key for cell in suite.cells()}) == 9


def test_values_that_differ_between_models_stay_what_they_are(request_of):
    path = Path("suites/tiny.yaml")
    text = path.read_text().replace(
        "models: [", "models: [{name: other, kind: nano, family: phi, width: 16, heads: 2}, "
    )
    path.write_text(text.replace("contrasts:", PER_MODEL + "contrasts:"))
    challenge = read(request_of())
    suite = made(challenge)
    check_same(suite, challenge.suite)
    adamw = {arm.model: arm for arm in suite.arms if arm.optimizer == "adamw"}
    assert {name: arm.optimizer_spec.rule.lr for name, arm in adamw.items()} == {"other": 0.001, "small": 0.004}
    assert {name: arm.training.batch_size for name, arm in adamw.items()} == {"other": 8, "small": 16}


def test_another_suite_is_not_taken_for_it(request_of):
    challenge = read(request_of())
    made(challenge)
    Path("made.yaml").write_text(Path("made.yaml").read_text().replace("0.004", "0.005"))
    with pytest.raises(UserError, match="not written as it was read"):
        check_same(load_suite("made.yaml"), challenge.suite)


def test_seeds_are_fresh_and_the_same_for_every_challenger(request_of):
    one, other = read(request_of()), read(request_of(target="sam", against=["adamw"]))
    assert one.suite.seeds == other.suite.seeds == [10000, 10001, 10002]
    Path("suites/tiny.yaml").write_text(Path("suites/tiny.yaml").read_text().replace("seeds: 2", "seeds: [10007]"))
    assert fresh_seeds(load_suite("suites/tiny.yaml")) == [20000, 20001, 20002]


def test_seeds_begin_where_it_is_asked_for_above_all_others(request_of):
    assert read(request_of(seeds_from=1001)).suite.seeds == [1001, 1002, 1003]
    assert read(request_of(seeds_from=20000)).of != read(request_of()).of
    with pytest.raises(UserError, match="--seeds-from 1000: 1000 is a seed of its tuning.*allowed: 1001 and above"):
        read(request_of(seeds_from=1000))
    Path("suites/tiny.yaml").write_text(Path("suites/tiny.yaml").read_text().replace("seeds: 2", "seeds: [5, 10007]"))
    for begin in (3, 9000, 10007):
        with pytest.raises(UserError, match=f"--seeds-from {begin}: 10007 is a seed of the suite"):
            read(request_of(seeds_from=begin))
    assert read(request_of(seeds_from=10008)).suite.seeds == [10008, 10009, 10010]


def test_a_challenge_has_all_arms_with_one_space_try_the_same_points(request_of):
    path = Path("suites/tiny.yaml")
    path.write_text(path.read_text() + SPACES)
    suite = made(read(request_of()))
    assert suite.tuning.sequence == "shared"
    first, second = studies_of(suite)
    tried = [[values for values, _ in proposed(study, range(1, 4), 8, [], "lower")] for study in (first, second)]
    assert first.optimizer != second.optimizer
    assert tried[0] == tried[1]
    assert len({values["rule.lr"] for values in tried[0]}) == 3


def test_clipping_for_all_is_clipping_for_the_challenger(request_of):
    assert read(request_of()).spec.max_norm == 1.0
    path = Path("suites/tiny.yaml")
    path.write_text(path.read_text().replace("{where: {task: arithmetic}, ", "{where: {optimizer: adamw}, "))
    assert read(request_of()).spec.max_norm == 1.0
    assert read(request_of(against=["adamw", "muon"])).spec.max_norm == float("inf")


def test_a_built_in_can_challenge_with_the_suites_values(request_of):
    suite = read(request_of(target="muon", against=["adamw"])).suite
    assert [(arm.optimizer, arm.optimizer_spec.rule.lr) for arm in suite.arms] == [("muon", 0.01), ("adamw", 0.004)]
    assert [arm.optimizer for arm in read(request_of(against=["gd"])).suite.arms] == ["Signed", "gd"]


def test_all_strategies_where_they_are_asked_for(request_of):
    suite = read(request_of(only=["strategy=*"])).suite
    assert {arm.strategy for arm in suite.arms} == {"uniform", "upsample"}
    assert {arm.strategy for arm in read(request_of()).suite.arms} == {"uniform"}
