"""Lanczos without a basis, against dense matrices: both ends, residuals, trace, density, ghosts, and what it holds."""

import weakref

import families
import numpy as np
import pytest
import support
import torch

from optbench.curvature.differences import Differences
from optbench.curvature.exact import Exact
from optbench.curvature.onesided import OneSided
from optbench.curvature.spectrum import LEAST, spectrum
from optbench.curvature.vectors import dot, norm, signs, views
from optbench.rng import stream


def matrix(*, size=60, dtype=torch.float64, ends=(9.0, 7.0, -8.0, 3.0)):
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.standard_normal((size, size)))
    values = np.concatenate([ends, rng.normal(0, 0.5, size - len(ends))])
    return torch.from_numpy(q * values @ q.T).to(dtype)


def start(seed, like):
    return signs(stream(seed, "start"), like)


def by(a):
    return lambda v, known: a @ v


def plain(a, v, steps):
    """The recurrence written down once more, with a basis and full reorthogonalisation: alpha, beta."""
    basis, alphas, betas = [v / np.linalg.norm(v)], [], []
    for _ in range(steps):
        w = a @ basis[-1]
        alphas.append(basis[-1] @ w)
        for _ in range(2):
            for q in basis:
                w = w - (q @ w) * q
        betas.append(np.linalg.norm(w))
        basis.append(w / betas[-1])
    return np.array(alphas), np.array(betas)


def test_it_is_lanczos_to_ten_digits():
    a = matrix()
    alphas, betas = plain(a.numpy(), start(0, a[0]).numpy(), 12)
    t = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
    values, vectors = np.linalg.eigh(t)
    found = spectrum(by(a), [start(0, a[0])], products=12)
    np.testing.assert_allclose(found.nodes, values, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.weights, 60 * vectors[0] ** 2, rtol=1e-8, atol=1e-10)
    assert found.largest_residual == pytest.approx(betas[-1] * abs(vectors[-1, -1]), rel=1e-6)
    assert found.smallest_residual == pytest.approx(betas[-1] * abs(vectors[-1, 0]), rel=1e-6)
    v = start(0, a[0])
    assert found.trace == pytest.approx(float(v @ a @ v), rel=1e-12)
    assert (found.smallest, found.largest, found.products) == (found.nodes[0], found.nodes[-1], 12)


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_ghosts_hurt_neither_the_ends_nor_their_residuals_nor_the_trace(dtype, digits):
    """More products than the matrix has rows: orthogonality is long gone."""
    a = matrix(dtype=dtype)
    values = np.linalg.eigvalsh(a.double().numpy())
    found = spectrum(by(a), [start(0, a[0])], products=75)
    assert np.sum(np.abs(found.nodes - values[-1]) < 1e-3) >= 2, "no ghost came up, so that nothing is tested"
    assert found.products > 60
    assert abs(found.largest - values[-1]) <= digits * values[-1]
    assert abs(found.smallest - values[0]) <= digits * values[-1]
    assert max(found.largest_residual, found.smallest_residual) <= 1e-3
    v = start(0, a[0]).double()
    assert float(found.weights @ found.nodes) == pytest.approx(float(v @ a.double() @ v), rel=1e-4)
    assert found.weights.sum() == pytest.approx(60)
    # Copies share the weight of what they are copies of.
    top = np.linalg.eigh(a.double().numpy())[1][:, -1]
    near = np.abs(found.nodes - values[-1]) < 1e-2
    assert found.weights[near].sum() == pytest.approx(float(v.numpy() @ top) ** 2, rel=1e-3)


@pytest.mark.parametrize("products", [3, 6, 9, 14, 25])
def test_an_eigenvalue_lies_within_the_residual_of_either_end(products):
    a = matrix(size=120)
    values = np.linalg.eigvalsh(a.numpy())
    for seed in range(20):
        found = spectrum(by(a), [start(seed, a[0])], products=products)
        slack = 1e-9
        assert np.abs(values - found.largest).min() <= found.largest_residual + slack
        assert np.abs(values - found.smallest).min() <= found.smallest_residual + slack
        assert values[0] - slack <= found.smallest <= found.largest <= values[-1] + slack


