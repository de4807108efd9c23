"""Forms of Newton-Schulz against the slow one, their errors, what is chosen where, and Muon's rule on all of it."""

import weakref

import pytest
import torch
from pydantic import ValidationError
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from optbench.optim import newton_schulz_plan as planning
from optbench.optim.base import Damping, Parameter
from optbench.optim.newton_schulz import orthogonalise
from optbench.optim.newton_schulz_plan import Capabilities, Plan, capabilities, flops, gram_segments, plan
from optbench.optim.rules.muon import Muon

FORMS = ("standard", "gram")
SHAPES = [(6, 6), (4, 9), (9, 4), (1, 7), (7, 1), (1, 1), (2, 40), (40, 2), (16, 48)]
HALVES, BRAIN, NOTHING = (
    Capabilities(True, True, True),
    Capabilities(True, False, False),
    Capabilities(False, False, False),
)
SLOW_HALF = Capabilities(True, True, False)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def slow(matrix, steps=5):
    """X <- a X + b (X X^T) X + c (X X^T)^2 X, one product after the other."""
    x = matrix.double() / max(float(matrix.double().norm()), 1e-7)
    for _ in range(steps):
        cubed = x @ x.T @ x
        x = 3.4445 * x - 4.7750 * cubed + 2.0315 * (x @ x.T @ cubed)
    return x


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
def test_every_form_of_every_shape_equals_the_slow_iteration(form, shape, count, steps):
    stack = draw(count, *shape)
    found = orthogonalise(list(stack), steps=steps, dtype=torch.float64, form=form)
    for ours, matrix in zip(found, stack, strict=True):
        torch.testing.assert_close(ours, slow(matrix, steps), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(300, 220), (220, 300)])
def test_large_matrices_that_are_transposed_by_a_copy_equal_the_slow_iteration(form, shape):
    matrix = draw(*shape)
    assert matrix.numel() * 8 >= planning.TURNED
    found = orthogonalise([matrix], steps=5, dtype=torch.float64, form=form)[0]
    torch.testing.assert_close(found, slow(matrix), rtol=1e-10, atol=1e-10)
    assert found.is_contiguous()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6)])
def test_what_is_given_stays_and_zero_stays_zero(form, dtype, count, shape):
    given = [draw(*shape, seed=s, dtype=dtype) for s in range(count)]
    before = [g.clone() for g in given]
    found = orthogonalise(given, steps=5, dtype=dtype, form=form)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
    assert all(f.dtype is dtype and f.shape == shape for f in found)
    nothing = orthogonalise([torch.zeros(shape, dtype=dtype)] * count, steps=5, dtype=dtype, form=form)
    assert not any(n.any() or n.isnan().any() for n in nothing)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("count", [1, 2])
def test_float16_takes_gradients_out_of_its_range(size, count):
    matrix = draw(12, 40, dtype=torch.float32) * size
    for found in orthogonalise([matrix] * count, steps=5, dtype=torch.float16, form="gram"):
        assert float((found.double() - slow(matrix)).norm() / slow(matrix).norm()) < 0.01


def test_columns_of_a_larger_matrix_are_a_matrix():
    wide = draw(6, 24)
    for form in FORMS:
        found = orthogonalise([wide[:, ::2], wide.T[:12].T], steps=5, dtype=torch.float64, form=form)
        torch.testing.assert_close(found[0], slow(wide[:, ::2]), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found[1], slow(wide[:, :12]), rtol=1e-10, atol=1e-10)


def with_spectrum(n, m, kind):
    i = torch.arange(1, n + 1, dtype=torch.float64)
    values = {
        "flat": torch.ones(n, dtype=torch.float64),
        "one over root": i**-0.5,
        "one over": i**-1,
        "exponential": 10 ** (-3 * (i - 1) / (n - 1)),
        "low rank": (i <= n // 8).double() + 1e-3,
        "spiked": torch.where(i == 1, 30.0, 1.0).double(),
    }
    gaussian = draw(n, m, seed=1)
    if kind == "gaussian":
        return gaussian.float()
    u, _, v = torch.linalg.svd(gaussian, full_matrices=False)
    return ((u * values[kind]) @ v).float()


def errors(matrix, dtype, form):
    """Relative to five steps in float64: of the matrix, and of its singular values."""
    exact = slow(matrix)
    found = orthogonalise([matrix], steps=5, dtype=dtype, form=form)[0].double()
    values, exact_values = torch.linalg.svdvals(found), torch.linalg.svdvals(exact)
    return float((found - exact).norm() / exact.norm()), float((values - exact_values).norm() / exact_values.norm())


KINDS = ["gaussian", "flat", "one over root", "one over", "exponential", "low rank", "spiked"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(256, 512), (256, 1024), (384, 1024)])
def test_the_gram_form_where_it_is_on_offer_is_more_exact_than_the_standard_form_in_bfloat16(shape, kind):
    matrix = with_spectrum(*shape, kind)
    standard, standard_values = errors(matrix, torch.bfloat16, "standard")
    half, half_values = errors(matrix, torch.float16, "gram")
    assert half < 0.4 * standard
    assert half_values < standard_values
    single, single_values = errors(matrix, torch.float32, "gram")
    assert single < 0.02 * standard
    assert single_values < standard_values


