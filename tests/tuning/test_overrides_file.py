"""What tuning writes is a list of overrides that suites take, with the trials beside it, or is refused."""

import json
import re

import pytest

from optbench.errors import UserError
from optbench.selection import narrowed
from optbench.suite import load_suite
from optbench.tuning.engine import tune
from optbench.tuning.overrides_file import write_tuned


@pytest.fixture
def written(suite_file, cells_run, tmp_path):
    """The path of a suite, what tuning found, and the file that it wrote."""
    path = suite_file(("  trials: 8", "  trials: 4"))
    found = tune(load_suite(path), tmp_path / "r", trials=4, tell=lambda line: None)
    write_tuned(found, tmp_path / "tuned" / "x.yaml", "optbench tune suite.yaml")
    return path, found, tmp_path / "tuned" / "x.yaml"


def rates(suite):
    return {arm.optimizer: arm.optimizer_spec.rule.lr for arm in suite.arms}


def test_arms_run_with_what_was_chosen_and_know_their_trials(written):
    path, found, file = written
    suite = load_suite(path, file)
    assert suite.tuned == found
    assert rates(suite) == {study.optimizer: study.chosen["rule.lr"] for study in found.studies}
    assert suite.arms[2].optimizer_spec.estimator.rho == found.studies[2].chosen["estimator.rho"]
    assert load_suite(path).tuned is None


def test_the_file_says_where_it_is_from_and_nothing_of_the_day_or_the_machine(written, tmp_path):
    _, found, file = written
    text = file.read_text()
    assert "# optbench tune suite.yaml\n" in text
    assert "4 trials of each study" in text
    assert "test_loss" in text.split("- where")[0]
    assert str(tmp_path) not in text + file.with_suffix(".json").read_text()
    again = tmp_path / "again.yaml"
    write_tuned(found, again, "optbench tune suite.yaml")
    assert again.read_bytes() == file.read_bytes()
    assert sorted(p.name for p in file.parent.iterdir()) == ["x.json", "x.yaml"], "something was left behind"


def test_a_suite_names_its_tuned_file_relative_to_itself(written, tmp_path, monkeypatch):
    path, found, file = written
    monkeypatch.chdir("/")
    path.write_text(path.read_text() + "tuned: tuned/x.yaml\n")
    suite = load_suite(path)
    assert suite.tuned == found
    assert rates(suite) == {study.optimizer: study.chosen["rule.lr"] for study in found.studies}


def test_it_wins_over_the_suites_overrides_and_gives_way_to_those_of_the_command_line(written, tmp_path):
    path, found, _ = written
    own = (
        "overrides:\n  - {where: {optimizer: gd, strategy: uniform, model: '*'}, set: {optimizer: {rule: {lr: 9.0}}}}\n"
    )
    path.write_text(path.read_text() + own)
    assert load_suite(path).arms[0].optimizer_spec.rule.lr == 9.0
    path.write_text(path.read_text() + "tuned: tuned/x.yaml\n")
    assert load_suite(path).arms[0].optimizer_spec.rule.lr == found.studies[0].chosen["rule.lr"]
    top = tmp_path / "top.yaml"
    top.write_text("- {where: {optimizer: gd}, set: {optimizer: {rule: {lr: 7.0}}}}\n")
    suite = load_suite(path, top)
    assert suite.arms[0].optimizer_spec.rule.lr == 7.0
    assert [study.optimizer for study in suite.tuned.studies] == ["adamw", "sam"], "trials of values that it has not"


def test_what_is_changed_by_hand_takes_the_trials_from_those_arms_alone(written, tmp_path):
    path, found, _ = written
    path.write_text(path.read_text() + "tuned: tuned/x.yaml\n")
    top = tmp_path / "top.yaml"
    top.write_text("- {where: {strategy: uniform}, set: {training: {batch_size: 16}}}\n")
    suite = load_suite(path, top)
    assert [study.arms for study in suite.tuned.studies] == [study.arms[1:] for study in found.studies]
    top.write_text("- {set: {optimizer: {max_norm: 1.0}}}\n")
    assert load_suite(path, top).tuned is None
    top.write_text("- {set: {task: {train: 32}}}\n")
    assert load_suite(path, top).tuned == found, "changes neither optimizer nor training"


def test_trials_of_the_command_lines_file_take_the_place_of_the_suites(written, cells_run, tmp_path):
    path, _, file = written
    other = tune(load_suite(path), tmp_path / "r", trials=2, tell=lambda line: None)
    write_tuned(other, tmp_path / "other.yaml")
    path.write_text(path.read_text() + "tuned: tuned/x.yaml\n")
    assert load_suite(path, tmp_path / "other.yaml").tuned == other
    file.with_suffix(".json").unlink()
    assert load_suite(path).tuned is None, "an overrides file like any other"


def retuned(path, folder, *only, score="test_loss"):
    """Tunes some arms of the suite anew, with a trial less than before, and writes the file beside it."""
    suite = narrowed(load_suite(path), only)
    found = tune(suite, folder / "r", trials=3, tell=lambda line: None)
    write_tuned(found.model_copy(update={"score": score}), folder / "other.yaml")
    return folder / "other.yaml"


def trials_of(suite):
    """The number of trials of each arm that has some, by its optimizer and strategy."""
    names = {arm.name: (arm.optimizer, arm.strategy) for arm in suite.arms}
    return {names[arm]: len(study.trials) for study in suite.tuned.studies for arm in study.arms}


BOTH = ("uniform", "random_upsample")


