"""Cells with adapters: what is kept, panels then and later, verification, and what every optimizer costs."""

import families
import pytest
import torch
from cells import CELL, PANEL
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from optbench import cost
from optbench.cost import Work
from optbench.models import functional_head
from optbench.models.families import Nano
from optbench.models.language_model import batch_of_labels, cross_entropy
from optbench.models.roles import parameters_of
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.oracle import Oracle
from optbench.panels.base import panel_key
from optbench.panels.sharpness import Sharpness
from optbench.runner import run_cell
from optbench.store import WEIGHTS, Store
from optbench.verification.verify import verify_records

pytest.importorskip("peft")

LORA = {"r": 2, "alpha": 4, "dropout": 0.1}
SHARP = Sharpness.model_validate({"examples": 2, "hessian_products": 3, "ggn_products": 3, "probes": 6})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A cell with adapters, run without panels, and its store."""
    store = Store(tmp_path_factory.mktemp("results"))
    model = {**CELL.model.dump(), "lora": LORA}
    cell = type(CELL).model_validate({**CELL.dump(), "model": model, "optimizer": PRESETS["functional_sam"]})
    return cell, store, run_cell(cell, store)


def test_the_record_keeps_adapters_alone_and_says_what_was_trained(recorded):
    cell, store, record = recorded
    kept = load_file(store.folder(cell.key) / WEIGHTS)
    sizes = cell.model.dimensions()
    assert kept and all(".lora_" in name and tensor.dtype == torch.float32 for name, tensor in kept.items())
    assert sum(tensor.numel() for tensor in kept.values()) == sizes.trained_parameters
    assert record.optimizer["claims"]["adamw"]["parameters"] == sizes.trained_parameters
    assert record.result["state_bytes"] == 2 * 4 * sizes.trained_parameters
    assert {"adapter"} == {role for note in record.optimizer["observed"] for role in note["shift_share"]}
    assert CELL.key != cell.key and "lora" not in CELL.identity()["model"]


def test_panels_look_at_a_record_with_adapters_later_and_find_the_same(recorded, tmp_path):
    cell, store, _ = recorded
    along = Store(tmp_path)
    run_cell(cell, along, [SHARP, PANEL])
    run_cell(cell, store, [SHARP, PANEL])
    for panel in (SHARP, PANEL):
        now, later = (s.panel(cell.key, panel_key(panel)) for s in (along, store))
        assert now["result"] and now["result"] == pytest.approx(later["result"], rel=1e-6, nan_ok=True)


def test_the_record_verifies(recorded):
    _, store, _ = recorded
    assert verify_records(store.root).problems == 0


LENGTH, EXAMPLES = 12, 6
WORK = Work(EXAMPLES * LENGTH, EXAMPLES * LENGTH**2, EXAMPLES * (LENGTH - 1))
SIZES = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2}
AWARE = {"kind": "sharpness_aware", "functional": True}
OPTIMIZERS = {
    **{name: PRESETS[name] for name in ("adamw", "muon", "sam", "functional_sam", "preconditioned_functional_sam")},
    "rebuilt": {"estimator": {**AWARE, "cotangent": "rebuilt"}, "rule": {"kind": "adamw"}},
    "momentum": {"estimator": {**AWARE, "ascent": {"kind": "momentum"}}, "rule": {"kind": "adamw"}},
    "half": {"estimator": {**AWARE, "ascent_fraction": 0.5}, "rule": {"kind": "muon"}},
}


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_step_on_adapters_costs_what_is_counted_to_the_last_operation(monkeypatch, name, pieces):
    if pieces:
        monkeypatch.setitem(functional_head.ENTRIES, "cpu", 1)
        monkeypatch.setitem(functional_head.ROWS, "cpu", 7)
    built = families.model("llama", dtype=torch.float32, attention="eager", lora=LORA, **SIZES)
    spec = OptimizerSpec.model_validate(OPTIMIZERS[name])
    optimizer = spec.build(parameters_of(built.module))
    ids = torch.randint(3, 60, (EXAMPLES, LENGTH), generator=torch.Generator().manual_seed(0))
    batch = batch_of_labels({"input_ids": ids, "labels": ids})
    optimizer.step(Oracle(built, cross_entropy, batch))  # At the first step there is nothing to precondition by.
    with FlopCounterMode(display=False) as counter:
        optimizer.step(Oracle(built, cross_entropy, batch))
    rotary = sum(sum(n.values()) for part, n in counter.get_flop_counts().items() if part.endswith("rotary_emb"))
    sizes = Nano(family="llama", lora=LORA, **SIZES).dimensions()
    assert counter.get_total_flops() - rotary == cost.training_flops(sizes, spec, WORK, steps=1)
    assert cost.training_flops(sizes, spec, WORK, steps=1) < cost.training_flops(sizes.base, spec, WORK, steps=1)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_where_a_backward_costs_two_forwards_both_counts_agree(name):
    estimator = OptimizerSpec.model_validate(OPTIMIZERS[name]).estimator
    assert estimator.flops_of((100.0, 10.0), (200.0, 20.0)) == pytest.approx(estimator.flops(100.0, 10.0), rel=1e-12)
