"""The equations that pin the algorithms, in float64, against slow and obvious references."""

import math

import pytest
import torch
from support import Plainly, Recorder, TinyLM, batch, gradients, ids, oracle, parameters
from torch import nn
from torch.func import functional_call, grad, vjp

from optbench.models.language_model import cross_entropy
from optbench.optim.base import Damping, Optimizer
from optbench.optim.specs import PRESETS, RULES, OptimizerSpec
from optbench.oracle import Batch, Oracle, shifted

ASCENTS = ["isotropic", "relative", "preconditioned", "momentum"]


def estimator(**fields):
    return OptimizerSpec.model_validate(
        {"estimator": {"kind": "sharpness_aware", **fields}, "rule": {"kind": "adamw"}}
    ).estimator


def estimated(module, est, of=None):
    """The gradient that the estimator hands to its rule."""
    params = parameters(module)
    recorder = Recorder(params)
    Optimizer(est, recorder, params).step(oracle(module, of))
    return recorder.seen[0]


def reference(module, rho, *, functional, of=None):
    """SAM and Functional-SAM spelled out with torch.func: g = J(w + e)^T dl/df, the cotangent from w or from w + e."""
    of = batch() if of is None else of
    (part,) = of.parts
    weights = {name: p.detach().clone() for name, p in module.named_parameters()}

    def outputs(w):
        return functional_call(module, w, kwargs=dict(part.inputs)).flatten(0, 1)[part.positions]

    def loss(f):
        return cross_entropy(f, part.targets).sum() / of.num_supervised

    g = grad(lambda w: loss(outputs(w)))(weights)
    norm = math.sqrt(sum(float(v.square().sum()) for v in g.values()))
    there = {name: weights[name] + rho * g[name] / norm for name in weights}
    outputs_there, pull = vjp(outputs, there)
    (found,) = pull(grad(loss)(outputs(weights) if functional else outputs_there))
    return [found[name] for name in weights]


def close(ours, theirs, *, rtol=1e-10):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-12)


def differ(ours, theirs):
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) > 1e-4


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("functional", [False, True])
def test_sharpness_aware_gradients_equal_the_definition(functional, tied):
    module = TinyLM(tied=tied)
    expected = reference(module, 0.3, functional=functional)
    close(estimated(module, estimator(rho=0.3, functional=functional)), expected)


def test_sam_and_functional_sam_differ():
    module = TinyLM()
    assert differ(reference(module, 0.3, functional=True), reference(module, 0.3, functional=False))


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("ascent", ASCENTS)
@pytest.mark.parametrize("rule", sorted(set(RULES) - {"torch", "sophia"}))
def test_rho_zero_is_plain(rule, ascent, functional):
    fields = {"kind": rule} | ({"momentum": 0.9} if rule == "gd" else {})
    if ascent == "preconditioned" and not RULES[rule].model_validate(fields).preconditions:
        pytest.skip("refused when the spec is read")
    plain, other = TinyLM(), TinyLM()
    shift = {"kind": "sharpness_aware", "rho": 0.0, "ascent": ascent, "functional": functional}
    for module, est in ((plain, {"kind": "plain"}), (other, shift)):
        params = parameters(module)
        optimizer = OptimizerSpec.model_validate({"estimator": est, "rule": fields}).build(params)
        for step in range(3):
            optimizer.step(oracle(module, batch(ids(step))))
    close([p.detach() for p in other.parameters()], [p.detach() for p in plain.parameters()], rtol=1e-9)


def test_functional_sam_on_a_model_linear_in_its_parameters_is_plain_while_sam_differs():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(11, 11, dtype=torch.float64)

        def forward(self, ids_BT):
            return self.table(ids_BT)

    torch.manual_seed(0)
    module = Linear()
    oracle(module).gradient()
    plain = gradients(module)
    close(estimated(module, estimator(rho=0.5, functional=True)), plain)
    assert differ(estimated(module, estimator(rho=0.5)), plain)


