"""Ways of paying less for a sharpness-aware gradient: each equals its definition, and its price is counted."""

import copy
import itertools
from fractions import Fraction

import pytest
import torch
from families import NAMES, model
from families import oracle as family_oracle
from support import TinyLM, batch, gradients, ids, oracle, parameters
from torch.func import functional_call, grad, vjp

from optbench.errors import UserError
from optbench.models.language_model import cross_entropy
from optbench.models.roles import parameters_of
from optbench.optim.specs import OptimizerSpec


def spec(rule=None, **fields):
    estimator = {"kind": "sharpness_aware", "rho": 0.3, **fields}
    return OptimizerSpec.model_validate({"estimator": estimator, "rule": rule or {"kind": "adamw", "lr": 0.01}})


def estimate(module, built, of):
    """The gradient that the estimator fills in, on `of`, and the oracle that it asked."""
    asked = oracle(module, of)
    params = parameters(module)
    built.estimator.estimate(asked, params, built.rule, observe=False)
    return gradients(module), asked


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def definition(module, shift_of, of, *, functional):
    """J(w + e)^T dl/df with e from `shift_of(loss of some rows)`, spelled out."""
    (part,) = of.parts
    weights = {name: p.detach().clone() for name, p in module.named_parameters()}
    tokens = part.inputs["ids_BT"]

    def outputs(w, rows=slice(None)):
        return functional_call(module, w, (tokens[rows],))

    def of_all(w):
        return outputs(w).flatten(0, 1)[part.positions]

    def loss(f):
        return cross_entropy(f, part.targets).sum() / len(part.targets)

    there = shift_of(weights, outputs, part)
    outputs_there, pull = vjp(of_all, there)
    (found,) = pull(grad(loss)(of_all(weights) if functional else outputs_there))
    return [found[name] for name in weights]


