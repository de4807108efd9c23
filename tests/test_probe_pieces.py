"""Probes of models with large vocabularies, whose output layer is taken in pieces of positions."""

import numpy as np
import pytest
from cells import CELL

from optbench.models import functional_head
from optbench.strategies.probe import ProbeRun
from optbench.strategies.probe_spec import ProbeSpec

OPTIMIZERS = {
    "adamw": {"rule": {"kind": "adamw", "lr": 0.01}},
    "sam": {"estimator": {"kind": "sharpness_aware", "rho": 0.05}, "rule": {"kind": "adamw", "lr": 0.01}},
}


@pytest.mark.parametrize("record", ["online", "looks"])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("micro_batch", [5, 64])
def test_a_probe_sees_the_same_losses_where_the_output_layer_is_taken_in_pieces(
    name, record, micro_batch, tmp_path, monkeypatch
):
    spec = ProbeSpec.model_validate(
        {
            "optimizer": OPTIMIZERS[name],
            "epochs": 2,
            "batch_size": 16,
            "micro_batch": micro_batch,
            "record": record,
        }
    )
    probe = ProbeRun(spec, CELL.model, CELL.task.identity(), "float32", "sdpa")
    whole = probe.run(CELL.task.build(), tmp_path / "whole", device="cpu").losses
    monkeypatch.setitem(functional_head.ENTRIES, "cpu", 1)
    monkeypatch.setitem(functional_head.ROWS, "cpu", 3)
    pieces = probe.run(CELL.task.build(), tmp_path / "pieces", device="cpu").losses
    np.testing.assert_allclose(pieces, whole, rtol=1e-4)
    assert whole.std() > 0.01