def test_it_stops_at_the_tolerance_of_the_ends_that_are_asked_for():
    a = matrix(ends=(9.0, 3.0, -2.0, -1.9))
    one = spectrum(by(a), [start(0, a[0])], products=60, tolerance=1e-3, ends="largest")
    both = spectrum(by(a), [start(0, a[0])], products=60, tolerance=1e-3, ends="both")
    assert LEAST <= one.products < both.products < 60
    assert one.largest_residual <= 1e-3 * one.largest
    assert one.smallest_residual > 1e-3 * one.largest
    assert max(both.largest_residual, both.smallest_residual) <= 1e-3 * both.largest
    assert spectrum(by(a), [start(0, a[0])], products=4, tolerance=1.0).products == 4
    assert spectrum(by(a), [start(0, a[0])], products=60, tolerance=1.0).products == LEAST


def test_an_exhausted_space_ends_the_run_and_nothing_is_no_start():
    a = torch.diag(torch.tensor([5.0, 5.0, -1.0, 2.0], dtype=torch.float64))
    found = spectrum(by(a), [start(0, a[0])], products=50)
    assert found.products == 3
    assert (found.smallest, found.largest) == (pytest.approx(-1.0), pytest.approx(5.0))
    zero = spectrum(by(0 * a), [start(0, a[0])], products=50)
    assert (zero.products, zero.largest, zero.trace) == (1, 0.0, 0.0)
    with pytest.raises(ValueError, match="start"):
        spectrum(by(a), [], products=3)


def test_the_trace_lies_within_its_stated_error_and_one_start_has_none():
    a, off = matrix(), []
    assert np.isnan(spectrum(by(a), [start(0, a[0])], products=2).trace_error)
    for seed in range(200):
        found = spectrum(by(a), [start(1000 * seed + i, a[0]) for i in range(8)], products=2)
        off.append((found.trace - float(a.trace())) / found.trace_error)
    # Student's t with 7 degrees of freedom: 8.6 of a hundred beyond 2.
    assert 0.02 < np.mean(np.abs(off) > 2) < 0.14
    assert abs(np.median(off)) < 0.25


def test_the_density_is_that_of_all_eigenvalues():
    a = matrix(size=300, ends=(1.5, -1.5))
    values = np.linalg.eigvalsh(a.numpy())
    found = spectrum(by(a), (start(seed, a[0]) for seed in range(10)), products=30)
    assert found.weights.sum() == pytest.approx(300)
    # A quadrature of 30 nodes is exact for squares, start by start.
    squares = [float((a @ start(seed, a[0])).square().sum()) for seed in range(10)]
    assert found.weights @ found.nodes**2 == pytest.approx(np.mean(squares), rel=1e-9)
    points = np.linspace(-4, 4, 400)
    smooth = found.density(points, width=0.2)
    curves = np.exp(-0.5 * ((points[:, None] - values) / 0.2) ** 2) / (0.2 * np.sqrt(2 * np.pi))
    assert np.trapezoid(smooth, points) == pytest.approx(300, rel=1e-3)
    assert np.trapezoid(np.abs(smooth - curves.sum(1)), points) <= 0.1 * 300


def test_three_vectors_are_held_and_no_more():
    a, alive, most = matrix(), [], []

    def multiply(v, known):
        most.append(sum(r() is not None for r in alive))
        product = a @ v
        alive.append(weakref.ref(product))
        return product

    spectrum(multiply, [start(0, a[0])], products=25)
    # Two while the third is made; the start is not among those that are counted.
    assert max(most) == 2


