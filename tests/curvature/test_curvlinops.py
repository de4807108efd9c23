"""Another implementation of Hessian and GGN finds the same top eigenvalues."""

import families
import pytest
import torch
from scipy.sparse.linalg import eigsh

from optbench.curvature.exact import Exact
from optbench.curvature.krylov import top_eigenpairs
from optbench.curvature.vectors import gaussian
from optbench.rng import stream


class Supervised(torch.nn.Module):
    """Token ids of one part -> logits at its supervised positions."""

    def __init__(self, built, part):
        super().__init__()
        self.module, self.positions = built.module, part.positions

    def forward(self, ids_BT):
        return self.module(input_ids=ids_BT, use_cache=False).logits.flatten(0, 1)[self.positions]


class PlainSiLU(torch.nn.Module):
    """SiLU has no forward-mode derivative over a backward, which curvlinops takes for the Hessian."""

    def forward(self, x):
        return x * torch.sigmoid(x)


class PlainLayerNorm(torch.nn.Module):
    """Forward mode over the backward of the fused layer norm is wrong for its weight: that Hessian is not symmetric."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred * (centred.square().mean(-1, keepdim=True) + self.eps).rsqrt() * self.weight + self.bias


def with_plain_parts(module):
    for layer in list(module.modules()):
        for name, part in list(layer.named_children()):
            if isinstance(part, torch.nn.LayerNorm):
                setattr(layer, name, PlainLayerNorm(part))
            elif "silu" in type(part).__name__.lower():
                setattr(layer, name, PlainSiLU())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["llama", "phi"])
@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_top_eigenvalues_are_those_of_curvlinops(family, kind):
    from curvlinops import GGNLinearOperator, HessianLinearOperator

    built = families.model(family, attention="eager")
    oracle = families.oracle(built)
    with getattr(Exact(oracle), kind)() as product:
        start = gaussian(stream(0, "start"), torch.zeros(sum(p.numel() for p in oracle.parameters)).double())
        ours = top_eigenpairs(lambda v, _: product([v])[0], start, products=30, basis=30, tolerance=1e-4).top
    with_plain_parts(built.module)
    (part,) = oracle.batch.parts
    operator = {"hessian": HessianLinearOperator, "ggn": GGNLinearOperator}[kind]
    model = Supervised(built, part)
    matrix = operator(
        model,
        torch.nn.CrossEntropyLoss(),
        [p for p in model.parameters() if p.requires_grad],
        [(part.inputs["input_ids"], part.targets)],
        check_deterministic=False,
    ).to_scipy()
    theirs = eigsh(matrix, k=1, which="LA", tol=1e-6)[0][0]
    assert ours == pytest.approx(float(theirs), rel=1e-4)
