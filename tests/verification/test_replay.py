"""A cell that is trained again is bit-equal; what was edited, and what other versions made, is told apart."""

from __future__ import annotations

import copy
import json

import pytest

from optbench.commands.verify import summary_of, text_of, verify
from optbench.errors import UserError
from optbench.verification.evidence import evidence_in
from optbench.verification.problem import Findings
from optbench.verification.replay import compared


def quiet(text):
    pass


def evidence(desk, cell=None):
    key = desk.key if cell is None else cell.key
    return evidence_in(desk.store.folder(key), str, Findings(), root=desk.root)


def test_a_cell_repeats_bit_for_bit_and_an_edited_one_does_not(desk):
    before = sorted(desk.root.rglob("*"))
    outcome = verify(desk.path, desk.root, replay=desk.key[:8], say=quiet)
    assert [(own.key, own.word) for own in outcome.replays] == [(desk.key, "bit-equal")]
    assert outcome.is_well
    assert summary_of(outcome).endswith("1 of 1 replay agree; no problems")
    assert sorted(desk.root.rglob("*")) == before
    desk.unseal()
    desk.edit(lambda content: content["result"].update(test_nll=0.5))
    outcome = verify(desk.path, desk.root, replay=desk.key, say=quiet)
    assert outcome.verdict.problems == 0  # Nothing but a replay repeats this number.
    assert outcome.replays[0].word == "differs"
    assert outcome.replays[0].differences == ["result.test_nll"]
    assert "it was edited or damaged" in text_of(outcome)
    assert not outcome.is_well


def moved(own, *, score=0.0, loss=0.0):
    """The same run with other last bits, and score and final loss further off."""
    other = copy.deepcopy(own)
    other.content["result"]["accuracy"] += score
    other.content["result"]["final_loss"] += loss
    other.record.tables["curves"] = own.record.tables["curves"].assign(loss=own.record.tables["curves"]["loss"] + 1e-9)
    return other


def seeds(own, spread):
    found = []
    for place in (-1, 0, 1):
        record = json.loads(json.dumps(own.content))
        for name in ("accuracy", "final_loss"):
            record["result"][name] += place * spread
        found.append(record)
    return found


@pytest.mark.parametrize(
    ("score", "loss", "word"),
    # t(0.975, 2) sd sqrt(1 + 1/3) = 4.303 * 0.01 * 1.155 = 0.0497
    [
        (0.0, 0.0, "within seed noise"),
        (0.049, 0.049, "within seed noise"),
        (0.051, 0.0, "differs"),
        (0.0, -0.051, "differs"),
    ],
)
def test_noise_is_what_other_seeds_predict(desk, score, loss, word):
    own = evidence(desk)
    found = compared("arm", own, moved(own, score=score, loss=loss), seeds(own, 0.01), "accuracy")
    assert found.word == word
    assert "interval of 3 other seeds" in found.why
    # It makes no difference which of the two runs is off.
    assert compared("arm", moved(own, score=score, loss=loss), own, seeds(own, 0.01), "accuracy").word == word


def test_too_few_seeds_cannot_say(desk):
    own = evidence(desk)
    found = compared("arm", own, moved(own), seeds(own, 0.01)[:1], "accuracy")
    assert found.word == "cannot be judged"
    assert not found.is_well
    assert "1 other seeds, and 2 are needed" in found.line()


def test_other_versions_are_named(desk):
    own, other = evidence(desk), copy.deepcopy(evidence(desk))
    other.content["measured"]["provenance"]["versions"]["torch"] = "9.9"
    other.content["measured"]["provenance"]["threads"] = 7
    line = compared("arm", own, other, [], "accuracy").line()
    assert "bit-equal" in line
    assert "9.9 now" in line
    assert "threads 1 then, 7 now" in line


@pytest.mark.parametrize(
    ("replay", "message"),
    [
        ("0", "ask for 1 to 8"),
        ("99", "ask for 1 to 8"),
        ("adam", "neither a key, nor an arm"),
        ("ffff", "neither a key"),
    ],
)
def test_what_cannot_be_replayed(desk, replay, message):
    with pytest.raises(UserError, match=message):
        verify(desk.path, desk.root, replay=replay, say=quiet)
