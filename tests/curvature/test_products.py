"""The three products are those of dense matrices, on every family, however the batch is cut."""

import families
import pytest
import support
import torch
from torch.func import functional_call

from optbench.curvature.differences import Differences
from optbench.curvature.exact import Exact
from optbench.curvature.vectors import flat, norm, views
from optbench.models.language_model import cross_entropy
from optbench.oracle import Batch, Oracle, Part

KINDS = ["hessian", "ggn", "functional"]


def references(module, oracle):
    """Hessian, GGN and functional part of a support.TinyLM by torch.autograd.functional, and from their definitions."""
    parameters = dict(module.named_parameters())
    names = list(parameters)
    (part,) = oracle.batch.parts

    def outputs(vector):
        named = dict(zip(names, views(vector, list(parameters.values())), strict=True))
        logits = functional_call(module, named, kwargs=dict(part.inputs), tie_weights=True)
        return logits.flatten(0, 1)[part.positions]

    def mean(output):
        return cross_entropy(output, part.targets).sum() / oracle.batch.num_supervised

    w = flat(list(parameters.values()))
    here = outputs(w).detach().requires_grad_()
    (cotangent,) = torch.autograd.grad(mean(here), here)
    hessian = torch.autograd.functional.hessian(lambda v: mean(outputs(v)), w)
    jacobian = torch.autograd.functional.jacobian(outputs, w).flatten(0, 1)
    inner = torch.autograd.functional.hessian(mean, here.detach()).reshape(len(jacobian), len(jacobian))
    functional = torch.autograd.functional.hessian(lambda v: (outputs(v) * cotangent).sum(), w)
    return {"hessian": hessian, "ggn": jacobian.T @ inner @ jacobian, "functional": functional}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("keep", [True, False])
def test_exact_products_are_those_of_dense_matrices(tied, keep):
    module = support.TinyLM(tied=tied)
    oracle = support.oracle(module)
    expected = references(module, oracle)
    products = Exact(oracle, keep=keep)
    for kind in KINDS:
        with getattr(products, kind)() as product:
            found = families.dense(product, len(expected[kind]))
        torch.testing.assert_close(found, expected[kind], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fine", [False, True])
def test_differences_are_close_to_dense_matrices(kind, fine):
    module = support.TinyLM()
    oracle = support.oracle(module)
    expected = references(module, oracle)[kind]
    v = torch.randn(len(expected), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with getattr(Differences(oracle), kind)() as product:
        (found,) = product([v], curvature=10.0, fine=fine)
    assert norm(found - expected @ v) <= (1e-6 if fine else 1e-2) * norm(expected @ v)


@pytest.mark.parametrize("family", families.NAMES)
def test_every_family_has_its_dense_hessian_and_the_parts_add_up(family):
    built = families.model(family)
    oracle = families.oracle(built)
    size = sum(p.numel() for p in oracle.parameters)
    v = torch.randn(size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    products, found = Exact(oracle), {}
    for kind in KINDS:
        with getattr(products, kind)() as product:
            (found[kind],) = product([v])
            (w,) = product([v.flip(0)])
            assert float(w @ v) == pytest.approx(float(found[kind] @ v.flip(0)), rel=1e-5, abs=1e-4), "not symmetric"
    assert norm(found["ggn"] + found["functional"] - found["hessian"]) <= 1e-6 * norm(found["hessian"])
    # The families round norms and logits to float32 even here, so that differences know three digits and no more.
    step, gradients = 3e-3, []
    for sign in (1, -1):
        with torch.no_grad():
            for p, e in zip(oracle.parameters, views(v / norm(v), oracle.parameters), strict=True):
                p.add_(e, alpha=sign * step * (1 if sign > 0 else 2))
        oracle.gradient()
        gradients.append(flat([p.grad for p in oracle.parameters]))
    reference = (gradients[0] - gradients[1]) / (2 * step) * norm(v)
    assert norm(reference - found["hessian"]) <= 2e-3 * norm(found["hessian"])


@pytest.mark.parametrize("family", families.NAMES)
def test_padding_and_micro_batches_change_nothing(family):
    built = families.model(family)
    found = []
    for micro_batch in (64, 4, 1):
        oracle = families.oracle(built, micro_batch=micro_batch)
        size = sum(p.numel() for p in oracle.parameters)
        v = torch.randn(size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        of_kinds = []
        for kind in KINDS:
            with getattr(Exact(oracle), kind)() as product:
                of_kinds += product([v])
        found.append(torch.stack(of_kinds))
    # A batch of one example has no padding at all.
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, rtol=1e-6, atol=1e-6 * float(found[0].abs().max()))


def test_a_loss_of_ones_own_has_its_own_hessian():
    """Squared error of a linear model: H = GGN = 2 X^T X / N, and no functional part."""
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    module = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)

    class Regression(support.Plainly):
        def outputs(self, part):
            return self.module(part.inputs["x"])

    batch = Batch([Part({"x": x}, torch.arange(5), torch.zeros(5, 1, dtype=torch.float64))], 5, 5)
    oracle = Oracle(Regression(module), lambda f, y: (f - y).square().sum(1), batch)
    expected = 2 * x.T @ x / 5
    for mode in (Exact, Differences):
        products = mode(oracle)
        for kind, matrix in (("hessian", expected), ("ggn", expected), ("functional", 0 * expected)):
            with getattr(products, kind)() as product:
                torch.testing.assert_close(families.dense(product, 3), matrix, rtol=1e-6, atol=1e-6)


def test_frozen_parameters_are_left_out():
    module = support.TinyLM()
    full = references(module, support.oracle(module))["hessian"]
    module.embedding.weight.requires_grad_(False)
    oracle = support.oracle(module)
    with Exact(oracle).hessian() as product:
        found = families.dense(product, sum(p.numel() for p in oracle.parameters))
    order = [name for name, _ in module.named_parameters()]
    sizes = [p.numel() for p in module.parameters()]
    keep = torch.cat([torch.full((n,), name != "embedding.weight") for name, n in zip(order, sizes, strict=True)])
    torch.testing.assert_close(found, full[keep][:, keep], rtol=1e-9, atol=1e-11)