@pytest.mark.parametrize("cut", [[1, 4], [2, 2, 1], [1, 1, 1, 1, 1]])
@pytest.mark.parametrize("functional", [False, True, None])
def test_any_cut_into_micro_batches_gives_the_same_gradient(functional, cut):
    from optbench.models.language_model import batch_of_labels
    from optbench.oracle import Part

    ids_BT = ids()
    labels_BT = ids_BT.clone()
    for row in range(len(labels_BT)):
        labels_BT[row, : 1 + row] = -100
    whole = batch_of_labels({"input_ids": ids_BT, "labels": labels_BT})
    parts = []
    for piece_ids, piece_labels in zip(ids_BT.split(cut), labels_BT.split(cut), strict=True):
        (part,) = batch_of_labels({"input_ids": piece_ids, "labels": piece_labels}).parts
        parts.append(Part({"ids_BT": piece_ids}, part.positions, part.targets))
    (part,) = whole.parts
    one = Batch([Part({"ids_BT": ids_BT}, part.positions, part.targets)], whole.num_tokens, whole.num_supervised)
    many = Batch(parts, whole.num_tokens, whole.num_supervised)
    est = estimator(rho=0.3, functional=functional) if functional is not None else PLAIN
    close(estimated(TinyLM(), est, many), estimated(TinyLM(), est, one))


PLAIN = OptimizerSpec.model_validate({"rule": {"kind": "adamw"}}).estimator


def test_padding_changes_nothing():
    ids_BT = ids()
    padded_BT = torch.cat([ids_BT, torch.zeros(5, 3, dtype=torch.long)], dim=1)
    labels = torch.full_like(padded_BT, -100)
    labels[:, 3:7] = ids_BT[:, 3:]
    from optbench.models.language_model import batch_of_labels
    from optbench.oracle import Part

    def made(i, lab):
        found = batch_of_labels({"input_ids": i, "labels": lab})
        (part,) = found.parts
        return Batch([Part({"ids_BT": i}, part.positions, part.targets)], found.num_tokens, found.num_supervised)

    est = estimator(rho=0.3, functional=True)
    close(
        estimated(TinyLM(), est, made(padded_BT, labels)), estimated(TinyLM(), est, made(ids_BT, labels[:, :7].clone()))
    )


@pytest.mark.parametrize("functional", [False, True])
def test_both_passes_see_the_same_dropout(functional):
    class Dropping(TinyLM):
        def hidden(self, ids_BT):
            return nn.functional.dropout(super().hidden(ids_BT), 0.5, training=True)

    module = Dropping()
    torch.manual_seed(5)
    asked = oracle(module)
    first = asked.gradient(keep=True)
    before = gradients(module)
    assert float(asked.gradient().loss) == float(first.loss)
    asked.gradient(cotangent=first.cotangent if functional else None)
    close(gradients(module), before)
    torch.manual_seed(6)
    assert float(oracle(module).gradient().loss) != float(first.loss)


def test_dropout_masks_differ_between_steps():
    class Dropping(TinyLM):
        def hidden(self, ids_BT):
            return nn.functional.dropout(super().hidden(ids_BT), 0.5, training=True)

    module = Dropping()
    losses = {float(oracle(module).gradient().loss) for _ in range(3)}
    assert len(losses) == 3


def test_parameters_come_back_bit_for_bit_also_after_an_error():
    module = TinyLM().float()
    params = list(module.parameters())
    before = [p.detach().clone() for p in params]
    shift = [torch.full_like(p, 0.1) for p in params]
    with shifted(params, shift):
        assert not torch.equal(params[0], before[0])
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))
    with pytest.raises(RuntimeError, match="inside"), shifted(params, shift):
        raise RuntimeError("inside")
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))
    # The reason for saving and copying back: adding and subtracting does not return.
    assert not all(torch.equal(p + 0.1 - 0.1, p) for p in params)


def test_low_precision_weights_are_refused():
    weight = torch.ones(3, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="float32"), shifted([weight], [weight]):
        pass


@pytest.mark.parametrize("ascent", ["isotropic", "preconditioned", "momentum"])
def test_the_shift_has_norm_rho(ascent):
    module = TinyLM()
    params = parameters(module)
    spec = {"estimator": {"kind": "sharpness_aware", "rho": 0.07, "ascent": ascent}, "rule": {"kind": "adamw"}}
    optimizer = OptimizerSpec.model_validate(spec).build(params)
    optimizer.step(oracle(module))
    info = optimizer.step(oracle(module), observe=True)
    assert info.notes["shift_norm"] == pytest.approx(0.07, rel=1e-12)
    assert info.notes["shift_cosine"] == pytest.approx(1.0, abs=1e-12)
    assert sum(info.notes["shift_share"].values()) == pytest.approx(1.0, rel=1e-12)


