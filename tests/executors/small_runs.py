"""A suite whose cells take no time, and of which a worker needs little; how to run it and what to look at."""

import json
import sys
from pathlib import Path

import pandas as pd

SUITE = """\
name: regression
models: [linear-attention]
tasks: [{preset: icl-regression, train: 64, validation: 16, test: 64}]
strategies: [uniform]
optimizers:
  - {preset: gd, rule: {lr: 0.1}}
budget: {steps: 4}
training: {batch_size: 32}
ranked_by: test_loss
"""
UPSAMPLE = (
    "uniform, {preset: upsample, probe: {optimizer: {rule: {kind: gd, lr: 0.1}}, epochs: 2, batch_size: 32, "
    "record: looks}}"
)


def command(suite, results, *options):
    return [sys.executable, "-m", "optbench", "run", str(suite), "--results", str(results), *options]


def contents(results):
    """Everything in the records, probes and findings but what is measured."""
    found = {}
    for path in sorted(Path(results).rglob("*")):
        name = str(path.relative_to(results))
        if path.name in ("record.json", "probe.json", "panel.json"):
            content = json.loads(path.read_text())
            assert content.pop("measured")
            found[name] = content
        elif path.suffix == ".parquet":
            found[name] = pd.read_parquet(path).to_csv()
        elif path.is_file() and path.name != "seal.json":  # A seal is over measured times as well.
            found[name] = path.read_bytes()
    return found
