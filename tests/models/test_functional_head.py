"""The output layer in pieces: the loss and the gradients of the plain way, for any piece, without the logits."""

import pytest
import torch
from families import NAMES, model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from optbench.models import functional_head
from optbench.models.head import Head
from optbench.models.language_model import batch_of_labels, cross_entropy
from optbench.oracle import Oracle, shifted

N, D, V = 13, 5, 17
FORMS = {"untied": (False, False), "bias": (False, True), "tied": (True, False)}


class Backbone(nn.Module):
    """Something nonlinear below the head; tied, it looks its inputs up in the head's weight."""

    def __init__(self, weight, tied):
        super().__init__()
        self.table = weight if tied else nn.Parameter(torch.randn(V, D, dtype=torch.float64))
        self.mix = nn.Parameter(torch.randn(D, D, dtype=torch.float64))

    def forward(self, ids):
        return torch.tanh(self.table[ids] @ self.mix)


def built(form):
    tied, bias = FORMS[form]
    torch.manual_seed(0)
    linear = nn.Linear(D, V, bias=bias, dtype=torch.float64)
    backbone = Backbone(linear.weight, tied)
    ids, targets = torch.randint(0, V, (N,)), torch.randint(0, V, (N,))
    parameters = list(dict.fromkeys([*backbone.parameters(), *linear.parameters()]))
    return Head(backbone, linear, sum(p.numel() for p in parameters)), parameters, ids, targets


def plain(head, ids, targets):
    logits = nn.functional.linear(head.backbone(ids), head.weight_VD, head.bias_V)
    return cross_entropy(logits, targets).sum() / N


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("rows", [1, 2, 5, 12, 13, 100])
@pytest.mark.parametrize("form", FORMS)
def test_loss_and_gradient_are_those_of_the_plain_way(form, rows):
    head, parameters, ids, targets = built(form)
    expected = plain(head, ids, targets)
    gradients = torch.autograd.grad(expected, parameters)

    found = head.evaluate(head.backbone(ids), targets, cross_entropy, N, None, rows=rows).total
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    close(torch.autograd.grad(found, parameters), gradients)
    with torch.no_grad():
        forward = head.evaluate(head.backbone(ids), targets, cross_entropy, N, None, rows=rows).total
    torch.testing.assert_close(forward, expected.detach(), rtol=1e-10, atol=0)


def test_losses_by_position_are_those_of_the_plain_way(monkeypatch):
    head, _, ids, targets = built("bias")
    monkeypatch.setitem(functional_head.ENTRIES, "cpu", 0)
    monkeypatch.setitem(functional_head.ROWS, "cpu", 4)
    found = head.by_position(head.backbone(ids), targets, cross_entropy)
    torch.testing.assert_close(
        found, cross_entropy(head.outputs(head.backbone(ids)), targets).detach(), rtol=1e-10, atol=0
    )


@pytest.mark.parametrize("forward_only", [False, True])
@pytest.mark.parametrize("keep", ["kept", "rebuilt"])
@pytest.mark.parametrize("rows", [1, 4, 13, 100])
@pytest.mark.parametrize("form", FORMS)
def test_the_cotangent_of_one_point_is_pulled_back_at_another(form, rows, keep, forward_only):
    head, parameters, ids, targets = built(form)
    logits = nn.functional.linear(head.backbone(ids), head.weight_VD, head.bias_V)
    expected_loss = cross_entropy(logits, targets).sum() / N
    (cotangent,) = torch.autograd.grad(expected_loss, logits)

    with torch.set_grad_enabled(not forward_only):
        evaluated = head.evaluate(head.backbone(ids), targets, cross_entropy, N, keep, rows=rows)
    if not forward_only:
        evaluated.total.backward()
    held = evaluated.cotangent()
    with shifted(parameters, [0.3 * torch.randn_like(p) for p in parameters]):
        there = nn.functional.linear(head.backbone(ids), head.weight_VD, head.bias_V)
        gradients = torch.autograd.grad((there * cotangent).sum(), parameters)
        close(torch.autograd.grad(head.pullback(head.backbone(ids), held), parameters), gradients)
        # A second time, as for differences in several directions, and inside a further shift.
        with shifted(parameters[:1], [torch.ones_like(parameters[0])]):
            deeper = nn.functional.linear(head.backbone(ids), head.weight_VD, head.bias_V)
            gradients = torch.autograd.grad((deeper * cotangent).sum(), parameters)
            close(torch.autograd.grad(head.pullback(head.backbone(ids), held), parameters), gradients)
    # The loss is known by now, also where only the pull-back made the logits.
    torch.testing.assert_close(evaluated.total.detach(), expected_loss.detach(), rtol=1e-10, atol=0)


