import json
from pathlib import Path

import pytest

from optbench.tasks.extraction import flexible, strict
from optbench.tasks.gsm8k_data import gsm8k_example

STORED = json.loads(Path(__file__).with_name("lm_eval_gsm8k.json").read_text())
"""Generations of SmolLM2 and hard ones by hand, with the verdicts of lm-eval's own filters and metric."""


def test_what_is_stored_is_varied():
    generations = STORED["generations"]
    assert STORED["made_with"]["lm_eval"] == "0.4.13"
    assert len(generations) >= 300
    assert sum(g["kind"].startswith("smollm2") for g in generations) >= 90
    verdicts = [(g["strict"], g["flexible"]) for g in generations]
    assert all(verdicts.count(pair) >= 3 for pair in ((True, True), (True, False), (False, True), (False, False)))


@pytest.mark.parametrize(("name", "own"), [("strict", strict), ("flexible", flexible)])
def test_every_verdict_is_lm_evals(name, own):
    wrong = [g for g in STORED["generations"] if own(g["text"], g["target"]) != g[name]]
    assert wrong == []


@pytest.mark.parametrize(("name", "own"), [("strict", strict), ("flexible", flexible)])
def test_the_answer_that_a_record_keeps_gives_the_same_verdicts_as_the_published_one(name, own):
    # lm-eval compares with the whole solution, a record keeps what follows its mark.
    rows = [g for g in STORED["generations"] if "#### " in g["target"] and g["target"] == g["target"].strip()]
    assert len(rows) >= 250
    for g in rows:
        example = gsm8k_example({"question": "q", "answer": g["target"]}, "here", "x", calculator=False)
        assert own(g["text"], example.answer) == g[name], g


@pytest.mark.parametrize(
    ("text", "verdicts"),
    [
        ("so\n#### 72", (True, True)),
        ("so 72", (False, True)),
        ("#### 72\n\nQuestion: 5?", (True, False)),
        ("#### 72.0", (False, False)),
        ("", (False, False)),
    ],
)
def test_strict_wants_the_mark_and_flexible_the_end(text, verdicts):
    assert (strict(text, "72"), flexible(text, "72")) == verdicts
