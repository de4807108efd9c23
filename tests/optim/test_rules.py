"""Rules against torch's own optimizers, their state, their claims."""

import copy

import pytest
import torch
from support import TinyLM, batch, ids, oracle, parameters

from optbench.optim.base import Parameter, check_claims
from optbench.optim.newton_schulz import orthogonalise
from optbench.optim.newton_schulz_plan import flops
from optbench.optim.specs import RULES, OptimizerSpec

SPECS = {
    "gd": {"kind": "gd", "lr": 0.05, "weight_decay": 0.01},
    "gd momentum": {"kind": "gd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
    "adamw": {"kind": "adamw", "lr": 0.01, "betas": [0.8, 0.95], "weight_decay": 0.1},
    "muon": {"kind": "muon", "lr": 0.02, "weight_decay": 0.1, "adamw_lr": 0.01},
    "torch": {"kind": "torch", "target": "torch.optim:RMSprop", "lr": 0.01},
}


def trained(module, spec, *, steps, start=0, optimizer=None):
    optimizer = optimizer or OptimizerSpec.model_validate({"rule": spec}).build(parameters(module))
    for step in range(start, start + steps):
        optimizer.step(oracle(module, batch(ids(step))), 1.0 / (1 + step))
    return optimizer


def torchs(module, make, *, steps):
    engines = make(module)
    rates = [[group["lr"] for group in engine.param_groups] for engine in engines]
    for step in range(steps):
        oracle(module, batch(ids(step))).gradient()
        for engine, own in zip(engines, rates, strict=True):
            for group, rate in zip(engine.param_groups, own, strict=True):
                group["lr"] = rate / (1 + step)
            engine.step()


def same(a, b, **tolerance):
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, **tolerance)


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        ("gd", lambda m: [torch.optim.SGD(m.parameters(), lr=0.05, weight_decay=0.01)]),
        ("gd momentum", lambda m: [torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9, nesterov=True)]),
        ("adamw", lambda m: [torch.optim.AdamW(m.parameters(), lr=0.01, betas=(0.8, 0.95), weight_decay=0.1)]),
        ("torch", lambda m: [torch.optim.RMSprop(m.parameters(), lr=0.01)]),
    ],
)
def test_ten_steps_equal_torch_optim(spec, make):
    ours, theirs = TinyLM(), TinyLM()
    trained(ours, SPECS[spec], steps=10)
    torchs(theirs, make, steps=10)
    same(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_ten_steps_of_muon_equal_torch_optim(nesterov, adjust):
    ours, theirs = TinyLM(), TinyLM()
    trained(ours, {**SPECS["muon"], "nesterov": nesterov, "adjust": adjust}, steps=10)

    def make(module):
        rest = [p for p in module.parameters() if p is not module.mix]
        muon = torch.optim.Muon([module.mix], lr=0.02, weight_decay=0.1, nesterov=nesterov, adjust_lr_fn=adjust)
        return [muon, torch.optim.AdamW(rest, lr=0.01, weight_decay=0.1)]

    torchs(theirs, make, steps=10)
    # Both iterate in bfloat16, whose spacing is 2^-8; the orders of products differ.
    same(ours, theirs, rtol=0, atol=0.02 * 0.1)


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("shape", [(12, 4), (4, 12), (5, 5)])
def test_the_size_of_a_muon_update_depends_on_the_shape_as_in_torch_optim(shape, adjust):
    ours, theirs = (torch.nn.Parameter(torch.zeros(shape)) for _ in range(2))
    spec = {"kind": "muon", "lr": 0.5, "adjust": adjust}
    optimizer = OptimizerSpec.model_validate({"rule": spec}).build([Parameter("w", ours, "hidden")])
    ours.grad = theirs.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        optimizer.rule.apply(1.0)
    torch.optim.Muon([theirs], lr=0.5, weight_decay=0.0, adjust_lr_fn=adjust).step()
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.01)


