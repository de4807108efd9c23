"""Critical sharpness, the split, directions, and where products do not apply."""

import families
import numpy as np
import pytest
import support
import torch

from optbench.curvature.applies import check, evaluating
from optbench.curvature.critical import FORWARDS, critical_step
from optbench.curvature.directions import preconditioned, second_moment, unit_
from optbench.curvature.exact import Exact
from optbench.curvature.split import Split, corrections, made_of, splits
from optbench.curvature.vectors import flat, norm
from optbench.errors import UserError


@pytest.mark.parametrize("guess", [1e-4, 0.05, 0.3, 40.0])
def test_critical_step_of_a_quadratic_is_the_known_one(guess):
    rng = np.random.default_rng(0)
    root = rng.standard_normal((6, 6))
    a, w = root @ root.T, rng.standard_normal(6)
    g = a @ w

    def rise(eta):
        moved = w - eta * g
        return 0.5 * moved @ a @ moved - 0.5 * w @ a @ w

    found, asked = critical_step(rise, -float(g @ g), guess=guess)
    assert found == pytest.approx(2 * g @ g / (g @ a @ g), rel=1e-2)
    assert asked <= FORWARDS < 10


def test_critical_step_of_a_curve_that_bends_is_its_first_root():
    found, _ = critical_step(lambda eta: -eta + eta**4, -1.0, guess=0.05)
    assert found == pytest.approx(1.0, rel=0.02)


def test_a_loss_that_never_rises_has_no_critical_step():
    found, asked = critical_step(lambda eta: -eta, -1.0, guess=0.05)
    assert found is None
    assert asked == FORWARDS


def test_a_loss_that_is_not_a_number_counts_as_risen():
    found, _ = critical_step(lambda eta: float("nan") if eta > 3 else -eta + eta**2, -1.0, guess=10.0)
    assert found == pytest.approx(1.0, rel=0.02)