@pytest.mark.parametrize(("fraction", "rows"), [(0.5, [0, 1, 3]), (0.3, [0, 2]), (0.01, [0]), (1.0, [0, 1, 2, 3, 4])])
@pytest.mark.parametrize("functional", [False, True])
def test_a_perturbation_from_a_fraction_of_the_batch(functional, fraction, rows):
    module, of = TinyLM(), batch()

    def shift_of(weights, outputs, part):
        length = part.inputs["ids_BT"].shape[1]
        chosen = [i for i, at in enumerate(part.positions.tolist()) if at // length in rows]

        def loss(w):
            logits = outputs(w).flatten(0, 1)[part.positions[chosen]]
            return cross_entropy(logits, part.targets[chosen]).mean()

        g = grad(loss)(weights)
        norm = torch.sqrt(sum(v.square().sum() for v in g.values()))
        return {name: weights[name] + 0.3 * g[name] / norm for name in weights}

    expected = definition(module, shift_of, of, functional=functional)
    built = spec(functional=functional, ascent_fraction=fraction).build(parameters(module))
    found, asked = estimate(module, built, of)
    close(found, expected)
    share = Fraction(len(rows), 5)
    forward = Fraction(1, 3) if functional and fraction < 1 else 0
    assert asked.passes == pytest.approx(float(1 + share + forward))


@pytest.mark.parametrize("functional", [False, True])
def test_a_shift_that_is_made_anew_at_every_third_step(functional):
    module = TinyLM()
    params = parameters(module)
    refreshed = spec(functional=functional, refresh_every=3).build(params)
    plainly = spec(functional=functional).build(parameters(copy.deepcopy(module)))
    shift, passes = None, []
    for step in range(7):
        of = batch(ids(step))
        if step % 3 == 0:
            oracle(module, of).gradient()
            g = gradients(module)
            norm = torch.sqrt(sum(v.square().sum() for v in g))
            shift = [0.3 * v / norm for v in g]
        names = [name for name, _ in module.named_parameters()]
        moved = dict(zip(names, shift, strict=True))
        before = [p.detach().clone() for p in module.parameters()]
        expected = definition(module, lambda w, *_, e=moved: {n: w[n] + e[n] for n in w}, of, functional=functional)
        found, asked = estimate(module, refreshed, of)
        close(found, expected)
        assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
        passes.append(asked.passes)
        refreshed.rule.apply(1.0)
    assert sum(passes[:6]) / 6 == pytest.approx(
        float(spec(functional=functional, refresh_every=3).estimator.passes_per_step)
    )
    assert refreshed.state_bytes() == refreshed.rule.state_bytes() + sum(8 * p.numel() for p in module.parameters())
    assert plainly.estimator.state_bytes() == 0


def test_a_shift_that_is_held_survives_saving_and_loading():
    one, other = TinyLM(), TinyLM()
    whole = spec(refresh_every=4, functional=True).build(parameters(one))
    for step in range(6):
        whole.step(oracle(one, batch(ids(step))))
    half = spec(refresh_every=4, functional=True).build(parameters(other))
    for step in range(3):
        half.step(oracle(other, batch(ids(step))))
    state = copy.deepcopy(half.state_dict())
    resumed = spec(refresh_every=4, functional=True).build(parameters(other))
    resumed.load_state_dict(state)
    for step in range(3, 6):
        resumed.step(oracle(other, batch(ids(step))))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("ascent", ["isotropic", "momentum"])
def test_a_rebuilt_cotangent_trains_like_a_kept_one(family, ascent):
    found = []
    for keep in ("kept", "rebuilt"):
        of = model(family)
        optimizer = spec(functional=True, ascent=ascent, cotangent=keep).build(parameters_of(of.module))
        losses = [optimizer.step(family_oracle(of, micro_batch=size)).loss for size in (64, 2, 64)]
        found.append([*losses, *(p.detach() for p in of.module.parameters())])
    close(*found)


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize(("fraction", "every"), list(itertools.product([1.0, 0.5], [1, 4])))
def test_declared_passes_are_those_of_a_long_run(functional, fraction, every):
    module = TinyLM()
    declared = spec(functional=functional, ascent_fraction=fraction, refresh_every=every)
    optimizer = declared.build(parameters(module))
    total = 0.0
    for step in range(8):
        asked = oracle(module, batch(ids(step, examples=4)))
        optimizer.step(asked)
        total += asked.passes
    assert total / 8 == pytest.approx(float(declared.estimator.passes_per_step))


def test_a_fraction_is_taken_as_a_decimal_and_counts_in_the_whole():
    asked = oracle(TinyLM(), batch(ids(examples=100)))
    part = asked.of_fraction(0.07)
    part.gradient()
    part.of_fraction(1.0).gradient()
    assert part.passes == 2.0 and asked.passes == pytest.approx(0.14)


class Fixed:
    """A rule that preconditions with 2, in new tensors."""

    def precondition(self, gradients, damping):
        return [2 * g for g in gradients]


@pytest.mark.parametrize("ascent", ["isotropic", "relative", "preconditioned"])
def test_gradients_that_share_memory_are_scaled_once(ascent):
    """Autograd may hand one tensor to both summands of a + b."""
    shifts = []
    for together in (True, False):
        a, b = (torch.nn.Parameter(torch.full((5,), value, dtype=torch.float64)) for value in (1.0, 2.0))
        a.grad = torch.linspace(0.1, 1.0, 5, dtype=torch.float64)
        b.grad = a.grad.view(5) if together else a.grad.clone()
        shifts.append(spec(ascent=ascent).estimator.ascent.shift([a, b], Fixed(), 0.3))
    close(*shifts)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ascent": "momentum", "ascent_fraction": 0.5}, "takes no gradient"),
        ({"ascent": "momentum", "refresh_every": 2}, "takes no gradient"),
        ({"cotangent": "rebuilt"}, "only Functional-SAM"),
        ({"ascent_fraction": 0.0}, "greater than 0"),
        ({"ascent_fraction": 1.5}, "less than or equal to 1"),
        ({"refresh_every": 0}, "greater than or equal to 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        spec(**fields)


def test_a_cotangent_cannot_be_rebuilt_without_an_output_layer():
    module = TinyLM()
    with pytest.raises(UserError, match="Allowed here: auto, kept"):
        estimate(module, spec(functional=True, cotangent="rebuilt").build(parameters(module)), batch())


def test_new_options_at_their_defaults_leave_keys_as_they_were():
    assert spec().identity()["estimator"] == {
        "kind": "sharpness_aware",
        "rho": 0.3,
        "ascent": spec().estimator.ascent.identity(),
    }


@pytest.mark.parametrize("fields", [{"ascent": "momentum"}, {"ascent_fraction": 0.5}])
def test_where_the_loss_was_taken_is_said(fields):
    module = TinyLM()
    asked = oracle(module)
    before = float(asked.loss())
    info = spec(**fields).build(parameters(module)).step(asked)
    # SAM has looked at shifted weights alone (at the first step a momentum has not moved them), Functional-SAM has not.
    assert info.loss_at == "shifted weights"
    assert (float(info.loss) != pytest.approx(before)) == ("ascent_fraction" in fields)
    module = TinyLM()
    info = spec(functional=True, **fields).build(parameters(module)).step(oracle(module))
    assert info.loss_at == "weights" and float(info.loss) == pytest.approx(before)