def exact_newton_schulz(matrix, steps=5):
    """The iteration on singular values, one by one: s <- a s + b s^3 + c s^5."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    s = s / matrix.norm()
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ torch.diag(s) @ vh


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_newton_schulz_equals_the_polynomial_of_the_singular_values(shape):
    stack = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = orthogonalise(stack, steps=5, dtype=torch.float64)
    for ours, matrix in zip(found, stack, strict=True):
        torch.testing.assert_close(ours, exact_newton_schulz(matrix), rtol=1e-9, atol=1e-9)


def test_the_first_muon_update_is_near_semi_orthogonal():
    matrix = torch.nn.Parameter(torch.zeros(8, 24, dtype=torch.float64))
    spec = {"kind": "muon", "lr": 1.0, "adjust": "original", "ns_dtype": "float64"}
    optimizer = OptimizerSpec.model_validate({"rule": spec}).build([Parameter("w", matrix, "hidden")])
    matrix.grad = torch.randn(8, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        optimizer.rule.apply(1.0)
    # The published constants bring singular values near 1, not to it: between about 0.7 and 1.2.
    values = torch.linalg.svdvals(matrix.detach())
    assert values.min() > 0.65
    assert values.max() < 1.25


def test_muon_keeps_its_momentum_when_weights_are_low_precision_and_not_nesterov():
    # torch.optim.Muon normalises the momentum buffer itself in this case.
    spec = OptimizerSpec.model_validate({"rule": {"kind": "muon", "nesterov": False, "momentum": 0.5}})
    module = TinyLM().bfloat16()
    optimizer = spec.build(parameters(module))
    for p in module.parameters():
        p.grad = torch.ones_like(p)
    with torch.no_grad():
        optimizer.rule.apply(1.0)
        optimizer.rule.apply(1.0)
    mix = next(i for i, p in enumerate(parameters(module)) if p.name == "mix")
    assert torch.equal(optimizer.rule.direction()[mix], torch.full((6, 6), 0.75, dtype=torch.bfloat16))


@pytest.mark.parametrize("name", sorted(SPECS))
def test_saved_and_loaded_continues_bit_for_bit(name):
    one = TinyLM()
    trained(one, SPECS[name], steps=6)
    two = TinyLM()
    half = trained(two, SPECS[name], steps=3)
    state = copy.deepcopy(half.state_dict())
    fresh = OptimizerSpec.model_validate({"rule": SPECS[name]}).build(parameters(two))
    fresh.load_state_dict(state)
    trained(two, SPECS[name], steps=3, start=3, optimizer=fresh)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


SHARP = [("adamw", "preconditioned"), ("muon", "preconditioned"), ("muon", "momentum"), ("gd momentum", "momentum")]


@pytest.mark.parametrize(("name", "ascent"), SHARP)
def test_saved_to_disk_and_loaded_continues_bit_for_bit_also_with_a_shift(name, ascent, tmp_path):
    estimator = {"kind": "sharpness_aware", "rho": 0.1, "ascent": ascent, "functional": True}
    spec = OptimizerSpec.model_validate({"estimator": estimator, "rule": SPECS[name]})
    one, two = TinyLM(), TinyLM()
    trained(one, SPECS[name], steps=6, optimizer=spec.build(parameters(one)))
    half = trained(two, SPECS[name], steps=3, optimizer=spec.build(parameters(two)))
    torch.save(half.state_dict(), tmp_path / "state")
    fresh = spec.build(parameters(two))
    fresh.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    trained(two, SPECS[name], steps=3, start=3, optimizer=fresh)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("name", sorted(SPECS))
def test_a_schedule_scales_the_base_rate_and_does_not_compound(name):
    half, full = TinyLM(), TinyLM()
    rate = SPECS[name]["lr"]
    spec = {**SPECS[name], "lr": rate / 2}
    spec |= {"adamw_lr": SPECS[name]["adamw_lr"] / 2} if "adamw_lr" in spec else {}
    a = OptimizerSpec.model_validate({"rule": spec}).build(parameters(half))
    b = OptimizerSpec.model_validate({"rule": SPECS[name]}).build(parameters(full))
    for step in range(4):
        a.step(oracle(half, batch(ids(step))), 1.0)
        b.step(oracle(full, batch(ids(step))), 0.5)
    same(half, full, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_parameter_is_claimed_and_moves(name):
    module = TinyLM()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = trained(module, SPECS[name], steps=2)
    claimed = [name for names in optimizer.rule.claims().values() for name in names]
    assert sorted(claimed) == sorted(before)
    assert all(not torch.equal(before[name], p) for name, p in module.named_parameters())


def test_an_unclaimed_or_twice_claimed_parameter_is_refused():
    params = parameters(TinyLM())
    names = [p.name for p in params]
    with pytest.raises(ValueError, match="updated by nobody: \\['head.bias'\\]"):
        check_claims(params, {"a": [n for n in names if n != "head.bias"]})
    with pytest.raises(ValueError, match="more than one: \\['mix'\\]"):
        check_claims(params, {"a": names, "b": ["mix"]})


def test_muon_takes_hidden_matrices_only():
    optimizer = OptimizerSpec.model_validate({"rule": {"kind": "muon"}}).build(parameters(TinyLM()))
    assert optimizer.rule.claims()["muon"] == ["mix"]


def test_newton_schulz_flops_count_its_products():
    from torch.utils.flop_counter import FlopCounterMode

    stack = torch.randn(1, 8, 20)
    with FlopCounterMode(display=False) as counter:
        orthogonalise(stack, steps=5, dtype=torch.float32)
    assert counter.get_total_flops() == flops((8, 20), "standard", 5) == flops((20, 8), "standard", 5)


def test_state_bytes_are_those_of_the_moments():
    module = TinyLM()
    numel = sum(p.numel() for p in module.parameters())
    sizes = {name: trained(TinyLM(), SPECS[name], steps=1).rule.state_bytes() for name in SPECS}
    assert sizes["gd"] == 0
    assert sizes["gd momentum"] == 8 * numel
    assert sizes["adamw"] == 16 * numel
    assert sizes["muon"] == 16 * numel - 8 * module.mix.numel()


@pytest.mark.parametrize("kind", sorted(RULES))
def test_every_rule_declares_what_it_can(kind):
    fields = next((s for s in SPECS.values() if s["kind"] == kind), {"kind": kind})
    spec = RULES[kind].model_validate(fields)
    assert isinstance(spec.preconditions, bool)
    assert isinstance(spec.has_direction, bool)
    assert spec.update_flops([(8, 20)]) >= 0.0
