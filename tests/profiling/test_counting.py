"""Operations, batches, the split of a step and the table of devices."""

import time

import pytest
import torch
from profiles import settings, shape

from optbench.cost import training_flops
from optbench.models.language_model import batch_of_labels
from optbench.optim import newton_schulz
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.oracle import Oracle
from optbench.profiling import split
from optbench.profiling.batches import synthetic_batch
from optbench.profiling.counting import algorithmic_flops, counted_over_formula, work_of
from optbench.profiling.depths import Stack
from optbench.profiling.devices import peak_flops, versions
from optbench.profiling.settings import optimizers_of
from optbench.profiling.split import PARTS, Split, look
from optbench.profiling.stepping import timed_block
from optbench.rng import stream


def small_stack(family="llama", *, layers=2, precision="float32"):
    return Stack(shape(family, layers=layers).build(seed=0, device="cpu", precision=precision), layers)


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("family", ["llama", "phi"])
def test_torch_counts_what_the_formula_says(family, name):
    spec = optimizers_of(name)[name]
    chosen = settings(length=32)
    # The angles of rotary embeddings are a product as well, of nearly nothing.
    counted = counted_over_formula(shape(family), small_stack(family), 2, spec, chosen)
    assert counted == pytest.approx(1, abs=2e-3)


def test_a_refreshed_shift_is_counted_over_its_period():
    text = 'x={"estimator": {"kind": "sharpness_aware", "refresh_every": 3}, "rule": {"kind": "gd"}}'
    spec = optimizers_of(text)["x"]
    assert counted_over_formula(shape(), small_stack(), 2, spec, settings(length=32)) == pytest.approx(1, abs=2e-3)
    # And timed over whole periods, wherever in one the steps begin.
    block = timed_block(small_stack(), 2, spec, synthetic_batch(settings(length=32), 96), 4)
    assert len(block.walls) == 6


def test_a_fraction_of_the_batch_is_counted_as_whole_examples():
    text = 'x={"estimator": {"kind": "sharpness_aware", "ascent_fraction": 0.25}, "rule": {"kind": "gd"}}'
    spec = optimizers_of(text)["x"]
    assert counted_over_formula(shape(), small_stack(), 2, spec, settings(length=32)) == pytest.approx(1, abs=2e-3)


def test_the_batch_is_that_of_labels():
    chosen = settings(batch=3, length=10, supervised=0.4)
    (ours,) = synthetic_batch(chosen, 96).parts
    ids = torch.from_numpy(stream(0, "profile").integers(0, 96, (3, 10)))
    labels = ids.clone()
    labels[:, :6] = -100
    theirs = batch_of_labels({"input_ids": ids, "labels": labels})
    assert torch.equal(ours.inputs["input_ids"], ids)
    assert torch.equal(ours.positions, theirs.parts[0].positions)
    assert torch.equal(ours.targets, theirs.parts[0].targets)
    assert theirs.num_supervised == chosen.positions == synthetic_batch(chosen, 96).num_supervised


def test_the_shift_that_products_see():
    batch, spec = synthetic_batch(settings(), 96), optimizers_of("sam")["sam"]
    assert look(small_stack(), 2, spec, batch).shift_cosine == pytest.approx(1, abs=1e-6)
    # The shift of a bfloat16 product is rounded: a small model's is hit badly, but not at random.
    assert 0.2 < look(small_stack(precision="bf16"), 2, spec, batch).shift_cosine < 0.9999
    plain = look(small_stack(), 2, optimizers_of("gd")["gd"], batch).shift_cosine
    assert plain != plain


def test_bytes_of_a_step_at_a_depth():
    stack, spec, batch = small_stack(layers=4), optimizers_of("adamw")["adamw"], synthetic_batch(settings(), 96)
    entries = [sum(p.numel() for p in small_stack(layers=n).model.module.parameters()) for n in (1, 4)]
    assert [look(stack, depth, spec, batch, steps=1).state_bytes for depth in (1, 4)] == [8.0 * n for n in entries]