def test_the_gram_form_in_bfloat16_is_refused_for_a_reason():
    matrix = with_spectrum(64, 1024, "one over")
    assert errors(matrix, torch.bfloat16, "gram")[0] > 1.3 * errors(matrix, torch.bfloat16, "standard")[0]
    with pytest.raises(ValidationError, match="set ns_dtype to float16, float32 or float64"):
        Muon(ns_form="gram")
    assert Muon(ns_form="gram", ns_dtype="float16").ns_form == "gram"


def test_restarts_come_after_every_two_steps():
    assert [gram_segments(steps) for steps in (1, 2, 3, 5, 6, 9)] == [
        [1],
        [2],
        [2, 1],
        [2, 2, 1],
        [2, 2, 2],
        [2, 2, 2, 2, 1],
    ]


LARGE, WIDE = (1024, 1024), (1024, 3072)


@pytest.mark.parametrize(
    ("shape", "count", "device", "precision", "form", "can", "chosen"),
    [
        ((64, 64), 16, "cpu", "bfloat16", "auto", BRAIN, Plan("standard", "bfloat16", 16)),
        ((64, 64), 999, "cpu", "bfloat16", "auto", BRAIN, Plan("standard", "bfloat16", 64)),
        ((704, 256), 12, "cpu", "bfloat16", "auto", BRAIN, Plan("standard", "bfloat16", 2)),
        (WIDE, 12, "cpu", "bfloat16", "auto", BRAIN, Plan("standard", "bfloat16", 1)),
        (WIDE, 12, "cpu", "bfloat16", "auto", SLOW_HALF, Plan("standard", "bfloat16", 1)),
        (WIDE, 12, "cpu", "bfloat16", "auto", HALVES, Plan("gram", "float16", 1)),
        (WIDE, 12, "cpu", "bfloat16", "auto", NOTHING, Plan("gram", "float32", 1)),
        (LARGE, 12, "cpu", "bfloat16", "auto", NOTHING, Plan("standard", "float32", 1)),
        ((64, 256), 2, "cpu", "bfloat16", "auto", NOTHING, Plan("standard", "float32", 2)),
        (WIDE, 28, "cuda", "bfloat16", "auto", HALVES, Plan("gram", "float16", 16)),
        # Small matrices stay with the standard form, however many there are.
        ((128, 1024), 5000, "cuda", "bfloat16", "auto", HALVES, Plan("standard", "bfloat16", 455)),
        (LARGE, 28, "cuda", "bfloat16", "auto", HALVES, Plan("standard", "bfloat16", 28)),
        ((16, 4096), 28, "cuda", "bfloat16", "auto", HALVES, Plan("standard", "bfloat16", 28)),
        (WIDE, 28, "cuda", "bfloat16", "standard", HALVES, Plan("standard", "bfloat16", 16)),
        (LARGE, 1, "cuda", "bfloat16", "auto", Capabilities(False, True, True), Plan("standard", "float16", 1)),
        (WIDE, 1, "cpu", "float32", "auto", BRAIN, Plan("gram", "float32", 1)),
        (WIDE, 1, "cpu", "float32", "standard", BRAIN, Plan("standard", "float32", 1)),
        (LARGE, 1, "cpu", "float64", "gram", BRAIN, Plan("gram", "float64", 1)),
        (WIDE, 1, "cpu", "float16", "auto", BRAIN, Plan("gram", "float32", 1)),
        (WIDE, 1, "cpu", "float16", "standard", SLOW_HALF, Plan("standard", "float16", 1)),
        (WIDE, 1, "mps", "bfloat16", "auto", NOTHING, Plan("standard", "float32", 1)),
    ],
)
def test_what_is_chosen(shape, count, device, precision, form, can, chosen):
    for each in (shape, shape[::-1]):
        assert plan(each, count, device=device, precision=precision, form=form, steps=5, can=can) == chosen


