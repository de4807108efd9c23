"""The same suite in two places, with a repetition that is whole, one that is damaged, and one that is another."""

import csv
import io
import json
import math
import shutil
from dataclasses import dataclass
from typing import Any

import pytest

from optbench.archive import open_store, write_archive
from optbench.boards.repetition import Repetition, repeated
from optbench.boards.repetition_text import repetition_text, sentences_of
from optbench.errors import UserError
from optbench.store import Store

INF = float("inf")
VALUES = {"adamw": [2.0, 2.1, 2.2], "muon": [1.9, 1.95, 2.12]}


@dataclass
class Twice:
    stand: Any
    suite: Any
    other: Store

    def found(self, **more: Any) -> Repetition:
        return repeated(self.suite, self.stand.store, self.other, **more)

    def cell(self, optimizer: str, seed: int) -> Any:
        return next(c for c in self.suite.cells() if (c.arm.optimizer, c.seed) == (optimizer, seed))

    def content(self, optimizer: str, seed: int) -> dict[str, Any]:
        path = self.other.folder(self.cell(optimizer, seed).key) / "record.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def change(self, optimizer: str, seed: int, **fields: Any) -> None:
        self.stand.change(self.cell(optimizer, seed), self.other, fields)

    def measure(self, optimizer: str, seed: int, value: float) -> None:
        result = self.content(optimizer, seed)["result"]
        self.change(optimizer, seed, result={**result, "test_loss": value})

    def remove(self, optimizer: str, seed: int) -> None:
        shutil.rmtree(self.other.folder(self.cell(optimizer, seed).key))


@pytest.fixture
def twice(stand, tmp_path):
    suite = stand.suite(VALUES)
    shutil.copytree(stand.store.root, tmp_path / "again")
    return Twice(stand, suite, Store(tmp_path / "again"))


def arm(found, optimizer):
    return next(each for each in found.arms if f"/{optimizer}/" in each.arm)


def said(found):
    return "\n".join(sentences_of(found))


def test_a_whole_repetition(twice):
    found = twice.found()
    assert [(each.equal, each.differing, each.is_whole, each.difference) for each in found.arms] == [
        (3, 0, True, 0.0)
    ] * 2
    text = said(found)
    assert "6 of 6 cells are in both: 6 equal to the last bit, 0 differing." in text
    assert "A repetition in full" in text
    assert "Both were made with the same versions, settings and devices." in text
    assert not found.cells_unequal
    assert "arm " not in repetition_text(found, "table", width=100)


def test_the_paired_difference_by_hand(twice):
    for seed, gap in enumerate((0.10, 0.15, 0.08)):
        twice.measure("adamw", seed, VALUES["adamw"][seed] - gap)
    found = twice.found()
    adamw = arm(found, "adamw")
    # There minus here: -0.10, -0.15, -0.08; mean -0.11, half-width 4.302653 sqrt(0.0013 / 3).
    assert adamw.difference == pytest.approx(-0.11)
    assert adamw.half_width == pytest.approx(4.302653 * math.sqrt(0.0013 / 3), rel=1e-6)
    assert (adamw.equal, adamw.differing, adamw.n) == (0, 3, 3)
    # Holm over the two arms, of which the other cannot be tested.
    assert adamw.p_holm == pytest.approx(2 * adamw.p)
    assert not adamw.resolved
    assert (arm(found, "muon").equal, arm(found, "muon").differing) == (3, 0)
    assert "No difference in test_loss is resolved. That does not show that the two are alike." in said(found)
    assert found.cells_unequal[0][1] == 1
    assert found.cells_unequal[0][3] == pytest.approx(-0.15)


def test_differences_that_rounding_leaves_are_not_resolved(twice):
    for seed, steps in enumerate((2, 4, 2)):
        value = VALUES["adamw"][seed]
        twice.measure("adamw", seed, value + steps * math.ulp(value))
    found = arm(twice.found(), "adamw")
    assert found.difference > 0
    assert (found.half_width, found.resolved) == (INF, False)
    assert math.isnan(found.p)


def test_a_resolved_difference_is_named(twice):
    for seed, gap in enumerate((0.10, 0.101, 0.102)):
        twice.measure("adamw", seed, VALUES["adamw"][seed] + gap)
    found = twice.found()
    assert arm(found, "adamw").resolved
    assert "Resolved in test_loss, by paired differences over seeds and Holm over 2 arms: m/sums/uniform/adamw" in said(
        found
    )


def test_a_changed_record_is_found_and_named(twice):
    twice.measure("muon", 1, 1.9500000000000004)
    found = twice.found()
    muon = arm(found, "muon")
    assert (muon.equal, muon.differing) == (2, 1)
    assert found.unexplained == 1
    assert "5 equal to the last bit, 1 differing" in said(found)
    assert f"muon/300 steps, seed 1 ({twice.cell('muon', 1).key}), +4.44e-16" in said(found)
    assert "1 cell that differs was made with the same of everything that is recorded" in said(found)
    assert "a record was changed" in said(found)


def test_another_result_than_the_metric_counts_too(twice):
    twice.change("muon", 1, result={**twice.content("muon", 1)["result"], "tokens": 5.0})
    found = twice.found()
    assert (arm(found, "muon").equal, arm(found, "muon").differing) == (2, 1)
    assert arm(found, "muon").difference == 0.0


def test_other_versions_and_devices_are_said(twice):
    measured = twice.content("muon", 1)["measured"]
    made = {**measured["provenance"], "versions": {"torch": "9.9"}, "threads": 4}
    twice.change("muon", 1, measured={**measured, "provenance": made})
    twice.measure("muon", 1, 7.0)
    found = twice.found()
    assert found.unexplained == 0
    assert [(one.name, dict(one.this), dict(one.other)) for one in found.provenance] == [
        ("threads", {}, {"4": 1}),
        ("versions.torch", {}, {"9.9": 1}),
    ]
    assert "Made with different threads: not recorded here, 4 (1 cell) there; versions.torch: not recorded" in said(
        found
    )


