"""Panels and runs: looking changes nothing, findings asked for later are the same, and nothing is lost."""

import json
import shutil
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from cells import CELL, PANEL

from optbench.errors import UserError
from optbench.panels.base import Findings, panel_key
from optbench.runner import run_cell
from optbench.spec import Spec
from optbench.store import WEIGHTS, Store


class Norm(Spec):
    """A panel of the final weights: their norm. It also does what a careless panel might do."""

    kind: Literal["norm"] = "norm"
    along_training: bool = False

    def probe_run(self, cell):
        return None

    def start(self, subject):
        return NormLooking(subject)


@dataclass
class NormLooking:
    subject: object
    observe_at: frozenset = frozenset()

    def observe(self, step):
        raise AssertionError("was not asked for")

    def finish(self):
        torch.rand(7)
        squares = [float(p.detach().double().square().sum()) for p in self.subject.model.module.parameters()]
        return Findings({"norm": sum(squares) ** 0.5}, {"seen": len(squares)})


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("plain"))
    run_cell(CELL, store)
    return store


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("looked"))
    run_cell(CELL, store, [PANEL, Norm()])
    return store


def copied(store, tmp_path):
    shutil.copytree(store.root, tmp_path / "r")
    return Store(tmp_path / "r")


def found(store, panel):
    content = store.panel(CELL.key, panel_key(panel))
    return content["result"], content["notes"]


def test_looking_changes_no_number_of_the_run(plain, looked):
    first, second = plain.record(CELL.key), looked.record(CELL.key)
    assert first.result == second.result
    assert plain.curves(CELL.key).equals(looked.curves(CELL.key))
    names = (plain.folder(CELL.key) / WEIGHTS).read_bytes(), (looked.folder(CELL.key) / WEIGHTS).read_bytes()
    assert names[0] == names[1]


def test_findings_asked_for_later_are_those_of_a_run_with_the_panel(plain, looked, tmp_path):
    store = copied(plain, tmp_path)
    run_cell(CELL, store, [PANEL, Norm()])
    for panel in (PANEL, Norm()):
        assert found(store, panel) == found(looked, panel)
    table = "losses.parquet"
    paths = [s.folder(CELL.key) / "panels" / panel_key(PANEL) / table for s in (store, looked)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_panel_of_the_end_alone_trains_nothing_anew(plain, looked, tmp_path, monkeypatch):
    store = copied(plain, tmp_path)
    monkeypatch.setattr("optbench.runner.trained", lambda *a, **k: pytest.fail("trained again"))
    run_cell(CELL, store, [Norm()])
    assert found(store, Norm()) == found(looked, Norm())


def test_a_run_that_does_not_repeat_is_refused(plain, tmp_path):
    store = copied(plain, tmp_path)
    path = store.folder(CELL.key) / "record.json"
    content = json.loads(path.read_text())
    content["result"]["final_loss"] += 1e-9
    path.write_text(json.dumps(content))
    (path.parent / "seal.json").unlink()
    with pytest.raises(UserError, match="could not be repeated"):
        run_cell(CELL, store, [PANEL])
    assert store.panel(CELL.key, panel_key(PANEL)) is None


def test_findings_that_are_there_stay(looked, tmp_path, monkeypatch):
    store = copied(looked, tmp_path)
    monkeypatch.setattr("optbench.runner.trained", lambda *a, **k: pytest.fail("trained again"))
    before = (store.folder(CELL.key) / "panels" / panel_key(PANEL) / "panel.json").read_bytes()
    run_cell(CELL, store, [PANEL, Norm()])
    assert (store.folder(CELL.key) / "panels" / panel_key(PANEL) / "panel.json").read_bytes() == before


def test_a_panel_that_runs_out_of_memory_costs_the_panel_and_not_the_run(tmp_path, monkeypatch):
    def greedy(self):
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(NormLooking, "finish", greedy)
    record = run_cell(CELL, Store(tmp_path), [Norm()])
    assert record.outcome == "completed"
    assert found(Store(tmp_path), Norm()) == ({}, {"nothing": "a look ran out of memory"})


def test_a_diverged_run_has_empty_findings(tmp_path):
    hot = CELL.model_copy(
        update={"optimizer": type(CELL.optimizer).model_validate({"rule": {"kind": "gd", "lr": 1e20}})}
    )
    record = run_cell(hot, Store(tmp_path), [PANEL, Norm()])
    assert record.outcome == "diverged"
    for panel in (PANEL, Norm()):
        content = Store(tmp_path).panel(hot.key, panel_key(panel))
        assert content["result"] == {}
        assert "diverged" in content["notes"]["nothing"]


def test_panels_enter_no_key_and_have_keys_of_their_own():
    assert panel_key(PANEL) != panel_key(PANEL.model_copy(update={"looks": 5}))
    assert panel_key(Norm()) == panel_key(Norm())


def test_a_damaged_panel_is_named(looked, tmp_path):
    store = copied(looked, tmp_path)
    path = store.folder(CELL.key) / "panels" / panel_key(PANEL) / "panel.json"
    path.write_text("{")
    with pytest.raises(UserError, match=str(path)):
        store.panel(CELL.key, panel_key(PANEL))
