"""Top eigenvalue and trace, against dense matrices."""

import families
import numpy as np
import pytest
import torch

from optbench.curvature.differences import Differences
from optbench.curvature.exact import Exact
from optbench.curvature.krylov import rayleigh, top_eigenpairs
from optbench.curvature.trace import trace
from optbench.curvature.vectors import dot, gaussian, norm, rotate_, signs
from optbench.rng import stream


def matrix(seed=0, size=60):
    """Symmetric, indefinite, with a few large eigenvalues of both signs."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((size, size)))
    values = np.concatenate([[9.0, 7.0, -8.0, 3.0], rng.normal(0, 0.5, size - 4)])
    return torch.from_numpy(q * values @ q.T)


def start(seed, like):
    return gaussian(stream(seed, "start"), like)


@pytest.mark.parametrize("basis", [40, 4, 3])
def test_the_top_eigenpair_is_that_of_the_dense_matrix_and_the_residual_is_true(basis):
    a = matrix()
    found = top_eigenpairs(lambda v, known: a @ v, start(0, a[0]), products=60, basis=basis, tolerance=1e-4)
    top = np.linalg.eigvalsh(a.numpy())[-1]
    assert abs(found.top - top) <= 1e-6 * top
    assert found.residual <= 1e-4
    assert found.products < 60
    value, residual = rayleigh(found.vectors[-1], a @ found.vectors[-1])
    assert value == pytest.approx(found.top, rel=1e-9)
    assert residual == pytest.approx(found.residual, rel=1e-3, abs=1e-8)
    gram = torch.stack(found.vectors) @ torch.stack(found.vectors).T
    torch.testing.assert_close(gram, torch.eye(len(gram), dtype=gram.dtype), rtol=0, atol=1e-10)


def test_the_largest_is_found_and_not_the_largest_in_absolute_value():
    a = torch.diag(torch.tensor([-5.0, 1.0, 2.0, 0.5], dtype=torch.float64))
    found = top_eigenpairs(lambda v, known: a @ v, start(0, a[0]), products=20, basis=20, tolerance=1e-8)
    assert found.top == pytest.approx(2.0)


def test_a_start_that_hides_the_top_vector_does_not_end_the_search_early():
    a = torch.diag(torch.cat([torch.tensor([10.0, 8.0]), torch.linspace(-1, 1, 60)])).double()
    hidden = torch.ones(62, dtype=torch.float64)
    hidden[0] = 0.01
    found = top_eigenpairs(lambda v, known: a @ v, hidden, products=30, basis=30, tolerance=0.01)
    assert found.top == pytest.approx(10.0, rel=1e-3)


def test_the_products_end_at_the_budget():
    a, asked = matrix(), []
    found = top_eigenpairs(
        lambda v, known: asked.append(known) or a @ v, start(0, a[0]), products=7, basis=4, tolerance=1e-15
    )
    assert len(asked) == found.products == 7
    assert asked[0] is None


@pytest.mark.parametrize("deflated", [False, True])
def test_the_trace_lies_within_its_stated_error(deflated):
    a = matrix()
    true, off = float(a.trace()), []
    for seed in range(200):
        ritz = None
        if deflated:
            ritz = top_eigenpairs(lambda v, known: a @ v, start(seed, a[0]), products=8, basis=8, tolerance=0.0)
        value, error = trace(
            lambda vs: [a @ v for v in vs],
            ritz,
            lambda i, seed=seed: signs(stream(seed, "trace", i), a[0]),
            probes=8,
            at_once=3,
        )
        off.append((value - true) / error)
    # Student's t with 7 degrees of freedom: 0.5 of a hundred beyond 4.0, 8.6 beyond 2, on average none to either side.
    assert np.mean(np.abs(off) > 2) < 0.14
    assert np.mean(np.abs(off) > 4) < 0.03
    assert np.mean(np.abs(off) > 2) > 0.02, "the stated error is far too large"
    assert abs(np.median(off)) < 0.25


def test_a_known_space_makes_the_trace_more_precise():
    a = matrix()
    ritz = top_eigenpairs(lambda v, known: a @ v, start(1, a[0]), products=12, basis=12, tolerance=0.0)
    errors = [
        np.mean(
            [
                trace(
                    lambda vs: [a @ v for v in vs],
                    known,
                    lambda i, seed=seed: signs(stream(seed, "trace", i), a[0]),
                    probes=8,
                    at_once=1,
                )[1]
                for seed in range(30)
            ]
        )
        for known in (None, ritz)
    ]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("family", families.NAMES)
def test_top_eigenvalues_of_every_family_are_those_of_its_dense_matrices(family):
    oracle = families.oracle(families.model(family))
    size = sum(p.numel() for p in oracle.parameters)
    like = torch.zeros(size, dtype=torch.float64)
    single = families.oracle(families.model(family, dtype=torch.float32))
    for kind in ("hessian", "ggn"):
        with getattr(Exact(oracle), kind)() as product:
            values = np.linalg.eigvalsh(families.dense(product, size).numpy())
        for mode, tolerance in ((Exact, 1e-3), (Differences, 1e-2)):
            with getattr(mode(single), kind)() as product:
                ritz = top_eigenpairs(
                    lambda v, known, product=product: product([v], curvature=known)[0],
                    start(0, like.float()),
                    products=24,
                    basis=24,
                    tolerance=0.01,
                )
                top = ritz.top
                if mode is Differences:
                    v = ritz.vectors[-1]
                    top, _ = rayleigh(v, product([v], curvature=top, fine=True)[0])
            assert abs(top - values[-1]) <= tolerance * values[-1], (kind, mode.__name__, top, values[-1])


def test_sums_are_taken_in_float64_and_turning_a_basis_is_a_product():
    a = torch.full((3_000_000,), 0.1)
    assert dot(a, a) == pytest.approx(3_000_000 * float(a[0]) ** 2, rel=1e-12)
    rows = [torch.randn(5, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(3)]
    by = np.random.default_rng(0).standard_normal((3, 3))
    expected = torch.stack(rows).T @ torch.from_numpy(by)
    rotate_(rows, by)
    torch.testing.assert_close(torch.stack(rows).T, expected)
    assert norm(torch.tensor([3.0, 4.0])) == 5.0