def test_the_relative_ascent_is_that_of_asam():
    module = TinyLM()
    oracle(module).gradient()
    params = list(module.parameters())
    scale = [p.detach().abs() + 0.01 for p in params]
    norm = math.sqrt(sum(float((t * p.grad).square().sum()) for t, p in zip(scale, params, strict=True)))
    expected = [0.2 * t**2 * p.grad / norm for t, p in zip(scale, params, strict=True)]
    close(estimator(ascent="relative").ascent.shift(params, None, 0.2), expected)


@pytest.mark.parametrize(
    ("fields", "denominator"),
    [
        ({}, lambda v, t: (v / (1 - 0.999**t)).sqrt() + 0.1 * (v / (1 - 0.999**t)).mean().sqrt()),
        ({"damping": 1e-2, "relative_damping": False}, lambda v, t: (v / (1 - 0.999**t)).sqrt() + 1e-2),
        (
            {"damping": 1e-6, "relative_damping": False, "bias_correction": False},
            lambda v, t: v.sqrt() + 1e-6,
        ),
    ],
)
def test_the_preconditioned_ascent_divides_by_adams_second_moment_of_before_the_step(fields, denominator):
    module = TinyLM()
    params = parameters(module)
    ascent = {"kind": "preconditioned", **fields}
    spec = {"estimator": {"kind": "sharpness_aware", "ascent": ascent}, "rule": {"kind": "adamw"}}
    optimizer = OptimizerSpec.model_validate(spec).build(params)
    tensors = [p.tensor for p in params]
    second = [torch.zeros_like(p) for p in tensors]
    for t in range(1, 4):
        oracle(module).gradient()
        grads = gradients(module)
        shift = optimizer.estimator.ascent.shift(tensors, optimizer.rule, 0.3)
        raw = [g / denominator(v, t - 1) for g, v in zip(grads, second, strict=True)] if t > 1 else grads
        norm = math.sqrt(sum(float(r.square().sum()) for r in raw))
        close(shift, [0.3 * r / norm for r in raw])
        optimizer.rule.apply(1.0)
        second = [0.999 * v + 0.001 * g.square() for v, g in zip(second, grads, strict=True)]


def test_functional_sam_with_momentum_runs_only_forward_at_the_weights():
    module = TinyLM()
    params = parameters(module)
    shift = {"kind": "sharpness_aware", "ascent": "momentum"}
    passes = {}
    for functional in (False, True):
        spec = {"estimator": {**shift, "functional": functional}, "rule": {"kind": "adamw"}}
        asked = oracle(module)
        built = OptimizerSpec.model_validate(spec)
        built.build(params).step(asked)
        passes[functional] = asked.passes
        assert asked.passes == pytest.approx(float(built.estimator.passes_per_step))
    assert passes == {False: 1.0, True: pytest.approx(4 / 3)}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_passes_are_counted_as_declared(name):
    module = TinyLM()
    spec = OptimizerSpec.model_validate(PRESETS[name])
    optimizer, steps = spec.build(parameters(module)), getattr(spec.estimator, "refresh_every", 1)
    asked = oracle(module)
    for _ in range(steps):
        optimizer.step(asked)
    assert asked.passes == pytest.approx(steps * float(spec.estimator.passes_per_step))


def test_the_first_loss_is_reported():
    module = TinyLM()
    expected = float(oracle(module).loss())
    info = OptimizerSpec.model_validate(PRESETS["functional_sam"]).build(parameters(module)).step(oracle(module))
    assert float(info.loss) == pytest.approx(expected, rel=1e-12)
    assert info.loss_at == "weights"