@pytest.fixture
def asked_anew():
    capabilities.cache_clear()
    yield
    capabilities.cache_clear()


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, NOTHING),
        ({"avx512_bf16": True, "avx512_fp16": True}, SLOW_HALF),
        ({"avx512_bf16": True, "amx_bf16": True, "amx_fp16": True}, HALVES),
        ({"neon": True, "bf16": True}, BRAIN),
    ],
)
def test_a_cpu_is_asked_for_its_flags(flags, found, monkeypatch, asked_anew):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert capabilities("cpu") == found


@pytest.mark.parametrize(
    ("generation", "brain", "found"),
    [((6, 1), False, NOTHING), ((7, 5), False, Capabilities(False, True, True)), ((9, 0), True, HALVES)],
)
def test_a_gpu_is_asked_for_its_compute_capability(generation, brain, found, monkeypatch, asked_anew):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: generation)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: brain)
    assert capabilities("cuda") == found


def test_of_an_unknown_device_nothing_is_assumed(asked_anew):
    assert capabilities("meta") == NOTHING


def matrices_of(shapes, dtype=torch.float64):
    return [
        Parameter(f"w{i}", torch.nn.Parameter(draw(*s, seed=i, dtype=dtype)), "hidden") for i, s in enumerate(shapes)
    ]


def step(rule, params, seed, *, skip=()):
    for index, p in enumerate(params):
        p.tensor.grad = None if index in skip else draw(*p.tensor.shape, seed=100 * seed + index, dtype=p.tensor.dtype)
    with torch.no_grad():
        rule.apply(1.0)


class Slowly:
    """Muon as its equation, a matrix at a time."""

    def __init__(self, spec, params):
        self.spec, self.weights = spec, [p.tensor.detach().clone() for p in params]
        self.momenta = [torch.zeros_like(w) for w in self.weights]

    def step(self, gradients):
        s = self.spec
        for w, m, g in zip(self.weights, self.momenta, gradients, strict=True):
            if g is None:
                continue
            m.copy_(s.momentum * m + (1 - s.momentum) * g)
            u = (1 - s.momentum) * g + s.momentum * m if s.nesterov else m
            scale = 0.2 * max(w.shape) ** 0.5 if s.adjust == "match_rms_adamw" else max(1, w.size(0) / w.size(1)) ** 0.5
            w.copy_((1 - s.lr * s.weight_decay) * w - s.lr * scale * slow(u, s.ns_steps))


MIXED = [(6, 6), (4, 9), (9, 4), (6, 6), (1, 12), (2, 40), (6, 6), (40, 2), (4, 9), (6, 6)]


