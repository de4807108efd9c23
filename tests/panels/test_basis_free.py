"""The sharpness panel without a Krylov basis: the numbers are those with one, and no key changes."""

import numpy as np
import pytest
import torch

from optbench.cell import CellSpec
from optbench.curvature.exact import Exact
from optbench.models.roles import parameters_of
from optbench.oracle import Oracle
from optbench.panels.base import Subject, panel_key
from optbench.panels.sharpness import Sharpness


def trained():
    cell = CellSpec.model_validate(
        {
            "model": {"kind": "nano", "family": "llama", "width": 8, "layers": 1, "heads": 2, "kv_heads": 1},
            "task": {"kind": "arithmetic", "train": 96, "validation": 8, "test": 8},
            "strategy": {"kind": "uniform"},
            "optimizer": {"rule": {"kind": "adamw", "lr": 3e-3}},
            "training": {"steps": 20},
            "seed": 0,
        }
    )
    task = cell.task.build()
    built = cell.model.build(seed=0, device="cpu", precision="float32", attention="sdpa")
    optimizer = cell.optimizer.build(parameters_of(built.module))
    prepared = task.prepare(task.train, built)
    for step in range(10):
        optimizer.step(Oracle(built, task.losses, prepared.batch(np.arange(32) + step % 3 * 32, micro_batch=32)))
    return Subject(cell, task, built, None, "cpu")


def find(of, **fields):
    return Sharpness(examples=16, **fields).start(of).finish()


@pytest.mark.parametrize(("mode", "close"), [("exact", 1e-4), ("finite_difference", 1e-2)])
def test_without_a_basis_the_numbers_are_those_of_the_dense_matrix(mode, close):
    of = trained()
    oracle = Sharpness(examples=16).start(of)._oracle(np.arange(16), 16)
    of.model.module.eval()
    size = sum(p.numel() for p in oracle.parameters)
    with Exact(oracle).hessian() as product:
        dense = torch.stack(product(list(torch.eye(size)))).double().numpy()
    values = np.linalg.eigvalsh((dense + dense.T) / 2)
    findings = find(of, mode=mode, basis="none")
    result = findings.result
    kept = find(of, mode=mode)
    assert set(result) == {*kept.result, "hessian_bottom"}
    assert result["hessian_top"] == pytest.approx(values[-1], rel=close)
    table = findings.tables["values"].set_index("name")
    assert np.abs(values - result["hessian_bottom"]).min() <= table["error"]["hessian_bottom"] + close * values[-1]
    assert abs(result["hessian_trace"] - np.trace(dense)) <= 4 * result["hessian_trace_se"]
    assert findings.notes["basis"] == "none"
    assert result["sharpness_cost"] <= (118 if mode == "exact" else 59)
    for name in ("ggn_top", "sam_sharpness", "critical_sharpness", "logit_share"):
        assert result[name] == pytest.approx(kept.result[name], rel=1e-2 if name == "ggn_top" else 1e-4), name


def test_the_key_is_that_of_the_panel_before_there_was_a_choice():
    assert Sharpness(basis="kept").identity() == {"kind": "sharpness"} == Sharpness().identity()
    assert panel_key(Sharpness(basis="none")) != panel_key(Sharpness())
