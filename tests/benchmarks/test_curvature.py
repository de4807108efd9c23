"""What a product with the Hessian costs beside a gradient, and a top eigenvalue beside the packages people use for it.

The model is Llama's architecture with 6 million parameters and a vocabulary of 8192, after 25 steps of AdamW; the batch
has 384 tokens in four rows, of which the second half is supervised, as in fine-tuning on answers. All in float32 on one
thread. Every package gets the same module, batch and loss, and attention as plain mathematics where it differentiates
twice: the fused kernels have no second derivative.
"""

import math
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from ratios import ratio
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaConfig, LlamaForCausalLM

from optbench.curvature.exact import Exact
from optbench.curvature.onesided import OneSided
from optbench.curvature.spectrum import spectrum
from optbench.curvature.vectors import norm, signs, taken
from optbench.oracle import Oracle
from optbench.rng import stream

pytestmark = pytest.mark.benchmark
VOCABULARY, ROWS, LENGTH, STEPS = 8192, 4, 96, 25
WITHIN = 0.01
"""Of the top eigenvalue: what everybody has to reach, and the tolerance that everybody is given."""


@dataclass
class Bench:
    module: nn.Module
    batch: dict[str, torch.Tensor]
    oracle: Oracle


@cache
def bench():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=1024,
        tie_word_embeddings=True,
        max_position_embeddings=256,
    )
    module = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(1)

    def draw():
        """Every second token follows from the one before it; the others are drawn, rare ones rarely."""
        ids = (VOCABULARY * torch.rand(ROWS, LENGTH, generator=generator) ** 4).long()
        ids[:, 1::2] = (ids[:, 0::2] * 7 + 3) % VOCABULARY
        labels = ids.clone()
        labels[:, : LENGTH // 2] = -100
        return {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)}

    adam = torch.optim.AdamW(module.parameters(), lr=3e-4, weight_decay=0.0)
    for _ in range(STEPS):
        adam.zero_grad()
        module(**draw(), use_cache=False).loss.backward()
        adam.step()
    module.eval()
    batch = draw()
    return Bench(module, batch, Oracle.from_batch(module, batch))


def start():
    like = torch.empty(sum(p.numel() for p in bench().oracle.parameters))
    return signs(stream(0, "benchmark"), like)


@cache
def reference():
    """The top eigenvalue: exact products, in twice as many steps as are needed for six digits."""
    with Exact(bench().oracle).hessian() as product:
        found = spectrum(lambda v, _: product([v])[0], [start()], products=20)
    assert found.largest_residual <= 1e-4 * found.largest
    return found


def fresh():
    """Nothing that a package left in the module helps or hampers the next."""
    bench().module.zero_grad(set_to_none=True)


def test_a_product_by_differences_costs_little_more_than_a_gradient(benchmark, row):
    # All 384 tokens supervised.
    oracle = Oracle.from_batch(bench().module, bench().batch | {"labels": bench().batch["input_ids"]})
    like = start()
    with Exact(oracle).hessian() as exact:
        top = spectrum(lambda v, _: exact([v])[0], [start()], products=8).largest
    directions = {"random": (like.div(math.sqrt(like.numel())), None)}
    oracle.gradient()
    gradient = taken(oracle.parameters)
    # As in a search, where no more is known than the largest curvature so far.
    directions["gradient"] = (gradient.div(norm(gradient)), top)
    errors = {}
    with Exact(oracle).hessian() as exact:
        expected = {name: exact([v])[0] for name, (v, _) in directions.items()}
    with OneSided(oracle).hessian() as differences:
        for name, (v, curvature) in directions.items():
            found = differences([v], curvature=curvature)[0]
            errors[name] = norm(found - expected[name]) / norm(expected[name])
        v = directions["random"][0]
        cost = ratio(lambda: differences([v]), oracle.gradient, rounds=16)
    fresh()
    with Exact(oracle).hessian() as exact:
        # Gradients with their graph stay as they are only as long as no weight is touched: exact products go last.
        twice = ratio(lambda: exact([v]), oracle.gradient, rounds=4)
    row("H v, one-sided differences, base gradient cached", "one gradient", "<= 1.2", cost.words)
    row("its relative error, random direction", "double backward", "<= 1%", f"{errors['random']:.2%}")
    row("its relative error, along the gradient", "double backward", "<= 1%", f"{errors['gradient']:.2%}")
    row("H v, double backward, graph cached", "one gradient", "", twice.words)
    assert max(errors.values()) <= 0.01
    assert cost.median <= 1.2