def test_a_cotangent_taken_inside_a_shift_is_of_the_shifted_weights_and_ends_with_it():
    head, parameters, ids, targets = built("bias")
    by = [0.3 * torch.randn_like(p) for p in parameters]
    with shifted(parameters, by):
        logits = nn.functional.linear(head.backbone(ids), head.weight_VD, head.bias_V)
        (cotangent,) = torch.autograd.grad(cross_entropy(logits, targets).sum() / N, logits)
        with torch.no_grad():
            held = head.evaluate(head.backbone(ids), targets, cross_entropy, N, "rebuilt").cotangent()
        with shifted(parameters, by):
            there = nn.functional.linear(head.backbone(ids), head.weight_VD, head.bias_V)
            gradients = torch.autograd.grad((there * cotangent).sum(), parameters)
            close(torch.autograd.grad(head.pullback(head.backbone(ids), held), parameters), gradients)
    with pytest.raises(RuntimeError, match="has ended"):
        head.pullback(head.backbone(ids), held)


def test_a_frozen_output_layer_gets_no_gradient():
    head, _, ids, targets = built("untied")
    head.linear.requires_grad_(False)
    evaluated = head.evaluate(head.backbone(ids), targets, cross_entropy, N, "rebuilt", rows=4)
    evaluated.total.backward()
    assert head.linear.weight.grad is None
    wanted = torch.autograd.grad(plain(head, ids, targets), list(head.backbone.parameters()))
    close([p.grad for p in head.backbone.parameters()], wanted)


def test_a_gradient_that_was_handed_out_is_not_handed_out_again():
    head, _, ids, targets = built("untied")
    total = head.evaluate(head.backbone(ids), targets, cross_entropy, N, None, rows=4).total
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="handed out"):
        total.backward()


@pytest.mark.parametrize("keep", ["kept", "rebuilt"])
def test_under_autocast_products_are_those_of_a_linear_layer_there(keep):
    torch.manual_seed(0)
    linear = nn.Linear(32, 50)
    hidden, targets = torch.randn(24, 32, requires_grad=True), torch.randint(0, 50, (24,))
    head = Head(nn.Identity(), linear)

    def gradients(rows):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            evaluated = head.evaluate(hidden, targets, cross_entropy, 24, keep, rows=rows)
        found = torch.autograd.grad(evaluated.total, [hidden, *linear.parameters()], retain_graph=rows > 24)
        if rows > 24:
            evaluated.total.backward()  # The plain way keeps its cotangent in the backward.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pulled = head.pullback(hidden, evaluated.cotangent())
        return evaluated.total, found, torch.autograd.grad(pulled, [hidden, *linear.parameters()])

    loss, whole, _ = gradients(100)
    loss_in_pieces, pieces, pulled = gradients(7)
    # bfloat16 has 8 bits: sums over pieces and over the whole round differently in the last one.
    torch.testing.assert_close(loss_in_pieces, loss, rtol=1e-5, atol=1e-6)
    for a, b, c in zip(pieces, whole, pulled, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-4)
        torch.testing.assert_close(c, a, rtol=2e-2, atol=2e-4)


