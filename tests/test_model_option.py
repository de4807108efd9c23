"""A suite with another checkpoint in place of its models: `--model DIR`."""

import pytest
from models.test_checkpoints import _save
from typer.testing import CliRunner

from optbench.cli import app
from optbench.errors import UserError
from optbench.suite import load_suite

SUITE = """
models: [llama-nano, {name: mine, kind: nano, family: phi}]
tasks: [{name: sums, kind: arithmetic, train: 120, validation: 12, test: 12, kinds: [add1]}]
strategies: [uniform]
optimizers: [adamw]
budget: {steps: 2}
training: {batch_size: 8}
"""


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE)
    return path


def test_the_models_give_way_to_the_checkpoint_named_after_its_directory(suite, tmp_path):
    loaded = load_suite(suite, checkpoint=str(_save(tmp_path / "my model,1")))
    (arm,) = loaded.arms
    assert arm.model == "my-model-1"
    assert arm.model_spec.path == str(tmp_path / "my model,1")
    assert load_suite(suite, checkpoint="EleutherAI/pythia-70m").arms[0].model == "pythia-70m"


def test_the_directory_at_hand_has_its_own_name(suite, tmp_path, monkeypatch):
    monkeypatch.chdir(_save(tmp_path / "here"))
    assert load_suite(suite, checkpoint=".").arms[0].model == "here"


def test_an_override_for_a_model_that_gave_way_is_told(suite):
    suite.write_text(SUITE + "overrides: [{where: {model: mine}, set: {optimizer: {rule: {lr: 0.1}}}}]")
    with pytest.raises(UserError, match="no model of this suite is named 'mine'"):
        load_suite(suite, checkpoint="./here")


def test_run_takes_a_checkpoint_that_no_suite_names(suite, tmp_path):
    folder = _save(tmp_path / "unseen")
    results = tmp_path / "runs"
    ran = CliRunner().invoke(app, ["run", str(suite), "--model", str(folder), "--results", str(results)])
    assert ran.exit_code == 0, ran.output
    assert "unseen" in ran.output and "gained by training" in ran.output
    again = CliRunner().invoke(app, ["report", str(suite), "--model", str(folder), "--results", str(results)])
    assert "unseen" in again.output


def test_a_directory_without_a_checkpoint_is_told(suite, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no checkpoint there"):
        CliRunner().invoke(app, ["run", str(suite), "--model", str(tmp_path / "empty")], catch_exceptions=False)