def by_differences():
    with OneSided(bench().oracle).hessian() as product:
        return spectrum(
            lambda v, known: product([v], curvature=known)[0],
            [start()],
            products=30,
            tolerance=WITHIN,
            ends="largest",
        )


def hessian_eigenthings(method, fd_eps=None):
    """Its Lanczos at so many steps: it does not stop by itself, but says afterwards whether it has converged."""
    package = pytest.importorskip("hessian_eigenthings")
    operators = pytest.importorskip("hessian_eigenthings.operators")
    losses = pytest.importorskip("hessian_eigenthings.loss_fns.huggingface")
    operator = operators.HessianOperator(
        bench().module, [bench().batch], losses.hf_lm_loss(), method=method, fd_eps=fd_eps
    )

    def search(steps):
        with sdpa_kernel([SDPBackend.MATH]) if method == "autograd" else nullcontext():
            found = package.lanczos(operator, k=1, max_iter=steps, tol=WITHIN, which="LA", seed=0)
        return float(found.eigenvalues[0]), bool(found.converged[0])

    return search


def error(value):
    return abs(value / reference().largest - 1)


def cheapest(search):
    """The fewest steps after which it says that it has converged, and the value is within 1%: found beforehand, at no
    charge, though whoever does not know the answer would have to pay for it."""
    for steps in range(5, 13):
        value, converged = search(steps)
        if converged and error(value) <= WITHIN:
            return steps
    return None


@pytest.mark.parametrize(("method", "fd_eps", "least"), [("autograd", None, 2.0), ("finite_difference", 1e-3, 1.5)])
def test_a_top_eigenvalue_beside_hessian_eigenthings(benchmark, row, method, fd_eps, least):
    """Its differences are central ones, two gradients a product, and with their default step never within 1%."""
    search = hessian_eigenthings(method, fd_eps)
    steps = cheapest(search)
    assert steps is not None
    found = by_differences()
    assert error(found.largest) <= WITHIN
    fresh()
    cost = ratio(lambda: search(steps), by_differences, rounds=4)
    ours = f"ours {found.products} products, {error(found.largest):.2%} off"
    name = method if fd_eps is None else f"{method}, fd_eps {fd_eps}"
    against = f"hessian-eigenthings, {name}, {steps} products, {error(search(steps)[0]):.2%} off"
    row(f"time of theirs over ours, top eigenvalue to 1%: {ours}", against, f">= {least}", cost.words)
    assert cost.median >= least


def test_a_top_eigenvalue_beside_pyhessian(benchmark, row):
    """Power iteration: to the eigenvalue largest in size, at the pace of its lead over the next.

    Twice the speed is not reached where that lead is as good as here (19.97 over 12): six products do for both. Theirs
    are 1 + 6 x 2 gradients, the graph cached; ours 1 + 6, and half a gradient or so for vectors and shifts.
    """
    package = pytest.importorskip("pyhessian")
    one = bench()

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = one.module

        def forward(self, ids):
            return self.inner(input_ids=ids, use_cache=False).logits

    def loss(logits, labels):
        return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)

    def search(tolerance):
        torch.manual_seed(0)
        fresh()
        with sdpa_kernel([SDPBackend.MATH]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of torch: a backward that keeps its graph in p.grad.
            data = (one.batch["input_ids"], one.batch["labels"])
            found = package.hessian(Logits(), loss, data=data, cuda=False).eigenvalues(maxIter=100, tol=tolerance)
        fresh()
        return found[0][0]

    tolerance = next((t for t in (1e-2, 3e-3, 1e-3) if error(search(t)) <= WITHIN), None)
    assert tolerance is not None
    found = by_differences()
    assert error(found.largest) <= WITHIN
    cost = ratio(lambda: search(tolerance), by_differences, rounds=4)
    against = f"PyHessian, power iteration, tol {tolerance}, {error(search(tolerance)):.2%} off"
    ours = f"ours {found.products} products, {error(found.largest):.2%} off"
    row(f"time of theirs over ours, top eigenvalue to 1%: {ours}", against, ">= 2 (1.6 asserted)", cost.words)
    assert cost.median >= 1.6
