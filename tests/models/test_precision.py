"""What low precision does to products, and to a shift of the weights."""

import pytest
import torch
from torch import nn

from optbench.models.head import Head
from optbench.models.language_model import LanguageModel


def test_the_pull_back_multiplies_in_autocasts_precision_and_gives_back_that_of_its_inputs():
    torch.manual_seed(0)
    hidden = torch.randn(7, 5, requires_grad=True)
    linear = nn.Linear(5, 11)
    cotangent = torch.randn(7, 11)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = (nn.functional.linear(hidden, linear.weight, linear.bias).float() * cotangent).sum()
        ours = Head(nn.Identity(), linear).pullback(hidden, cotangent)
    expected = torch.autograd.grad(plain, [hidden, linear.weight, linear.bias])
    found = torch.autograd.grad(ours, [hidden, linear.weight, linear.bias])
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2)
    # Products in float32 would not be multiples of a bfloat16 spacing.
    assert torch.equal(found[1], found[1].bfloat16().float())


@pytest.mark.parametrize("bias", [True, False])
def test_the_pull_back_is_the_gradient_of_the_inner_product(bias):
    torch.manual_seed(0)
    hidden = torch.randn(7, 5, requires_grad=True, dtype=torch.float64)
    linear = nn.Linear(5, 11, bias=bias, dtype=torch.float64)
    cotangent = torch.randn(7, 11, dtype=torch.float64)
    inputs = [hidden, *linear.parameters()]
    expected = torch.autograd.grad((linear(hidden) * cotangent).sum(), inputs)
    found = torch.autograd.grad(Head(nn.Identity(), linear).pullback(hidden, cotangent), inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_rounding_to_tf32_keeps_ten_bits_of_the_mantissa():
    model = LanguageModel(nn.Linear(1, 1), head=None, precision="tf32")
    weight = torch.tensor([1.0, 1.0 + 2.0**-10, 1.0 + 2.0**-12, -1.0 - 2.0**-10 - 2.0**-12, 3.0e-20])
    found = model.rounded(weight, "hidden")
    assert found[:4].tolist() == [1.0, 1.0 + 2.0**-10, 1.0, -1.0 - 2.0**-10]
    assert abs(float(found[4] / weight[4]) - 1) <= 2.0**-11
    # To nearest, not towards zero.
    above = torch.tensor([1.0 + 2.0**-10 + 2.0**-11 + 2.0**-13])
    assert model.rounded(above, "hidden").tolist() == [1.0 + 2.0**-9]
    assert torch.equal(model.rounded(weight, "embedding"), weight)


@pytest.mark.parametrize(("precision", "changes"), [("float32", False), ("tf32", True), ("bf16", True)])
def test_only_products_round_and_only_in_low_precision(precision, changes):
    model = LanguageModel(nn.Linear(1, 1), head=None, precision=precision)
    weight = torch.tensor([0.1234567])
    assert torch.equal(model.rounded(weight, "hidden").float(), weight) is not changes
    assert torch.equal(model.rounded(weight, "vector"), weight)