class Ticking:
    """A clock that moves only where it is told to."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "process_time", lambda: self.now)

    def slow(self, monkeypatch, owner, name, seconds):
        original = getattr(owner, name)

        def slower(*args, **kwargs):
            self.now += seconds
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, slower)


def ticking_split(monkeypatch, name):
    """Passes take 10 s, Newton-Schulz 2 s, shifting 3 s, the update 4 s, the norm 1 s."""
    clock, stack = Ticking(monkeypatch), small_stack()
    from optbench.optim.ascents import Isotropic, Preconditioned
    from optbench.optim.rules.muon import _MuonRule
    from optbench.optim.torch_rule import TorchRule

    clock.slow(monkeypatch, Oracle, "gradient", 10.0)
    clock.slow(monkeypatch, newton_schulz, split.NEWTON_SCHULZ, 2.0)
    for ascent in (Isotropic, Preconditioned):
        clock.slow(monkeypatch, ascent, "shift", 3.0)
    for rule in (_MuonRule, TorchRule):
        clock.slow(monkeypatch, rule, "apply", 4.0)
    clock.slow(monkeypatch, torch.nn.utils, "get_total_norm", 1.0)
    spec = optimizers_of(name)[name]
    return look(stack, 2, spec, synthetic_batch(settings(), 96)).split


def test_the_split_of_adamw(monkeypatch):
    found = ticking_split(monkeypatch, "adamw")
    assert found == Split(*(pytest.approx(x / 15) for x in (10, 0, 0, 4, 0, 1)))


def test_the_split_of_sam(monkeypatch):
    # The ascent takes a norm as well: 3 + 1 s of perturbation.
    found = ticking_split(monkeypatch, "sam")
    assert found == Split(*(pytest.approx(x / 29) for x in (10, 10, 4, 4, 0, 1)))


def test_the_split_of_muon(monkeypatch):
    found = ticking_split(monkeypatch, "muon")
    assert sum(found.shares().values()) == pytest.approx(1)
    calls = found.newton_schulz / found.first_pass * 10 / 2
    assert calls == pytest.approx(round(calls)) and round(calls) > 0
    assert found.rule / found.first_pass == pytest.approx(4 / 10)


@pytest.mark.parametrize("name", ["adamw", "functional_sam", "muon"])
def test_the_parts_of_a_real_step_add_up_and_nothing_stays_watched(name):
    gradient, schulz = Oracle.gradient, newton_schulz.orthogonalise
    found = look(small_stack(), 2, optimizers_of(name)[name], synthetic_batch(settings(), 96)).split
    assert sum(found.shares().values()) == pytest.approx(1, abs=0.02)
    assert (found.second_pass > 0) == (name == "functional_sam")
    assert (found.newton_schulz > 0) == (name == "muon")
    assert tuple(found.shares()) == PARTS
    assert Oracle.gradient is gradient and newton_schulz.orthogonalise is schulz


@pytest.mark.parametrize(
    ("name", "precision", "rate"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989e12),
        ("NVIDIA H200", "bf16", 989e12),
        ("NVIDIA A100-SXM4-80GB", "tf32", 156e12),
        ("NVIDIA A100-PCIE-40GB", "float32", 19.5e12),
        ("NVIDIA L4", "bf16", 121e12),
        ("NVIDIA L40S", "bf16", 362e12),
        ("NVIDIA L40", "bf16", None),
        ("NVIDIA H100 PCIe", "bf16", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16", None),
        ("NVIDIA A100-SXM4-80GB MIG 3g.40gb", "bf16", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16", None),
        ("NVIDIA B200", "tf32", None),
        ("Some processor", "float32", None),
    ],
)
def test_promised_rates_are_known_or_blank(name, precision, rate):
    assert peak_flops(name, precision) == rate


def test_a_checkout_that_is_not_installed_has_no_version(monkeypatch):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert versions()["optbench"] == "not installed"


def test_what_is_done_again_to_save_memory_is_no_work_of_the_algorithm():
    def of(keep):
        estimator = {"kind": "sharpness_aware", "functional": True, "cotangent": keep}
        return OptimizerSpec.model_validate({"estimator": estimator, "rule": {"kind": "adamw"}})

    rebuilt, kept = of("rebuilt"), of("kept")
    chosen, sizes = settings(length=32), shape().dimensions
    as_run, as_meant = (training_flops(sizes, spec, work_of(chosen), steps=1) for spec in (rebuilt, kept))
    assert algorithmic_flops(shape(), rebuilt, chosen) == as_meant == algorithmic_flops(shape(), kept, chosen)
    assert as_run == pytest.approx(as_meant + 2 * sizes.vocabulary * sizes.width * chosen.positions)