def test_clipping_comes_after_estimation_and_the_norm_reported_is_that_of_before():
    module = TinyLM()
    params = parameters(module)
    recorder = Recorder(params)
    est = estimator(rho=0.3, functional=True)
    unclipped = estimated(TinyLM(), est)
    norm = math.sqrt(sum(float(g.square().sum()) for g in unclipped))
    info = Optimizer(est, recorder, params, max_norm=norm / 2).step(oracle(module))
    assert float(info.gradient_norm) == pytest.approx(norm)
    close(recorder.seen[0], [g / 2 for g in unclipped], rtol=1e-5)


def test_an_oracle_without_supervised_positions_is_refused():
    empty = Batch([], num_tokens=3, num_supervised=0)
    with pytest.raises(ValueError, match="no supervised position"):
        Oracle(Plainly(TinyLM()), cross_entropy, empty)


@pytest.mark.parametrize("rule", ["adamw", "muon", "gd"])
def test_the_momentum_ascent_goes_on_along_the_last_steps(rule):
    # arXiv 2401.12033, and its code: w <- w - rho m / ||m||, with m what the rule steps against.
    module = TinyLM()
    params = parameters(module)
    fields = {"momentum": 0.9} if rule == "gd" else {}
    spec = {"estimator": {"kind": "sharpness_aware", "ascent": "momentum"}, "rule": {"kind": rule, **fields}}
    optimizer = OptimizerSpec.model_validate(spec).build(params)
    average = [torch.zeros_like(p.tensor) for p in params]
    for step in range(3):
        seen = oracle(module, batch(ids(step)))
        with torch.no_grad():
            shift = optimizer.estimator.ascent.shift([p.tensor for p in params], optimizer.rule, 0.2)
        norm = math.sqrt(sum(float(m.square().sum()) for m in average))
        close(shift, [-0.2 * m / norm if norm else m for m in average], rtol=1e-6)
        seen.gradient()
        decay = {"adamw": [0.9] * len(params), "gd": [0.9] * len(params)}.get(
            rule, [0.95 if p.role == "hidden" else 0.9 for p in params]
        )
        new = 1.0 if rule == "gd" else None
        average = [d * m + (new or 1 - d) * p.tensor.grad for d, m, p in zip(decay, average, params, strict=True)]
        with torch.no_grad():
            optimizer.rule.apply(1.0)


def test_muons_preconditioner_orthogonalises_hidden_matrices_to_entries_of_size_one():
    module = TinyLM()
    params = parameters(module)
    spec = {"estimator": {"kind": "sharpness_aware", "ascent": "preconditioned"}, "rule": {"kind": "muon"}}
    spec["rule"]["ns_dtype"] = "float64"
    optimizer = OptimizerSpec.model_validate(spec).build(params)
    optimizer.step(oracle(module))
    oracle(module).gradient()
    grads = gradients(module)
    found = optimizer.rule.precondition(grads, Damping(0.1, relative=True, bias_correction=True))
    for p, g, ours in zip(params, grads, found, strict=True):
        if p.role == "hidden":
            assert float(ours.square().mean()) == pytest.approx(1.0)
            u, _, vh = torch.linalg.svd(g)
            assert float((u.T @ ours @ vh.T).diag().min()) > 0.3
        else:
            assert float((ours * g).sum()) > 0


def test_a_row_that_never_had_a_gradient_takes_no_part_in_the_preconditioned_shift():
    module = TinyLM()
    params = parameters(module)
    spec = {"estimator": {"kind": "sharpness_aware", "ascent": "preconditioned"}, "rule": {"kind": "adamw"}}
    optimizer = OptimizerSpec.model_validate(spec).build(params)
    for p in params:
        p.tensor.grad = torch.zeros_like(p.tensor)
    params[1].tensor.grad += 1.0
    with torch.no_grad():
        optimizer.rule.apply(1.0)
        shift = optimizer.estimator.ascent.shift([p.tensor for p in params], optimizer.rule, 0.3)
    assert all(torch.isfinite(e).all() for e in shift)
    assert [bool(e.any()) for e in shift] == [index == 1 for index in range(len(params))]


def test_an_oracle_made_before_others_draws_its_own_masks():
    class Dropping(TinyLM):
        def hidden(self, ids_BT):
            return nn.functional.dropout(super().hidden(ids_BT), 0.5, training=True)

    module = Dropping()
    waiting = [oracle(module) for _ in range(3)]
    assert len({float(asked.gradient().loss) for asked in waiting}) == 3
