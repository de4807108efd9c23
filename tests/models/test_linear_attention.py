"""Linear attention from its sufficient statistic is linear attention over the raw tokens."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from optbench.errors import UserError
from optbench.models.linear_attention import LinearAttention
from optbench.models.roles import parameters_of
from optbench.oracle import Batch, Oracle, Part

D, N = 3, 7
FORMS = [{"key_query": "separate", "rank": 1}, {"key_query": "separate", "rank": 2}, {"key_query": "merged"}]


def built(seed=0, **fields):
    spec = LinearAttention(dims=D, heads=4, **{"init": 0.7, **fields})
    return spec.build(seed=seed, device="cpu", precision="float32", attention="sdpa")


def raw_sequences(count=6, seed=0):
    """Tokens [n, N + 1, D + 1]: pairs (x, y), and a query with 0 in the place of y; and the answers [n]."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, N + 1, D))
    w = rng.normal(size=(count, D))
    y = np.einsum("nld,nd->nl", x, w)
    tokens = np.concatenate([x, y[..., None]], axis=2)
    tokens[:, -1, -1] = 0.0
    return tokens, y[:, -1]


def full_attention(module, tokens):
    """Linear self-attention of every token to every token, in float64, read at the place of the query's y.

    Whole (D + 1) x (D + 1) matrices for each head, zero wherever x and y would mix; divided by N.
    """
    heads = len(module.value)
    out = np.zeros(len(tokens))
    for h in range(heads):
        value = np.zeros((D + 1, D + 1))
        value[D, D] = float(module.value.detach()[h])
        if hasattr(module, "key_query"):
            merged = module.key_query.detach().double().numpy().reshape(heads, D, D)[h]
        else:
            key, query = (p.detach().double().numpy().reshape(heads, -1, D)[h] for p in (module.key, module.query))
            merged = sum(np.outer(k, q) for k, q in zip(key, query, strict=True))
        scores = np.zeros((D + 1, D + 1))
        scores[:D, :D] = merged
        for s, sequence in enumerate(tokens):
            attention = sequence @ scores @ sequence.T  # [key position, query position]
            carried = attention.T @ (sequence @ value.T)
            out[s] += carried[-1, D] / (len(sequence) - 1)
    return out


def batch_of(tokens, targets):
    beta = (tokens[:, :-1, D:] * tokens[:, :-1, :D]).sum(axis=1) / N
    inputs = {"beta": torch.tensor(beta).float(), "query": torch.tensor(tokens[:, -1, :D]).float()}
    part = Part(inputs, torch.arange(len(tokens)), torch.tensor(targets).float())
    return Batch([part], num_tokens=len(tokens) * (N + 1), num_supervised=len(tokens))


def squared_error(outputs, targets):
    return (outputs[:, 0] - targets).square()


@pytest.mark.parametrize("form", FORMS)
def test_predictions_from_beta_are_those_of_attention_over_the_raw_tokens(form):
    model = built(**form)
    tokens, targets = raw_sequences()
    (part,) = batch_of(tokens, targets).parts
    found = model.outputs(part).detach().numpy()
    assert found.shape == (len(tokens), 1)
    np.testing.assert_allclose(found[:, 0], full_attention(model.module, tokens), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_effective_matrix_says_what_the_model_predicts(form):
    model = built(**form)
    (part,) = batch_of(*raw_sequences()).parts
    beta, query = (part.inputs[name].double().numpy() for name in ("beta", "query"))
    expected = np.einsum("nd,de,ne->n", beta, model.effective_matrix(), query)
    np.testing.assert_allclose(model.outputs(part).detach().numpy()[:, 0], expected, rtol=1e-4, atol=1e-6)


def test_the_gradient_of_the_oracle_is_the_formula_in_numpy():
    model = built(rank=2)
    tokens, targets = raw_sequences(count=9)
    batch = batch_of(tokens, targets)
    (part,) = batch.parts
    beta, query = (part.inputs[name].double().numpy() for name in ("beta", "query"))
    v, k, q = (getattr(model.module, n).detach().double().numpy() for n in ("value", "key", "query"))
    k, q = k.reshape(4, 2, D), q.reshape(4, 2, D)
    residual = np.einsum("nd,h,hrd,hre,ne->n", beta, v, k, q, query) - targets
    by_matrix = np.einsum("n,nd,ne->de", 2 * residual, beta, query) / len(targets)
    Oracle(model, squared_error, batch).gradient()
    expected = {
        "value": np.einsum("de,hrd,hre->h", by_matrix, k, q),
        "key": np.einsum("de,h,hre->hrd", by_matrix, v, q).reshape(8, D),
        "query": np.einsum("de,h,hrd->hre", by_matrix, v, k).reshape(8, D),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(model.module, name).grad.numpy(), values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_pull_back_of_the_kept_cotangent_is_the_gradient(form):
    model = built(**form)
    oracle = Oracle(model, squared_error, batch_of(*raw_sequences()))
    kept = oracle.gradient(keep=True).cotangent
    expected = [p.grad.clone() for p in model.module.parameters()]
    oracle.gradient(cotangent=kept)
    for own, p in zip(expected, model.module.parameters(), strict=True):
        torch.testing.assert_close(p.grad, own, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"key_query": "separate", "rank": 4}, {"value": 50**-0.5, "key": 4000**-0.5, "query": 4000**-0.5}),
        ({"key_query": "merged"}, {"value": 1.0, "key_query": 1.0}),
    ],
)
def test_initial_weights_have_the_stated_standard_deviations(form, expected):
    spec = LinearAttention(dims=20, heads=50, init=0.3, **form)
    module = spec.build(seed=3, device="cpu", precision="float32", attention="sdpa").module
    assert {name for name, _ in module.named_parameters()} == set(expected)
    for name, p in module.named_parameters():
        assert float(p.detach().std()) == pytest.approx(0.3 * expected[name], rel=5 / p.numel() ** 0.5)


def test_weights_depend_on_the_seed_alone():
    state = torch.get_rng_state()
    flat = [torch.cat([p.flatten() for p in built(seed).module.parameters()]) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])


@pytest.mark.parametrize("form", FORMS)
def test_dimensions_list_the_matrices_that_are_there(form):
    spec = LinearAttention(dims=D, heads=4, **form)
    found = sorted(tuple(p.tensor.shape) for p in parameters_of(built(**form).module) if p.role == "hidden")
    assert found == sorted(spec.dimensions().hidden_matrices())
    assert spec.dimensions().head_forward_flops(supervised=10) == 10 * 2 * D * (D + 1)


def test_what_means_nothing_is_refused():
    with pytest.raises(ValidationError, match="rank is that of separate key and query"):
        LinearAttention(key_query="merged", rank=2)
    with pytest.raises(UserError, match="float32"):
        LinearAttention().build(seed=0, device="cpu", precision="bf16", attention="sdpa")
