"""One small run with panels, trained once: two optimizers, two strategies, two seeds, a probe."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from optbench.bundling import write_bundle
from optbench.executors.local import execute
from optbench.store import Store
from optbench.suite import load_suite

SUITE = """\
name: tiny
question: Which of two?
models: [{kind: nano, family: llama, width: 16, layers: 1, heads: 2, kv_heads: 1}]
tasks: [{name: sums, kind: arithmetic, kinds: [compare, add1], train: 64, validation: 8, test: 24}]
strategies:
  - uniform
  - {preset: upsample, probe: {batch_size: 32, epochs: 2}, select: {min_source: 2}}
optimizers: [adamw, {name: sam, preset: sam, rule: {lr: 0.004}}]
budget: {steps: 14}
training: {batch_size: 16}
seeds: 2
panels:
  - {kind: sharpness, examples: 2, hessian_products: 3, ggn_products: 3, probes: 6}
  - {kind: simplicity, examples: 20, looks: 3, probe: {model: {kind: nano, family: llama, width: 16, layers: 1,
     heads: 2, kv_heads: 1}, batch_size: 32, epochs: 2}, select: {min_source: 2}}
contrasts:
  - {name: SAM minus AdamW, of: {optimizer: sam}, minus: {optimizer: adamw}}
  - {name: upsample minus uniform, of: {strategy: upsample}, minus: {strategy: uniform}, metric: final_loss}
"""


class Desk:
    """A suite, its records in a folder of their own, and one of them to work on."""

    def __init__(self, suite: Path, root: Path) -> None:
        self.path, self.suite, self.root = suite, load_suite(suite), root
        self.store = Store(root)
        self.key = next(cell.key for cell in self.suite.cells() if cell.arm.optimizer == "sam")

    @property
    def folder(self) -> Path:
        return self.store.folder(self.key)

    def edit(self, change, name="record.json"):
        """Changes the JSON of a file of the record."""
        path = self.folder / name
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    def unseal(self):
        """As an earlier version would have written it."""
        for seal in self.root.rglob("seal.json"):
            seal.unlink()

    def panel(self, kind):
        """The folder of what a panel found at the record, relative to it."""
        found = [
            path
            for path in self.folder.glob("panels/*/panel.json")
            if json.loads(path.read_text())["panel"]["kind"] == kind
        ]
        return found[0].parent.relative_to(self.folder).as_posix()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("tiny")
    path = home / "tiny.yaml"
    path.write_text(SUITE)
    summary = execute(load_suite(path).cells(), home / "runs", workers=1, threads=1, device="cpu")
    assert summary.complete, summary.failed
    return home


@pytest.fixture(scope="session")
def published(trained):
    """The records of the run as a bundle."""
    suite = load_suite(trained / "tiny.yaml")
    keys = [cell.key for cell in suite.cells()]
    write_bundle(keys, [trained / "tiny.yaml"], Store(trained / "runs"), trained / "tiny.zip")
    return trained / "tiny.zip"


@pytest.fixture
def desk(trained, tmp_path):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    return Desk(trained / "tiny.yaml", tmp_path / "runs")
