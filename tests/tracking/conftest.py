"""The small suite, run once as a user would run it with --wandb offline, and once without tracking."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tracking_cases import PLANTED, SUITE, Case, command, environment

from optbench.runner import run_cell
from optbench.store import Store
from optbench.suite import load_suite


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path_factory):
    """No test has an account, or the settings of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp() / "nobody"))


@pytest.fixture(scope="session")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("planted-folder") / "small.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="session")
def tracked(suite, tmp_path_factory):
    """The suite run with --wandb offline, in an environment full of what must not be written."""
    results = suite.parent / "runs"
    home = tmp_path_factory.mktemp("planted-home")
    words = command("run", suite, "--results", results, "--workers", 1, "--wandb", "offline")
    given = {"env": environment(home, **PLANTED), "cwd": suite.parent, "check": False}
    # In a new home matplotlib first makes a list of fonts, and says so where that takes it more than five seconds.
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], capture_output=True, **given)
    done = subprocess.run(words, capture_output=True, text=True, **given)
    return Case(suite, results, home, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def untracked(suite, tmp_path_factory):
    """The records of the suite, made in this process and without W&B."""
    store = Store(tmp_path_factory.mktemp("untracked"))
    for cell in load_suite(suite).cells():
        run_cell(cell.spec, store)
    assert "wandb" not in sys.modules or not sys.modules["wandb"].run
    return store