@pytest.mark.parametrize("stack", [1, 2**9, 2**20])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_mixed_shapes_in_stacks_of_any_size_follow_the_equation(stack, form, nesterov, adjust, monkeypatch):
    monkeypatch.setitem(planning.STACK, "cpu", stack)
    plan.cache_clear()
    params = matrices_of(MIXED)
    # One parameter lies in memory by columns.
    params[1] = Parameter("w1", torch.nn.Parameter(draw(9, 4, seed=1).T), "adapter")
    spec = Muon(lr=0.1, weight_decay=0.3, ns_dtype="float64", ns_form=form, nesterov=nesterov, adjust=adjust)
    rule, slowly = spec.build(params), Slowly(spec, params)
    for number in range(4):
        step(rule, params, number, skip={0, 4} if number == 2 else ())
        slowly.step([p.tensor.grad for p in params])
    for p, w, m, ours in zip(params, slowly.weights, slowly.momenta, rule.direction(), strict=True):
        torch.testing.assert_close(p.tensor.detach(), w, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(ours, m, rtol=1e-10, atol=1e-10)
    plan.cache_clear()


def test_a_parameter_without_a_gradient_is_left_alone_with_its_momentum():
    params = matrices_of([(6, 6), (6, 6), (3, 8)])
    rule = Muon(weight_decay=0.5).build(params)
    step(rule, params, 0)
    before = [p.tensor.detach().clone() for p in params], [m.clone() for m in rule.direction()]
    step(rule, params, 1, skip={1, 2})
    for index, (p, m) in enumerate(zip(params, rule.direction(), strict=True)):
        assert torch.equal(p.tensor, before[0][index]) == (index != 0)
        assert torch.equal(m, before[1][index]) == (index != 0)


@pytest.mark.parametrize("shapes", [[(6, 6)], [(6, 6), (6, 6)], [(9, 4)], [(9, 4), (9, 4)]])
def test_momentum_of_bfloat16_weights_is_not_written_to(shapes):
    # torch.optim.Muon normalises the momentum buffer itself in this case.
    params = matrices_of(shapes, torch.bfloat16)
    rule = Muon(nesterov=False, momentum=0.5).build(params)
    for _ in range(2):
        for p in params:
            p.tensor.grad = torch.ones_like(p.tensor)
        with torch.no_grad():
            rule.apply(1.0)
    assert all(torch.equal(m, torch.full_like(m, 0.75)) for m in rule.direction())


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32", "float64"])
def test_a_gradient_of_zero_changes_nothing(precision):
    params = matrices_of([(6, 6), (6, 6), (4, 9)], torch.float32)
    before = [p.tensor.detach().clone() for p in params]
    rule = Muon(ns_dtype=precision).build(params)
    for p in params:
        p.tensor.grad = torch.zeros_like(p.tensor)
    with torch.no_grad():
        rule.apply(1.0)
        shift = rule.precondition([p.tensor.grad for p in params], Damping(0.1, relative=True, bias_correction=True))
    assert all(torch.equal(p.tensor, b) for p, b in zip(params, before, strict=True))
    assert not any(s.any() or s.isnan().any() for s in shift)


def test_state_saved_and_loaded_continues_bit_for_bit(tmp_path):
    one, two = matrices_of(MIXED, torch.float32), matrices_of(MIXED, torch.float32)
    rule, other = Muon().build(one), Muon().build(two)
    for number in range(4):
        step(rule, one, number)
        if number < 2:
            step(other, two, number)
    torch.save(other.state_dict(), tmp_path / "state")
    fresh = Muon().build(two)
    fresh.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    for number in (2, 3):
        step(fresh, two, number)
    assert all(torch.equal(a.tensor, b.tensor) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    "fields", [{}, {"ns_dtype": "float32"}, {"ns_dtype": "float32", "ns_form": "gram", "ns_steps": 7}]
)
def test_counted_operations_are_those_that_run(fields):
    shapes = [(64, 64)] * 3 + [(176, 64), (64, 1024), (1024, 64), (1024, 64)]
    spec, params = Muon(**fields), matrices_of(shapes, torch.float32)
    rule = spec.build(params)
    with FlopCounterMode(display=False) as counter:
        step(rule, params, 0)
    assert counter.get_total_flops() == spec.update_flops(shapes, can=capabilities("cpu")) > 0
    forms = {plan(s, shapes.count(s), device="cpu", precision=spec.ns_dtype, form=spec.ns_form, steps=5,
                  can=capabilities("cpu")).form for s in shapes}  # fmt: skip
    assert "gram" in forms or not fields


def test_operations_of_five_steps_are_those_of_the_formulas():
    n, m = 32, 96
    assert flops((n, m), "standard", 5) == flops((m, n), "standard", 5) == 20 * n * n * m + 10 * n**3
    assert flops((n, m), "gram", 5) == flops((m, n), "gram", 5) == 12 * n * n * m + 22 * n**3


def test_operations_without_a_device_are_the_same_on_every_machine():
    shapes = [(1024, 3072)] * 28
    assert Muon().update_flops(shapes) == 28 * flops((1024, 3072), "standard", 5)
    assert Muon().update_flops(shapes, device="cuda", can=HALVES) == 28 * flops((1024, 3072), "gram", 5)
    assert Muon(ns_dtype="float32").update_flops(shapes) == 28 * flops((1024, 3072), "gram", 5)


def test_new_fields_leave_keys_as_they_were():
    assert Muon().identity() == {"kind": "muon"}
    assert Muon(ns_form="standard").identity() == {"kind": "muon", "ns_form": "standard"}


class Live(TorchDispatchMode):
    """Bytes of the tensors made inside that are alive at once, at most."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self._seen = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for t in tree_leaves(found):
            if isinstance(t, torch.Tensor) and t.untyped_storage().data_ptr() not in given:
                size = t.untyped_storage().nbytes()
                self.now += size
                weakref.finalize(t.untyped_storage(), self._freed, size)
        self.most = max(self.most, self.now)
        return found

    def _freed(self, size):
        self.now -= size


def test_a_step_holds_a_stack_and_not_a_copy_of_the_model():
    params = matrices_of([(128, 512)] * 40, torch.float32)
    rule = Muon().build(params)
    step(rule, params, 0)
    model = sum(p.tensor.numel() * 4 for p in params)
    with torch.no_grad(), Live() as live:
        rule.apply(1.0)
    # The update in float32, and what the iteration may hold, with room for one stack more.
    assert 0 < live.most < 4 * planning.STACK["cpu"] < 0.85 * model
