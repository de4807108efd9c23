"""Suites to run."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_runs import SUITE


@pytest.fixture
def suite(tmp_path):
    """Writes the suite, with further optimizers or strategies, and returns its path."""

    def write(optimizers=(), strategies="uniform", more=""):
        path = tmp_path / "suite.yaml"
        entries = "".join(f"  - {entry}\n" for entry in optimizers)
        text = SUITE.replace("budget:", entries + "budget:").replace("[uniform]", f"[{strategies}]")
        path.write_text(text + more, encoding="utf-8")
        return path

    return write


@pytest.fixture
def own(tmp_path):
    """Writes optimizers of a user's own and returns their entries by the names of their classes."""

    def write(code, *names):
        (tmp_path / "own.py").write_text(code, encoding="utf-8")
        return [f"{{name: {n}, rule: {{kind: torch, target: '{tmp_path}/own.py:{n}', lr: 0.1}}}}" for n in names]

    return write