def test_two_devices_may_be_compared_and_are_never_pooled(twice):
    for cell in twice.suite.cells():
        measured = twice.content(cell.arm.optimizer, cell.seed)["measured"]
        made = {**measured["provenance"], "device_type": "cuda", "device": "a GPU"}
        twice.change(cell.arm.optimizer, cell.seed, measured={**measured, "provenance": made})
    text = said(twice.found())
    assert "device: a processor (6 cells) here, a GPU (6 cells) there; device_type: cpu (6 cells) here, cuda" in text
    # One side that mixes them has no means of its own.
    measured = twice.content("muon", 1)["measured"]
    made = {**measured["provenance"], "device_type": "cpu"}
    twice.change("muon", 1, measured={**measured, "provenance": made})
    with pytest.raises(UserError, match="different types of device"):
        twice.found()


def test_cells_on_one_side_are_in_no_difference(twice):
    twice.remove("muon", 2)
    shutil.rmtree(twice.stand.store.folder(twice.cell("adamw", 0).key))
    twice.measure("muon", 0, 2.0)
    found = twice.found()
    assert (arm(found, "muon").only_this, arm(found, "muon").only_other, arm(found, "muon").n) == (1, 0, 2)
    assert (arm(found, "adamw").only_this, arm(found, "adamw").only_other) == (0, 1)
    assert arm(found, "muon").difference == pytest.approx((0.1 + 0.0) / 2)
    assert "4 of 6 cells are in both: 3 equal to the last bit, 1 differing. 1 are only here and 1 only there" in said(
        found
    )


def test_nothing_in_common(twice):
    for optimizer in VALUES:
        for seed in (0, 1, 2):
            if (optimizer, seed) != ("muon", 2):
                twice.remove(optimizer, seed)
    shutil.rmtree(twice.stand.store.folder(twice.cell("muon", 2).key))
    found = twice.found()
    assert "They share no cell: 5 are only here and 1 only there." in said(found)
    assert "made with" not in said(found)


def test_another_outcome(twice):
    twice.change("muon", 1, outcome="diverged")
    found = twice.found()
    assert (arm(found, "muon").outcomes, arm(found, "muon").differing) == (1, 1)
    assert "1 differing, 1 of them in their outcome" in said(found)
    assert arm(found, "muon").difference == INF
    assert "one of them diverged" in repetition_text(found, "table", width=200)


def test_another_cell_under_the_same_key_is_left_out(twice):
    twice.stand.change(twice.cell("muon", 1), twice.stand.store, {"cell": {"seed": 1}})
    twice.change("muon", 1, cell={"seed": 99}, result={"test_loss": 50.0})
    found = twice.found()
    assert found.strangers == [twice.cell("muon", 1).key]
    assert (arm(found, "muon").equal, arm(found, "muon").n) == (2, 2)
    assert arm(found, "muon").difference == 0.0
    assert "1 keys hold different cells in the two and were left out" in said(found)


def test_a_field_that_the_older_record_does_not_state_contradicts_nothing(twice):
    """Cells state all defaults: a version with more fields states more under the same key."""
    rule = {"kind": "adamw", "lr": 0.1}
    twice.stand.change(
        twice.cell("muon", 1), twice.stand.store, {"cell": {"seed": 1, "rule": {**rule, "form": "auto"}}}
    )
    twice.change("muon", 1, cell={"seed": 1, "rule": rule})
    assert twice.found().strangers == []
    twice.change("muon", 1, cell={"seed": 1, "rule": {**rule, "lr": 0.2}})
    assert twice.found().strangers == [twice.cell("muon", 1).key]


def test_a_record_under_a_key_that_is_not_its_own(twice):
    twice.change("muon", 1, key="0123456789abcdef")
    with pytest.raises(UserError, match="record of another cell, 0123456789abcdef"):
        twice.found()


def test_an_archive_is_a_repetition_of_its_store(twice, tmp_path):
    write_archive([cell.key for cell in twice.suite.cells()], twice.stand.store, tmp_path / "a.jsonl")
    found = repeated(twice.suite, twice.stand.store, open_store(tmp_path / "a.jsonl"))
    assert all(each.is_whole for each in found.arms)


def test_an_empty_side_and_an_unknown_metric(twice, tmp_path):
    with pytest.raises(UserError, match="no records of the suite toy in .*nothing"):
        repeated(twice.suite, twice.stand.store, Store(tmp_path / "nothing"))
    with pytest.raises(UserError, match="--metric test_los: no record has it; did you mean test_loss"):
        twice.found(metric="test_los")
    assert twice.found(metric="tokens").metric == "tokens"


def test_formats(twice):
    twice.measure("muon", 1, 2.0)
    found = twice.found()
    content = json.loads(repetition_text(found, "json", width=100), parse_constant=lambda word: pytest.fail(word))
    assert content["differing"][0]["difference"] == pytest.approx(0.05)
    assert [each["equal"] for each in content["arms"]] == [3, 2]
    first, second = csv.DictReader(io.StringIO(repetition_text(found, "csv", width=100)))
    assert (second["differing"], float(second["difference"])) == ("1", pytest.approx(0.05 / 3))
    assert first["low"] == ""
    assert "| m/sums/uniform/muon/300 steps | 2 | 1 | 0 | 0 | " in repetition_text(found, "markdown", width=100)
    table = repetition_text(found, "table", width=100)
    assert max(map(len, table.splitlines())) <= 100
    assert "muon" in table.split("\n\n")[1] and "adamw" not in table.split("\n\n")[1]
