"""A planted improvement is found and a placebo is not, by the engine that `run --until-resolved` runs.

From the committed records here; `pytest -m slow tests/planted -k repetitions -s` trains every cell anew, with other
seeds, in about a quarter of an hour.
"""

import pytest
from planted.repetitions import (
    FIRST,
    REPETITIONS,
    ROOT,
    SEEDS,
    planted_suite,
    recorded,
    repeated,
    scores,
    tallied,
    whole_blocks,
)

from optbench.runner import run_cell
from optbench.store import Store

PLANTED, PLACEBO = "planted minus AdamW", "placebo minus AdamW"
WRONG = ("better", "worse")
FRESH = FIRST + 10_000


def lines(found):
    """The rows of the table in docs/fair_comparison.md: verdicts, the share that is judged, and the mean of seeds."""
    for name, tally in tallied(found).items():
        words = ("better", "worse", "no difference beyond the margin", "unresolved")
        counts = " | ".join(str(tally.verdicts[word]) for word in words)
        share, low, high = tally.share("better") if name == PLANTED else tally.share(*WRONG)
        yield f"| {name} | {counts} | {share:.2f} [{low:.2f}, {high:.2f}] | {tally.seeds:.1f} |"


def check(found):
    tallies = tallied(found)
    assert tallies[PLANTED].share("better")[0] >= 0.8
    assert tallies[PLANTED].verdicts["worse"] == 0
    assert sum(tallies[PLACEBO].verdicts[word] for word in WRONG) <= 0.05 * len(found)


def test_from_the_records(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    suite, store = planted_suite(), recorded(tmp_path)
    firsts = whole_blocks(scores(suite, store))
    found = [repeated(suite, store, tmp_path, first) for first in firsts]
    assert all(one.looks > 1 for one in found)
    print("", *lines(found), sep="\n")
    check(found)
    guide = (ROOT / "docs" / "fair_comparison.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines(found) if line not in guide] == []


@pytest.mark.slow
def test_repetitions_trained_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    suite, store = planted_suite(), Store(tmp_path / "records")
    found = [
        repeated(suite, store, tmp_path, FRESH + SEEDS * place, train=lambda cell: run_cell(cell.spec, store))
        for place in range(REPETITIONS)
    ]
    print("", *lines(found), sep="\n")
    check(found)