def test_the_size_of_the_spectrum_is_known_to_a_factor_of_three_from_the_second_product_on():
    a, told = matrix(size=400, ends=(9.0,)), []
    top = float(np.abs(np.linalg.eigvalsh(a.numpy())).max())
    spectrum(lambda v, known: told.append(known) or a @ v, [start(0, a[0])], products=12)
    assert told[0] is None
    assert all(top / 3 <= known <= 3 * top for known in told[1:])
    frobenius = float(a.square().sum().sqrt())
    assert told[1] == pytest.approx(frobenius, rel=0.2)
    assert told[-1] == pytest.approx(top, rel=1e-3)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_both_ends_of_a_family_are_those_of_its_dense_hessian(family):
    double = families.oracle(families.model(family), examples=3)
    size = sum(p.numel() for p in double.parameters)
    with Exact(double).hessian() as product:
        values = np.linalg.eigvalsh(families.dense(product, size).numpy())
    like = torch.zeros(size, dtype=torch.float64)
    with Exact(double).hessian() as product:
        found = spectrum(lambda v, _: product([v])[0], [start(0, like)], products=60)
    assert found.largest == pytest.approx(values[-1], rel=1e-5)
    assert found.smallest == pytest.approx(values[0], rel=1e-5)
    single = families.oracle(families.model(family, dtype=torch.float32), examples=3)
    for made, tolerance in ((Exact, 1e-4), (OneSided, 1e-2)):
        with made(single).hessian() as product:
            found = spectrum(
                lambda v, known, product=product: product([v], curvature=known)[0],
                [start(0, like.float())],
                products=40,
                tolerance=1e-3,
            )
        assert found.largest == pytest.approx(values[-1], rel=tolerance), made.__name__
        assert found.smallest == pytest.approx(values[0], abs=tolerance * values[-1]), made.__name__


@pytest.mark.parametrize("family", families.NAMES)
def test_one_sided_products_are_exact_to_a_hundredth_and_leave_the_weights_alone(family):
    oracle = families.oracle(families.model(family, dtype=torch.float32))
    before = [p.detach().clone() for p in oracle.parameters]
    like = torch.zeros(sum(p.numel() for p in oracle.parameters))
    oracle.gradient()
    gradient = torch.cat([p.grad.flatten() for p in oracle.parameters])
    with Exact(oracle).hessian() as product:
        top = spectrum(lambda v, _: product([v])[0], [start(0, like)], products=20).largest
        directions = {"gradient": gradient / norm(gradient), "random": start(1, like).div_(norm(start(1, like)))}
        expected = {name: product([v])[0] for name, v in directions.items()}
    passes = oracle.passes
    with OneSided(oracle).hessian() as product:
        for name, v in directions.items():
            # Relative to the largest curvature: what a search needs.
            assert norm(product([v], curvature=top)[0] - expected[name]) <= 0.01 * top, name
            assert norm(product([3 * v], curvature=top)[0] - 3 * expected[name]) <= 0.03 * top, name
    assert oracle.passes - passes == 5, "four products and the gradient at the weights"
    assert all(torch.equal(p, w) for p, w in zip(oracle.parameters, before, strict=True))
    assert all(p.grad is None for p in oracle.parameters)


def test_one_sided_products_are_those_of_shifted_gradients_in_float64():
    module = support.TinyLM()
    oracle = support.oracle(module)
    like = torch.zeros(sum(p.numel() for p in oracle.parameters), dtype=torch.float64)
    v = start(0, like).div_(norm(start(0, like)))
    made = OneSided(oracle)
    with made.hessian() as product:
        (found,) = product([v], curvature=3.0)
        (central,) = product([v], curvature=3.0, fine=True)
    gradients = []
    oracle.gradient()
    length = norm(torch.cat([p.grad.flatten() for p in oracle.parameters]))
    step = min(max(1e-6 * length / (1e-3 * 3.0), 1e-7 * made._size), 3e-5 * made._size)
    for shift in (step, 0.0):
        moved = support.TinyLM()
        with torch.no_grad():
            for p, e in zip(moved.parameters(), views(v, list(moved.parameters())), strict=True):
                p.add_(shift * e)
        other = support.oracle(moved)
        other.gradient()
        gradients.append(torch.cat([p.grad.flatten() for p in other.parameters]))
    torch.testing.assert_close(found, (gradients[0] - gradients[1]) / step, rtol=1e-8, atol=1e-10)
    with Differences(oracle).hessian() as product:
        assert torch.equal(central, product([v], curvature=3.0, fine=True)[0])


def test_a_failing_gradient_leaves_the_weights_as_they_were():
    module = support.TinyLM()
    oracle = support.oracle(module)
    before = [p.detach().clone() for p in module.parameters()]
    v = torch.ones(sum(p.numel() for p in module.parameters()), dtype=torch.float64)
    with OneSided(oracle).hessian() as product:
        product([v])

        def broken():
            raise KeyError("broken")

        oracle.gradient = broken
        with pytest.raises(KeyError):
            product([v])
    assert all(torch.equal(p, w) for p, w in zip(module.parameters(), before, strict=True))
    assert dot(v, v) == len(v)