def test_shares_are_those_of_their_equations():
    logit, functional = torch.tensor([3.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    numbers = Split(logit + functional, logit, functional).numbers()
    assert numbers == pytest.approx(
        {"logit_share": 0.75, "functional_share": 0.25, "logit_projection": 0.9, "split_error": 0.0}
    )
    share, rest = made_of(torch.tensor([6.0, -6.0]).double(), logit, functional)
    assert share == pytest.approx(0.5)
    assert rest == pytest.approx(0.0, abs=1e-7)
    three = [torch.tensor(v).double() for v in ([2.0, 0.0, 0.0], [0.0, 5.0, 0.0], [3.0, 0.0, 4.0])]
    share, rest = made_of(three[2], three[0], three[1])
    assert (share, rest) == pytest.approx((1.0, 0.8))


def test_the_split_adds_up_and_small_shifts_are_made_of_their_parts():
    module = support.TinyLM()
    oracle = support.oracle(module)
    taken = oracle.gradient(keep=True)
    gradient = flat([p.grad for p in oracle.parameters])
    e = gradient / norm(gradient)
    (split,) = splits(Exact(oracle), [e], None)
    assert split.numbers()["split_error"] < 1e-12
    before = [p.detach().clone() for p in module.parameters()]
    made = corrections(oracle, (split.logit, split.functional), e, gradient, taken.cotangent, 1e-6)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    # In the limit SAM adds both parts in full, and Functional-SAM the functional part alone.
    assert made.numbers["sam_logit_share"] == pytest.approx(split.numbers()["logit_share"], abs=1e-4)
    assert made.numbers["fsam_logit_share"] < 1e-4
    assert made.unexplained < 1e-3


def test_what_sam_adds_at_a_large_shift_is_cotangent_and_jacobian_and_nothing_else():
    module, rho = support.TinyLM(), 0.3
    oracle = support.oracle(module)
    taken = oracle.gradient(keep=True)
    gradient = flat([p.grad for p in oracle.parameters])
    e = gradient / norm(gradient)
    (split,) = splits(Exact(oracle), [e], None)
    made = corrections(oracle, (split.logit, split.functional), e, gradient, taken.cotangent, rho)
    moved = support.TinyLM()
    start = 0
    with torch.no_grad():
        for p in moved.parameters():
            p += rho * e[start : start + p.numel()].view_as(p)
            start += p.numel()
    (part,) = oracle.batch.parts
    outputs = support.Plainly(moved).outputs(part)
    there = outputs.detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(there, part.targets)
    changed = torch.autograd.grad(loss, there)[0] - taken.cotangent[0]
    logit = flat(torch.autograd.grad(outputs, list(moved.parameters()), changed, retain_graph=True))
    functional = flat(torch.autograd.grad(outputs, list(moved.parameters()), taken.cotangent[0])) - gradient
    expected = norm(logit) / (norm(logit) + norm(functional))
    assert made.numbers["sam_logit_share"] == pytest.approx(expected, abs=1e-10)
    # Far from what second order says, or the test would not tell the two apart.
    assert abs(expected - split.numbers()["logit_share"]) > 0.01


@pytest.mark.parametrize("power", [2, 3, 5, 11])
@pytest.mark.parametrize("guess", [1e-3, 0.1, 3.0])
def test_the_critical_step_is_right_or_left_out(power, guess):
    found, asked = critical_step(lambda eta: -eta + eta**power, -1.0, guess=guess)
    assert asked <= FORWARDS
    assert found is None or found == pytest.approx(1.0, abs=0.06)
    if power == 2 or (guess == 0.1 and power <= 5):
        assert found is not None


def test_the_preconditioner_comes_from_equal_groups_of_the_batch():
    module = support.TinyLM()
    rows = support.ids(examples=6)
    groups = [support.oracle(module, support.batch(rows[i : i + 2])) for i in (0, 2, 4)]
    squares = []
    for group in groups:
        group.gradient()
        squares.append(flat([p.grad for p in group.parameters]) ** 2)
    v = second_moment(groups)
    torch.testing.assert_close(v, torch.stack(squares).mean(0))
    g = torch.linspace(-1, 1, len(v), dtype=v.dtype)
    expected, at = [], 0
    for p in module.parameters():
        piece = slice(at, at := at + p.numel())
        root = v[piece].sqrt()
        expected.append(g[piece] / (root + 0.1 * root.square().mean().sqrt()))
    found = preconditioned(g, v.clone(), list(module.parameters()))
    torch.testing.assert_close(found, torch.cat(expected))
    assert norm(unit_(found)) == pytest.approx(1.0)


def test_a_padding_index_that_occurs_is_refused_and_one_that_does_not_is_fine():
    module = support.TinyLM()
    module.embedding.padding_idx = 3
    assert (support.ids() == 3).any()
    with pytest.raises(UserError, match="padding_idx"):
        check(support.oracle(module), "exact")
    module.embedding.padding_idx = 10
    ids = support.ids(vocabulary=10)
    check(support.oracle(module, support.batch(ids)), "exact")


def test_a_padding_index_does_make_the_hessian_wrong():
    """Why it is refused: a matrix with rows of zeros where there is curvature."""
    module = support.TinyLM()
    oracle = support.oracle(module)
    found = []
    for index in (None, 3):
        module.embedding.padding_idx = index
        with Exact(oracle).hessian() as product:
            found.append(families.dense(product, sum(p.numel() for p in oracle.parameters)))
    assert float((found[0] - found[1]).abs().max()) > 1e-3 * float(found[0].abs().max())


def test_what_cannot_be_differentiated_twice_is_refused():
    built = families.model("llama", dtype=torch.float32)
    built.module.config._attn_implementation = "flash_attention_2"
    oracle = families.oracle(built)
    with pytest.raises(UserError, match="flash_attention_2"):
        check(oracle, "exact")
    check(oracle, "finite_difference")


def test_low_precision_and_frozen_models_are_refused():
    half = families.model("llama", dtype=torch.bfloat16)
    with pytest.raises(UserError, match="bfloat16"):
        check(families.oracle(half), "finite_difference")
    frozen = families.model("llama")
    frozen.module.requires_grad_(False)
    with pytest.raises(UserError, match="trainable"):
        check(families.oracle(frozen), "exact")


def test_modes_of_submodules_come_back_and_gradients_are_emptied():
    module = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(2, 2))
    module[0].eval()
    module[1].weight.grad = torch.ones(2, 2)
    with pytest.raises(KeyError), evaluating(module):
        assert not any(part.training for part in module.modules())
        raise KeyError
    assert [part.training for part in module.modules()] == [True, False, True]
    assert module[1].weight.grad is None
