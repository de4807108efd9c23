"""What was planted is what it is said to be."""

from pathlib import Path

import pytest
import torch
from support import TinyLM, oracle, parameters

from optbench.optim.base import Optimizer
from optbench.optim.estimators import Plain
from optbench.optim.rules.adamw import AdamW
from optbench.optim.rules.torch_optimizer import TorchOptimizer

PLUGINS = Path(__file__).parent / "plugins"
STEPS, LR = 40, 0.015


def plugin(name, **options):
    return TorchOptimizer(target=f"{PLUGINS / name}", lr=LR, options=options)


def path_of(spec, *, factors=lambda step: 1.0, dtype=torch.float32):
    """The weights after each step on a small model, [steps, weights]."""
    module = TinyLM().to(dtype)
    params = parameters(module)
    optimizer = Optimizer(Plain(), spec.build(params), params)
    found = []
    for step in range(STEPS):
        optimizer.step(oracle(module), factors(step))
        found.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    return torch.stack(found)


def test_the_planted_improvement_is_adamw_on_a_trapezoid_to_the_bit():
    def trapezoid(step):
        return min(1.0, (1 - (step + 0.5) / STEPS) / 0.4)

    own = path_of(plugin("planted.py:Planted", steps=STEPS))
    assert torch.equal(own, path_of(AdamW(lr=LR), factors=trapezoid))
    constant = path_of(AdamW(lr=LR))
    same = (own == constant).all(dim=1)
    assert same[: int(0.6 * STEPS)].all() and not same[int(0.6 * STEPS) + 1 :].any()


def test_beyond_its_steps_the_planted_improvement_stands_still():
    own = path_of(plugin("planted.py:Planted", steps=STEPS // 2))
    assert torch.equal(own[STEPS // 2 - 1], own[-1]) and not torch.equal(own[STEPS // 2 - 2], own[-1])


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
def test_the_placebo_is_adamw_but_for_rounding(dtype, most):
    """Equal in exact arithmetic, and not in float32: else differences per seed were all 0, and nothing was tested."""
    own, built_in = path_of(plugin("placebo.py:Placebo"), dtype=dtype), path_of(AdamW(lr=LR), dtype=dtype)
    assert 0 < (own - built_in).abs().max() < most
    assert (built_in[-1] - built_in[0]).abs().max() > 0.1


@pytest.mark.parametrize("name", ["planted.py:Planted", "placebo.py:Placebo", "cautious.py:Cautious"])
def test_what_may_be_tuned_is_said_beside_the_code(name):
    assert set(plugin(name).search_space()) == {"lr"}


def test_the_example_of_the_guide_is_cautious():
    """Against the equation: of AdamW's update, the coordinates that agree in sign with the gradient, scaled to keep
    the mean."""
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(6, 5))
    start = p.detach().clone()
    rule = plugin("cautious.py:Cautious")._optimizer_class()([p], lr=0.1, weight_decay=0.5)
    gradients = torch.randn(2, 6, 5)
    w, m, v = start, torch.zeros(6, 5), torch.zeros(6, 5)
    for t, g in enumerate(gradients, start=1):
        p.grad = g.clone()
        rule.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        u = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        kept = (u * g > 0).float()
        w = (1 - 0.1 * 0.5) * w - 0.1 * u * kept / kept.mean()
        torch.testing.assert_close(p.detach(), w)
    assert 0 < kept.mean() < 1
