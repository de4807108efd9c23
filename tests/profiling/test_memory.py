"""The estimate of memory against what autograd keeps, what rules keep, and what a process takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from profiles import settings, shape

from optbench.optim.specs import OptimizerSpec
from optbench.profiling.batches import synthetic_batch
from optbench.profiling.memory import FLOAT32, OVERHEAD, SAVED, activation_bytes, bytes_per_entry, estimated
from optbench.profiling.rows import fits_in
from optbench.profiling.settings import optimizers_of
from optbench.profiling.shapes import shapes_of


def saved_bytes(of, chosen):
    """What autograd keeps of the layers, each storage once, the parameters' own left out."""
    model = of.build(seed=0, device="cpu", precision=chosen.precision)
    own = {p.untyped_storage().data_ptr() for p in model.module.parameters()}
    held = {}

    def pack(t):
        if t.untyped_storage().data_ptr() not in own:
            held[t.untyped_storage().data_ptr()] = t.untyped_storage()
        return t

    (part,) = synthetic_batch(chosen, of.dimensions.vocabulary).parts
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), model.autocast():
        model._hidden(part)
        return sum(storage.nbytes() for storage in held.values())


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("family", sorted(SAVED))
def test_activations_are_what_autograd_keeps(family, precision):
    chosen = settings(batch=4, length=64, precision=precision)
    small, large = (shape(family, width=128, layers=layers) for layers in (2, 6))
    kept = saved_bytes(large, chosen) - saved_bytes(small, chosen)
    expected = activation_bytes(large, chosen) - activation_bytes(small, chosen)
    # Left out of the formula: statistics of norms and attention, one number per token or head, and masks.
    assert kept == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("name", "hidden", "embedding"), [("adamw", 8, 8), ("gd", 0, 0), ("muon", 4, 8), ("functional_sam", 8, 8)]
)
def test_bytes_of_state(name, hidden, embedding):
    spec = optimizers_of(name)[name]
    assert bytes_per_entry(spec, "hidden") == hidden
    assert bytes_per_entry(spec, "embedding") == embedding


def test_a_momentum_or_a_kept_shift_is_state():
    heavy = OptimizerSpec.model_validate({"rule": {"kind": "gd", "momentum": 0.9}})
    assert bytes_per_entry(heavy, "hidden") == 4
    sam = {"kind": "sharpness_aware", "refresh_every": 3}
    refreshing = OptimizerSpec.model_validate({"estimator": sam, "rule": {"kind": "gd"}})
    of = shape()
    assert estimated(of, refreshing, settings()).state == FLOAT32 * of.dimensions.matrix_parameters


def test_the_parts_of_a_real_model_by_hand():
    """Llama-3.2-1B: 1.2357 billion entries of matrices; a step of 256 tokens, 128 of them supervised."""
    (llama,) = shapes_of("llama-3.2-1b")
    chosen = settings(batch=1, length=256)
    found = {n: estimated(llama, s, chosen) for n, s in optimizers_of("gd,muon,sam,functional_sam").items()}
    entries, embedding = 1_235_746_816, 128_256 * 2048
    for estimate in found.values():
        assert estimate.weights == estimate.gradients == 4 * entries
    assert found["adamw"].state == 8 * entries
    assert found["muon"].state == 4 * (entries - embedding) + 8 * embedding
    assert found["gd"].state == 0
    assert found["sam"].copy == 4 * entries and found["adamw"].copy == 0
    # 128 x 128256 float32 are 66 MB, below a quarter of the weights: kept.
    assert found["functional_sam"].cotangent == 4 * 128 * 128_256
    # At the end of the backward pass all gradients are there, and the tied embedding's twice.
    assert found["adamw"].peak == pytest.approx(OVERHEAD * (4 + 8 + 4) * entries + OVERHEAD * 4 * embedding)
    assert found["sam"].peak - found["adamw"].peak == pytest.approx(OVERHEAD * 4 * entries)
    assert found["functional_sam"].at == "second pass"


def test_a_long_batch_has_its_cotangent_rebuilt():
    (llama,) = shapes_of("llama-3.2-1b")
    chosen = settings(batch=32, length=1024, supervised=1.0)
    spec = optimizers_of("functional_sam")["functional_sam"]
    assert estimated(llama, spec, chosen).cotangent == 4 * chosen.positions * 2048


@pytest.mark.parametrize(
    ("peak", "usable", "says"), [(5, 10, "yes"), (9.5, 10, "tight"), (11, 10, "no"), (5, None, "unknown")]
)
def test_fits(peak, usable, says):
    assert fits_in(peak, usable) == says


MEASURE = """
import ctypes, gc, json, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from profiles import settings, shape
from optbench.profiling.batches import synthetic_batch
from optbench.profiling.split import look
from optbench.profiling.depths import Stack
from optbench.profiling.devices import resident_bytes
from optbench.profiling.memory import estimated
from optbench.profiling.settings import optimizers_of
spec = optimizers_of(sys.argv[2])[sys.argv[2]]

def stack(of):
    return Stack(of.build(seed=0, device="cpu", precision="float32"), of.dimensions.layers)

small = shape("qwen3", layers=1)
look(stack(small), 1, spec, synthetic_batch(settings(), 96), steps=1)
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
before = resident_bytes()
of, chosen = shape("qwen3", width=512, layers=4, vocabulary=8192), settings(batch=8, length=128)
found = look(stack(of), 4, spec, synthetic_batch(chosen, 8192), steps=1)
expected = estimated(of, spec, chosen)
print(json.dumps([found.peak_bytes - before, found.state_bytes, expected.peak, expected.state]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are measured anew on Linux alone")
@pytest.mark.parametrize("name", ["adamw", "functional_sam", "muon"])
def test_the_estimated_peak_is_near_the_measured_one(name):
    argv = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    peak, state, expected_peak, expected_state = json.loads(done.stdout)
    if peak != peak:
        pytest.skip("this machine does not let a process reset its peak")
    assert state == pytest.approx(expected_state, rel=0.01)
    assert 0.75 < expected_peak / peak < 1.3