class Largest(TorchDispatchMode):
    """The most entries of any tensor that an operation made."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.numel())
        return found


@pytest.mark.parametrize("functional", [False, True])
def test_the_logits_are_never_there_at_once(monkeypatch, functional):
    classes, width, positions = 400, 4, 100
    monkeypatch.setitem(functional_head.ENTRIES, "cpu", 0)
    monkeypatch.setitem(functional_head.ROWS, "cpu", 10)
    linear = nn.Linear(width, classes)
    head, hidden = Head(nn.Identity(), linear), torch.randn(positions, width, requires_grad=True)
    targets = torch.randint(0, classes, (positions,))
    with Largest() as seen:
        evaluated = head.evaluate(hidden, targets, cross_entropy, positions, "rebuilt" if functional else None)
        evaluated.total.backward()
        if functional:
            head.pullback(hidden, evaluated.cotangent()).backward()
    assert seen.entries == 10 * classes
    with Largest() as seen:
        head.evaluate(hidden, targets, cross_entropy, positions, "kept").total.backward()
    assert seen.entries == positions * classes


@pytest.mark.parametrize("family", NAMES)
def test_every_family_gives_the_same_in_pieces(monkeypatch, family):
    view = model(family)
    ids_BT = torch.randint(0, 90, (3, 11), generator=torch.Generator().manual_seed(0))
    labels_BT = ids_BT.clone()
    labels_BT[:, :4] = -100
    found = []
    for rows in (10**6, 5):
        monkeypatch.setitem(functional_head.ENTRIES, "cpu", 0)
        monkeypatch.setitem(functional_head.ROWS, "cpu", rows)
        assert view.head is not None
        oracle = Oracle(view, cross_entropy, batch_of_labels({"input_ids": ids_BT, "labels": labels_BT}))
        kept = oracle.gradient(keep="rebuilt" if rows == 5 else "kept")
        plain_gradient = [p.grad.clone() for p in oracle.parameters]
        with shifted(oracle.parameters, [0.05 * g / g.norm().clamp(min=1e-9) for g in plain_gradient]):
            oracle.gradient(cotangent=kept.cotangent)
        found.append([kept.loss, oracle.loss(), *plain_gradient, *(p.grad.clone() for p in oracle.parameters)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_parts_of_a_batch_are_kept_or_rebuilt_together():
    head, _, ids, targets = built("untied")
    half = 1.5 * (64 << 20) / 4 / V / 2
    assert head.parameters < 64 << 20
    for count, kept in ((int(half), True), (int(2 * half), False)):
        evaluated = head.evaluate(head.backbone(ids), targets, cross_entropy, count, "auto")
        evaluated.total.backward()
        assert isinstance(evaluated.cotangent(), torch.Tensor) is kept


def test_a_loss_is_filled_in_once_however_often_its_cotangent_is_asked_for():
    head, _, ids, targets = built("untied")
    with torch.no_grad():
        evaluated = head.evaluate(head.backbone(ids), targets, cross_entropy, N, "rebuilt", rows=4)
    for _ in range(2):
        head.pullback(head.backbone(ids), evaluated.cotangent())
    torch.testing.assert_close(evaluated.total, plain(head, ids, targets).detach(), rtol=1e-10, atol=0)


def test_a_part_without_a_supervised_position_has_no_losses():
    head, _, ids, targets = built("untied")
    assert head.by_position(head.backbone(ids[:0]), targets[:0], cross_entropy).shape == (0,)


def test_a_small_batch_is_kept_and_a_large_one_rebuilt():
    from optbench.optim.cotangent import is_kept

    assert is_kept("auto", entries=1e6, parameters=0)
    assert not is_kept("auto", entries=4096 * 151_936, parameters=600_000_000)
    assert is_kept("auto", entries=512 * 151_936, parameters=600_000_000)
    assert is_kept("kept", entries=1e15, parameters=0) and not is_kept("rebuilt", entries=1, parameters=0)