def test_arms_that_a_second_file_leaves_alone_keep_the_trials_of_the_first(written, tmp_path):
    path, found, _ = written
    other = retuned(path, tmp_path, "optimizer=adamw")
    path.write_text(path.read_text() + "tuned: tuned/x.yaml\n")
    suite = load_suite(path, other)
    assert trials_of(suite) == {
        (optimizer, strategy): count for optimizer, count in (("gd", 4), ("adamw", 3), ("sam", 4)) for strategy in BOTH
    }
    assert rates(suite)["gd"] == found.studies[0].chosen["rule.lr"]
    one_by_one = load_suite(path, [tmp_path / "tuned" / "x.yaml", other])
    assert trials_of(one_by_one) == trials_of(suite)


def test_an_arm_whose_values_come_from_trials_of_others_has_none(written, tmp_path):
    """The second file was tuned on one strategy, and sets the values of both."""
    path, _, _ = written
    other = retuned(path, tmp_path, "optimizer=adamw", "strategy=uniform")
    path.write_text(path.read_text() + "tuned: tuned/x.yaml\n")
    found = trials_of(load_suite(path, other))
    assert found == {("adamw", "uniform"): 3, **{(name, each): 4 for name in ("gd", "sam") for each in BOTH}}


def test_the_last_of_several_files_counts_whoever_wrote_it(written, tmp_path):
    path, found, file = written
    hand = tmp_path / "hand.yaml"
    hand.write_text("- {where: {optimizer: gd}, set: {optimizer: {rule: {lr: 7.0}}}}\n")
    assert load_suite(path, [hand, file]).tuned == found
    above = load_suite(path, [file, hand])
    assert rates(above)["gd"] == 7.0
    assert {name for name, _ in trials_of(above)} == {"adamw", "sam"}


def test_a_study_that_chose_nothing_says_so_of_values_that_nobody_tuned(written, tmp_path):
    path, found, _ = written
    gd = found.studies[0]
    nothing = gd.model_copy(update={"space": {}, "trials": [gd.trials[0].model_copy(update={"values": {}})], "best": 0})
    write_tuned(found.model_copy(update={"studies": [nothing]}), tmp_path / "none.yaml")
    assert load_suite(path, tmp_path / "none.yaml").tuned.studies == [nothing]
    path.write_text(path.read_text() + "tuned: tuned/x.yaml\n")
    assert load_suite(path, tmp_path / "none.yaml").tuned == found, "its values are still those of the first file"


def test_trials_that_were_compared_otherwise_are_not_added_up(written, tmp_path):
    path, _, _ = written
    other = retuned(path, tmp_path, "optimizer=adamw", score="test_nll")
    path.write_text(path.read_text() + "tuned: tuned/x.yaml\n")
    with pytest.raises(UserError, match=r"x\.yaml: some arms keep its values, chosen with tuning\.score test_loss"):
        load_suite(path, other)
    all_of_them = retuned(path, tmp_path, score="test_nll")
    assert load_suite(path, all_of_them).tuned.score == "test_nll", "none of the first file's values are left"


def test_a_file_that_is_not_there_is_refused_at_its_line(written):
    path, _, _ = written
    path.write_text(path.read_text() + "tuned: tuned/y.yaml\n")
    line = len(path.read_text().splitlines())
    with pytest.raises(UserError, match=f"suite.yaml:{line}: tuned is 'tuned/y.yaml': no such file"):
        load_suite(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-40], "is not what tuning writes"),
        (lambda text: "{}", "is not what tuning writes"),
        (lambda text: "[1, 2]", "is not what tuning writes"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "is not what tuning writes (version: "),
        (lambda text: text.replace('"seconds"', '"second"', 1), "is not what tuning writes"),
        (lambda text: text.replace('"best": ', '"best": 9'), "has no trial 9"),
        (lambda text: text.replace('"rule.lr"', '"rule.eps"'), "the trials of other values"),
        (
            lambda text: re.sub(r'"score": [0-9.e-]+', '"score": NaN', text, count=1),
            "is not what tuning writes (studies.",
        ),
        (lambda text: "\xff", "is not what tuning writes"),
    ],
)
def test_trials_that_are_damaged_or_of_other_values_are_refused(written, damage, message):
    path, _, file = written
    beside = file.with_suffix(".json")
    beside.write_text(damage(beside.read_text()), encoding="latin-1")
    with pytest.raises(UserError) as error:
        load_suite(path, file)
    assert str(error.value).startswith(str(beside))
    assert message in str(error.value)
    assert "tune again, or move it away" in str(error.value)


def test_a_value_changed_by_hand_beside_the_trials_is_refused(written):
    path, found, file = written
    rate = found.studies[1].chosen["rule.lr"]
    assert f"lr: {rate}" in file.read_text()
    file.write_text(file.read_text().replace(f"lr: {rate}", "lr: 0.5"))
    with pytest.raises(UserError, match="the trials of other values than those in"):
        load_suite(path, file)


@pytest.mark.parametrize("name", ["x.json", "x", "x.yaml"])
def test_places_that_cannot_be_written_are_refused(written, tmp_path, name):
    _, found, _ = written
    (tmp_path / "x.yaml").mkdir()
    with pytest.raises(UserError, match=f"--to .*{name}"):
        write_tuned(found, tmp_path / name)
    assert not (tmp_path / "x.json").exists()


def test_nothing_of_it_enters_a_key(written):
    path, _, _ = written
    before = [cell.key for cell in load_suite(path).cells()]
    text = path.read_text()
    path.write_text(text[: text.index("tuning:")])
    assert [cell.key for cell in load_suite(path).cells()] == before


def test_numbers_come_back_as_they_were(written):
    _, found, file = written
    assert json.loads(file.with_suffix(".json").read_text()) == found.dump()
