"""Where there is no difference at all, none is found."""

from planted.repetitions import ROOT, repeated

from optbench.runner import run_cell
from optbench.store import Store
from optbench.suite import load_suite

SUITE = """
models: [{kind: nano, name: tiny, family: llama, width: 16, layers: 1, heads: 2, kv_heads: 1}]
tasks: [{preset: arithmetic, kinds: [add1], train: 60, validation: 10, test: 10}]
strategies: [uniform]
optimizers:
  - {preset: adamw, rule: {lr: 0.01}}
  - name: twin
    rule: {kind: torch, target: "tests/planted/plugins/planted.py:Planted", lr: 0.01, options: {steps: 1000000}}
budget: {steps: 4}
training: {batch_size: 8, schedule: {kind: constant, warmup: 0.0}}
contrasts:
  - {name: losses, of: {optimizer: twin}, minus: {optimizer: adamw}, metric: test_nll}
  - {name: answers, of: {optimizer: twin}, minus: {optimizer: adamw}, metric: accuracy}
"""


def test_a_twin_that_is_equal_to_the_bit_is_neither_better_nor_worse(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = tmp_path / "twins.yaml"
    path.write_text(SUITE)
    store = Store(tmp_path / "records")
    found = repeated(load_suite(path), store, tmp_path, 0, seeds=6, train=lambda cell: run_cell(cell.spec, store))
    rules = {record.key: record.cell["optimizer"]["rule"]["kind"] for record in store.records()}
    losses = {record.cell["seed"]: {} for record in store.records()}
    for record in store.records():
        losses[record.cell["seed"]][rules[record.key]] = record.result["test_nll"]
    assert len(losses) == 6 and all(own["torch"] == own["adamw"] for own in losses.values())
    assert len({own["adamw"] for own in losses.values()}) == 6
    for own in found.contrasts:
        assert own.estimate == 0.0 and own.n == 6
        assert own.verdict in ("unresolved", "no difference beyond the margin")
