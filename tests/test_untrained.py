"""What a pretrained model scores before training: taken on the weights as they were, once for all cells."""

import json

import pytest
from cells import CELL
from models.test_checkpoints import _save

from optbench import untrained
from optbench.cell import CellSpec
from optbench.commands.merge import merged_into
from optbench.evaluation import example_losses
from optbench.runner import run_cell
from optbench.store import Store
from optbench.verification.verify import verify_records


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return _save(tmp_path_factory.mktemp("before") / "model")


def cell(checkpoint, **more):
    content = {**CELL.dump(), "model": {"kind": "pretrained", "path": str(checkpoint)}, **more}
    content["training"] = {**content["training"], "steps": 3}
    return CellSpec.model_validate(content)


def test_a_record_says_what_the_checkpoint_scored_on_the_same_questions(checkpoint, tmp_path):
    chosen = cell(checkpoint)
    record = run_cell(chosen, Store(tmp_path))
    task = chosen.task.build()
    model = chosen.model.build(seed=0, device="cpu", precision="float32", attention="sdpa")
    prepared = task.prepare(task.test, model)
    losses = example_losses(model, task, prepared)
    nll = (losses * prepared.supervised).sum() / prepared.supervised.sum()
    assert record.result["test_nll_before"] == pytest.approx(nll, rel=1e-6)
    assert record.result["test_nll"] < record.result["test_nll_before"]
    right = sum(grade.correct for grade in task.answer(task.test, model))
    assert record.result["accuracy_before"] == right / len(task.test)


def test_it_is_measured_once_for_all_cells_of_model_and_task(checkpoint, tmp_path, monkeypatch):
    first = run_cell(cell(checkpoint), Store(tmp_path)).result
    (kept,) = (tmp_path / "before").rglob(untrained.RESULT)
    assert set(json.loads(kept.read_text())) == {"accuracy", "test_nll"}
    asked = []
    task = type(cell(checkpoint).task.build())
    evaluate = task.evaluate
    monkeypatch.setattr(task, "evaluate", lambda *given, **more: asked.append(1) or evaluate(*given, **more))
    second = run_cell(cell(checkpoint, seed=1), Store(tmp_path)).result
    assert len(asked) == 1  # After training alone.
    assert second["test_nll_before"] == first["test_nll_before"]


def test_it_changes_nothing_of_what_follows(checkpoint, tmp_path, monkeypatch):
    with_it = run_cell(cell(checkpoint), Store(tmp_path / "with")).result
    monkeypatch.setattr(untrained, "KEPT", ())
    without = run_cell(cell(checkpoint), Store(tmp_path / "without")).result
    assert {name: value for name, value in with_it.items() if "_before" not in name} == without


def test_random_weights_have_no_score_before(tmp_path):
    assert not [name for name in run_cell(CELL, Store(tmp_path)).result if "_before" in name]
    assert not (tmp_path / "before").exists()


def test_such_records_are_verified_and_merged(checkpoint, tmp_path):
    store = Store(tmp_path / "runs")
    record = run_cell(cell(checkpoint), store)
    (tmp_path / "runs" / "checkpoints" / record.key / "64").mkdir(parents=True)
    assert verify_records(tmp_path / "runs").findings.problems == []
    text, is_well = merged_into(tmp_path / "runs", tmp_path / "more")
    assert is_well, text
    assert Store(tmp_path / "more").has(record.key)


def test_a_score_before_that_is_no_fraction_is_told(checkpoint, tmp_path):
    store = Store(tmp_path)
    record = run_cell(cell(checkpoint), store)
    path = store.folder(record.key) / "record.json"
    path.write_text(path.read_text().replace('"accuracy_before": ', '"accuracy_before": 7'))
    said = " ".join(problem.what for problem in verify_records(tmp_path).findings.problems)
    assert "accuracy_before" in said and "is no fraction" in said
