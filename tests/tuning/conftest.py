"""Suites to tune."""

import math
import sys
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_tuning import SUITE

import optbench.tuning.engine as engine
from optbench.executors.events import Summary
from optbench.store import Record, Store


@pytest.fixture
def suite_file(tmp_path):
    """Writes the suite with some of its text changed, and returns its path."""

    def write(*changes, more="", name="suite.yaml"):
        text = SUITE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text + more, encoding="utf-8")
        return path

    return write


@pytest.fixture
def cells_run(monkeypatch):
    """Has cells end at once with a score that is known, and returns those that were run.

    The score is lowest at lr = 0.02 and rises with |log(lr / 0.02)|; it depends a little on arm and seed. GD diverges
    above a rate of 0.5.
    """
    run = []

    def execute(cells, results, **more):
        store, before = Store(results), len(run)
        for cell in cells:
            if store.has(cell.key):
                continue
            rate = cell.spec.optimizer.rule.lr
            diverges = cell.spec.optimizer.rule.kind == "gd" and rate > 0.5
            score = abs(math.log(rate / 0.02)) + 0.01 * len(cell.arm.name) + 0.001 * cell.seed
            record = Record(
                key=cell.key,
                cell=cell.spec.dump(),
                outcome="diverged" if diverges else "completed",
                result={} if diverges else {"test_loss": score},
                plan={},
                optimizer={},
                measured={"total_seconds": 1.5},
            )
            store.write(record, lambda folder: None)
            run.append(cell)
        return Summary(total=len(cells), already=len(cells) - (len(run) - before))

    monkeypatch.setattr(engine, "execute", execute)
    return run


@pytest.fixture
def stopped_clock(monkeypatch):
    """A clock that moves only where it is told to."""
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(engine, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock
