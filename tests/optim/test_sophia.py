"""Sophia: its equations in float64, its diagonal against the Gauss-Newton matrix, and draws that no cut changes."""

import copy
import math
from types import SimpleNamespace

import families
import pytest
import torch
from torch import nn

from optbench.errors import UserError
from optbench.models.language_model import LanguageModel, batch_of_labels, cross_entropy
from optbench.models.roles import parameters_of
from optbench.optim.answers import drawn
from optbench.optim.specs import OptimizerSpec
from optbench.oracle import Batch, Oracle, Part, of_rows

VOCABULARY = 7


class Tiny(nn.Module):
    """Next-token logits [B, T, V] from the token alone: small enough for its Gauss-Newton matrix to be written out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 3)
        self.out = nn.Linear(3, VOCABULARY)

    def forward(self, input_ids, **_):
        return SimpleNamespace(logits=self.out(torch.tanh(self.embed(input_ids))))


@pytest.fixture
def tiny():
    torch.manual_seed(3)
    return Tiny().double()


def batch(examples=6, length=5, seed=0):
    ids = torch.randint(0, VOCABULARY, (examples, length), generator=torch.Generator().manual_seed(seed))
    labels = ids.clone()
    labels[:, :2] = -100
    return batch_of_labels({"input_ids": ids, "labels": labels})


def oracle(module, given):
    return Oracle(LanguageModel(module=module, head=None), cross_entropy, given)


def spec(every=1, max_norm=math.inf, **rule):
    estimator = {"kind": "gauss_newton_bartlett", "refresh_every": every}
    return OptimizerSpec.model_validate(
        {"estimator": estimator, "rule": {"kind": "sophia", **rule}, "max_norm": max_norm}
    )


# the equations


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_it_follows_algorithm_3_of_the_paper(tiny, weight_decay):
    """Slowly, one entry after the other, from draws that are looked up."""
    lr, (beta1, beta2), gamma, eps, every = 0.01, (0.9, 0.8), 0.05, 1e-12, 3
    slow = copy.deepcopy(tiny)
    rule = {"lr": lr, "betas": (beta1, beta2), "gamma": gamma, "eps": eps, "weight_decay": weight_decay}
    optimizer = spec(every, **rule).build(parameters_of(tiny))
    m = [torch.zeros_like(p) for p in slow.parameters()]
    h = [torch.zeros_like(p) for p in slow.parameters()]
    clipped = set()
    for step in range(8):
        given, scale = batch(seed=step), 1.0 / (1 + step)
        optimizer.step(oracle(tiny, given), scale)
        (part,) = given.parts
        count = len(part.targets)

        def logits(part=part):
            return slow(**part.inputs).logits.flatten(0, 1)[part.positions]

        if step % every == 0:
            answers = drawn(part, logits().detach(), step=step, seed=torch.initial_seed())
            loss = -logits().log_softmax(-1)[range(count), answers].sum() / count
            for own, g in zip(h, torch.autograd.grad(loss, list(slow.parameters())), strict=True):
                own.mul_(beta2).add_((1 - beta2) * count * g * g)
        loss = -logits().log_softmax(-1)[range(count), part.targets].sum() / count
        gradients = torch.autograd.grad(loss, list(slow.parameters()))
        with torch.no_grad():
            for p, g, mean, curve in zip(slow.parameters(), gradients, m, h, strict=True):
                mean.mul_(beta1).add_((1 - beta1) * g)
                for w, a, b in zip(p.view(-1), mean.view(-1), curve.view(-1), strict=True):
                    ratio = float(a) / max(gamma * float(b), eps)
                    clipped.add(abs(ratio) > 1)
                    w.mul_(1 - lr * scale * weight_decay).sub_(lr * scale * max(-1.0, min(1.0, ratio)))
        for own, expected in zip(tiny.parameters(), slow.parameters(), strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-14)
    assert clipped == {True, False}, "both sides of the clip were walked"


def test_the_estimate_is_the_diagonal_of_the_gauss_newton_matrix_on_average(tiny):
    """J^T (diag p - p p^T) J / N, written out, against the mean of many draws, within four standard errors."""
    given = batch(examples=3)
    (part,) = given.parts
    parameters = list(tiny.parameters())
    count, size = len(part.targets), sum(p.numel() for p in parameters)

    def logits():
        return tiny(**part.inputs).logits.flatten(0, 1)[part.positions]

    wanted = torch.zeros(size, dtype=torch.float64)
    outputs = logits()
    for n in range(count):
        rows = [torch.autograd.grad(outputs[n, v], parameters, retain_graph=True) for v in range(VOCABULARY)]
        jacobian = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])
        p = outputs[n].detach().softmax(-1)
        wanted += torch.einsum("vi,vw,wi->i", jacobian, torch.diag(p) - torch.outer(p, p), jacobian) / count
    rounds = 4000
    ask = oracle(tiny, given)
    total, square = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for step in range(rounds):
        ask.gradient_of_answers(lambda part, outputs, step=step: drawn(part, outputs, step=step))
        found = count * torch.cat([p.grad.reshape(-1) for p in parameters]).square()
        total += found
        square += found.square()
    mean = total / rounds
    error = ((square / rounds - mean.square()).clamp_min(0) / rounds).sqrt()
    assert ((mean - wanted).abs() <= 4.5 * error + 1e-12).all()
    assert float((mean - wanted).norm() / wanted.norm()) < 0.05
    assert float(wanted.max()) > 100 * float(error.median())


# the draws


def test_draws_follow_the_distribution():
    logits = torch.tensor([[0.0, 1.0, -1.0, 3.0]]).repeat(2000, 1)
    ids = torch.arange(2000).unsqueeze(1)
    part = Part({"input_ids": ids}, torch.arange(2000), torch.zeros(2000, dtype=torch.long))
    counts = torch.stack([torch.bincount(drawn(part, logits, step=step), minlength=4) for step in range(10)]).sum(0)
    p = logits[0].softmax(-1).double()
    chi2 = ((counts - 20_000 * p).square() / (20_000 * p)).sum()
    assert float(chi2) < 16.3, "three degrees of freedom, p = 0.001"
    assert not torch.equal(drawn(part, logits, step=0), drawn(part, logits, step=1))


def test_seeds_draw_differently_and_examples_are_told_apart_whatever_else_a_batch_holds():
    ids = torch.arange(400).unsqueeze(1)
    said = torch.zeros(400, dtype=torch.long)
    part = Part({"attention_mask": torch.ones_like(ids), "input_ids": ids}, torch.arange(400), said)
    logits = torch.zeros(400, 2)
    first = drawn(part, logits, step=0, seed=7)
    assert 120 < int(first.sum()) < 280, "not one number for all that have the same mask"
    for seed in (8, -1, 2**63 + 5, 2**64 - 1):
        assert not torch.equal(drawn(part, logits, step=0, seed=seed), first)
    assert torch.equal(drawn(Part({"input_ids": ids}, torch.arange(400), said), logits, step=0, seed=7), first)


def test_positions_of_an_example_draw_independently():
    """Neighbours agree as often as chance has it: 1/2 of the time for two equal tokens."""
    ids = torch.arange(500).unsqueeze(1).repeat(1, 8)
    part = Part({"input_ids": ids}, torch.arange(4000), torch.zeros(4000, dtype=torch.long))
    found = drawn(part, torch.zeros(4000, 2), step=0).view(500, 8)
    agree = (found[:, 1:] == found[:, :-1]).double().mean()
    assert abs(float(agree) - 0.5) < 4 * 0.5 / math.sqrt(3500)
    across = (found[1:] == found[:-1]).double().mean()
    assert abs(float(across) - 0.5) < 4 * 0.5 / math.sqrt(3992)


def test_one_token_that_has_all_the_probability_is_drawn():
    logits = torch.full((50, 9), -math.inf)
    logits[:, 8] = 0.0
    part = Part({"input_ids": torch.arange(50).unsqueeze(1)}, torch.arange(50), torch.zeros(50, dtype=torch.long))
    assert drawn(part, logits, step=3).tolist() == [8] * 50


def test_padding_order_and_the_cut_change_no_draw():
    (whole,) = batch(examples=5).parts
    logits = torch.randn(len(whole.targets), VOCABULARY, generator=torch.Generator().manual_seed(1))
    expected = drawn(whole, logits, step=4).view(5, -1)
    length = whole.inputs["input_ids"].shape[1]
    for rows in ([3, 0], [4], [2, 1, 0]):
        part = of_rows(whole, rows, 5)  # Rows in this order, positions in that of the whole.
        own = logits.view(5, -1, VOCABULARY)[sorted(rows)].flatten(0, 1)
        found = drawn(part, own, step=4)
        assert found.view(len(rows), -1).tolist() == expected[sorted(rows)].tolist()
        padded = nn.functional.pad(part.inputs["input_ids"], (0, 3), value=6)
        places = part.positions // length * (length + 3) + part.positions % length
        assert torch.equal(drawn(Part({"input_ids": padded}, places, part.targets), own, step=4), found)


def test_micro_batches_change_nothing_but_rounding(tiny):
    (whole,) = (given := batch(examples=6)).parts
    cut = Batch([of_rows(whole, [i, i + 1], 6) for i in (0, 2, 4)], given.num_tokens, given.num_supervised)
    other = copy.deepcopy(tiny)
    for module, own in ((tiny, given), (other, cut)):
        optimizer = spec(2, lr=0.1).build(parameters_of(module))
        for _ in range(4):
            optimizer.step(oracle(module, own))
    for a, b in zip(tiny.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


# what it costs, keeps and refuses


def test_passes_are_one_and_a_tenth():
    model = families.model("llama", dtype=torch.float32)
    optimizer = OptimizerSpec.model_validate(
        {"estimator": {"kind": "gauss_newton_bartlett"}, "rule": {"kind": "sophia"}}
    )
    built = optimizer.build(parameters_of(model.module))
    passes = 0.0
    for _ in range(20):
        ask = families.oracle(model)
        built.step(ask)
        passes += ask.passes
    assert passes == pytest.approx(22.0) == pytest.approx(20 * float(optimizer.estimator.passes_per_step))
    assert [float(optimizer.estimator.passes_after(k)) for k in (0, 1, 10, 11, 20)] == [0, 2, 11, 13, 22]
    assert built.state_bytes() == 2 * sum(4 * p.numel() for p in model.module.parameters())


def test_a_state_in_between_is_continued_bit_for_bit(tiny):
    other = copy.deepcopy(tiny)
    whole = spec(3, lr=0.05).build(parameters_of(tiny))
    first = spec(3, lr=0.05).build(parameters_of(other))
    for step in range(4):
        whole.step(oracle(tiny, batch(seed=step)))
        first.step(oracle(other, batch(seed=step)))
    second = spec(3, lr=0.05).build(parameters_of(other))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in range(4, 8):
        whole.step(oracle(tiny, batch(seed=step)))
        second.step(oracle(other, batch(seed=step)))
    assert all(torch.equal(a, b) for a, b in zip(tiny.parameters(), other.parameters(), strict=True))


def test_rule_and_estimator_need_each_other():
    with pytest.raises(ValueError, match="the rule sophia needs estimates of a diagonal, which the estimator plain"):
        OptimizerSpec.model_validate({"rule": {"kind": "sophia"}})
    with pytest.raises(ValueError, match="the estimator gauss_newton_bartlett pays for a diagonal, and the rule adamw"):
        OptimizerSpec.model_validate({"estimator": {"kind": "gauss_newton_bartlett"}, "rule": {"kind": "adamw"}})


def test_what_is_no_language_model_is_refused():
    numbers = Part({"x": torch.zeros(2, 3)}, torch.arange(2), torch.zeros(2))
    with pytest.raises(UserError, match="it is for language models"):
        drawn(numbers, torch.zeros(2, 1), step=0)


def test_large_tensors_are_updated_in_groups(tiny, monkeypatch):
    from optbench.optim import clipped_newton

    other = copy.deepcopy(tiny)
    spec(lr=0.1).build(parameters_of(tiny)).step(oracle(tiny, batch()))
    monkeypatch.setattr(clipped_newton, "AT_ONCE", 42)
    spec(lr=0.1).build(parameters_of(other)).step(oracle(other, batch()))
    assert all(torch.equal(a, b) for a, b in zip(tiny.parameters(), other.parameters(), strict=True))


def test_records_are_held_against_the_passes_of_every_step():
    from optbench.verification.outcomes import _passes_after

    every = {"kind": "gauss_newton_bartlett", "refresh_every": 4}
    estimator = OptimizerSpec.model_validate({"estimator": every, "rule": {"kind": "sophia"}}).estimator
    assert [_passes_after(estimator, steps) for steps in (1, 4, 5, 8, 9)] == [2.0, 5.0, 7.0, 10.0, 12.0]
    held = {"kind": "sharpness_aware", "refresh_every": 4}
    assert _passes_after(OptimizerSpec.model_validate({"estimator": held, "rule": {"kind": "gd"}}).estimator, 5) is None
