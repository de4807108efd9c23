"""The foreign optimizers of suites/board_llm.yaml: what they do through the torch rule, and what it refuses."""

import copy
import math
from pathlib import Path

import pytest
import pytorch_optimizer
import torch
from pydantic import ValidationError
from support import TinyLM, batch, ids, oracle, parameters
from torch.utils.flop_counter import FlopCounterMode

from optbench.errors import UserError
from optbench.models.dimensions import Dimensions
from optbench.optim.base import Parameter
from optbench.optim.rules.torch_optimizer import TorchOptimizer
from optbench.optim.specs import OptimizerSpec
from optbench.runner import run_cell
from optbench.store import Store
from optbench.suite import load_suite

SUITES = Path(__file__).resolve().parents[2] / "suites"
BOARD = load_suite(SUITES / "board_llm.yaml")
SWEEP = load_suite(SUITES / "board_llm_sweep.yaml")
RULES = {arm.optimizer: arm.optimizer_spec.rule for arm in BOARD.arms}
FOREIGN = sorted(name for name, rule in RULES.items() if rule.kind == "torch")
SCALES = [0.25, 0.5, 1.0, 0.9, 0.8, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02]


def trained(module, rule, *, steps, start=0, optimizer=None):
    optimizer = optimizer or OptimizerSpec.model_validate({"rule": rule.dump()}).build(parameters(module))
    for step in range(start, start + steps):
        optimizer.step(oracle(module, batch(ids(step))), SCALES[step])
    return optimizer


@pytest.mark.parametrize("name", FOREIGN)
def test_twelve_steps_equal_the_class_called_directly(name):
    rule, ours, theirs = RULES[name], TinyLM(), TinyLM()
    trained(ours, rule, steps=12)
    make = getattr(pytorch_optimizer, rule.target.split(":")[1])
    engine = make(theirs.parameters(), lr=rule.lr, **rule.options)
    for step, scale in enumerate(SCALES):
        oracle(theirs, batch(ids(step))).gradient()
        for group in engine.param_groups:
            group["lr"] = rule.lr * scale
        engine.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)
    assert all(not torch.equal(p, q) for p, q in zip(ours.parameters(), TinyLM().parameters(), strict=True))


SHAPES = [(5, 3), (4,), (3, 6)]


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


def lion(weights, gradients, rate, *, beta1=0.9, beta2=0.99):
    """arXiv 2302.06675, algorithm 2."""
    momenta = [torch.zeros_like(w) for w in weights]
    for t, gs in enumerate(gradients):
        for w, m, g in zip(weights, momenta, gs, strict=True):
            w -= rate * SCALES[t] * torch.sign(beta1 * m + (1 - beta1) * g)
            m.mul_(beta2).add_((1 - beta2) * g)


def adam_update(m, v, g, t, betas, eps=1e-8):
    m.mul_(betas[0]).add_((1 - betas[0]) * g)
    v.mul_(betas[1]).add_((1 - betas[1]) * g * g)
    return m / (1 - betas[0] ** t) / ((v / (1 - betas[1] ** t)).sqrt() + eps)


def mars(weights, gradients, rate, *, rate_1d, betas=(0.95, 0.99), gamma=0.025):
    """arXiv 2411.10438, algorithm 2 with the last gradient in place of one at the last weights; AdamW for vectors."""
    state = [[torch.zeros_like(w) for _ in range(3)] for w in weights]
    for t, gs in enumerate(gradients, start=1):
        for w, (m, v, last), g in zip(weights, state, gs, strict=True):
            if w.dim() < 2:
                w -= rate_1d * SCALES[t - 1] * adam_update(m, v, g, t, (0.9, 0.95))
                continue
            c = g + gamma * betas[0] / (1 - betas[0]) * (g - last)
            w -= rate * SCALES[t - 1] * adam_update(m, v, c / max(1.0, float(c.norm())), t, betas)
            last.copy_(g)


def ademamix(weights, gradients, rate, *, betas, alpha, warmup):
    """arXiv 2409.03137, algorithm 1 with its schedules of alpha and beta3."""
    state = [[torch.zeros_like(w) for _ in range(3)] for w in weights]
    b1, b2, b3 = betas
    for t, gs in enumerate(gradients, start=1):
        share = t / warmup
        b3_t = min(math.exp(math.log(b1) * math.log(b3) / ((1 - share) * math.log(b3) + share * math.log(b1))), b3)
        for w, (m, slow, v), g in zip(weights, state, gs, strict=True):
            m.mul_(b1).add_((1 - b1) * g)
            slow.mul_(b3_t).add_((1 - b3_t) * g)
            v.mul_(b2).add_((1 - b2) * g * g)
            up = m / (1 - b1**t) + min(share, 1.0) * alpha * slow
            w -= rate * SCALES[t - 1] * up / ((v / (1 - b2**t)).sqrt() + 1e-8)


def prodigy(weights, gradients, rate, *, d_coef, d0=1e-6, betas=(0.9, 0.999), eps=1e-8):
    """arXiv 2306.06101, algorithm 4, with bias correction and the safeguard for warm-up."""
    state = [[torch.zeros_like(w) for _ in range(3)] for w in weights]
    begin, beta3, r, d, d_max = [w.clone() for w in weights], math.sqrt(betas[1]), 0.0, d0, d0
    for t, gs in enumerate(gradients, start=1):
        lr = d * rate * SCALES[t - 1] * math.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
        r *= beta3
        for w, w0, (m, v, s), g in zip(weights, begin, state, gs, strict=True):
            r += d / d0 * lr * float((g * (w0 - w)).sum())
            m.mul_(betas[0]).add_((1 - betas[0]) * d * g)
            v.mul_(betas[1]).add_((1 - betas[1]) * d * d * g * g)
            s.mul_(beta3).add_(d / d0 * d * g)
        d_hat = d_coef * r / sum(float(s.abs().sum()) for _, _, s in state)
        d_max = max(d_max, d_hat)
        d = max(d, d_hat, d_max)
        for w, (m, v, _) in zip(weights, state, strict=True):
            w -= lr * m / (v.sqrt() + d * eps)


def soap(weights, gradients, rate, *, often, betas=(0.95, 0.95), eps=1e-8):
    """arXiv 2409.11321, algorithm 3; the first gradient only starts the statistics. Adam for vectors."""
    state = [[torch.zeros_like(w) for _ in range(2)] for w in weights]
    sides = [[torch.zeros(n, n, dtype=w.dtype) for n in w.shape] if w.dim() == 2 else [] for w in weights]
    bases = [[] for _ in weights]
    b = betas[1]
    for t, gs in enumerate(gradients):
        for i, (w, g) in enumerate(zip(weights, gs, strict=True)):
            m, v = state[i]
            left, right = bases[i] or ([torch.eye(len(g), dtype=g.dtype), None] if g.dim() == 1 else [None, None])
            if t > 0:
                turn = (lambda x, q, p: q.T @ x @ p) if g.dim() == 2 else (lambda x, q, p: x)
                m.mul_(betas[0]).add_((1 - betas[0]) * g)
                v.mul_(b).add_((1 - b) * turn(g, left, right) ** 2)
                inside = turn(m, left, right) / (v.sqrt() + eps)
                up = left @ inside @ right.T if g.dim() == 2 else inside
                w -= rate * SCALES[t] * math.sqrt(1 - b**t) / (1 - betas[0] ** t) * up
            if g.dim() < 2:
                continue
            for side, outer in zip(sides[i], (g @ g.T, g.T @ g), strict=True):
                side.mul_(b).add_((1 - b) * outer)
            if t == 0:
                bases[i] = [torch.linalg.eigh(side)[1].flip(1) for side in sides[i]]
            elif t % often == 0:
                for k, side in enumerate(sides[i]):
                    rank = torch.argsort((bases[i][k] * (side @ bases[i][k])).sum(0), descending=True)
                    v = state[i][1] = state[i][1].index_select(k, rank)
                    bases[i][k] = torch.linalg.qr(side @ bases[i][k][:, rank])[0]


@pytest.mark.parametrize(
    ("target", "lr", "options", "reference", "given", "tolerance"),
    [
        ("Lion", 0.1, {}, lion, {}, 1e-12),
        ("MARS", 0.1, {"lr_1d": 0.03, "weight_decay_1d": 0.0}, mars, {"rate_1d": 0.03}, 1e-6),
        (
            "AdEMAMix",
            0.1,
            {"betas": [0.9, 0.999, 0.9999], "alpha": 8.0, "t_alpha_beta3": 8},
            ademamix,
            {"betas": (0.9, 0.999, 0.9999), "alpha": 8.0, "warmup": 8},
            1e-9,
        ),
        (
            "Prodigy",
            1.0,
            {"d_coef": 2.0, "bias_correction": True, "safeguard_warmup": True},
            prodigy,
            {"d_coef": 2.0},
            # Its two sums are kept in float32, whatever the weights are.
            1e-5,
        ),
        # Its QR decomposition is in float32, whatever the weights are.
        ("SOAP", 0.1, {"weight_decay": 0.0, "precondition_frequency": 3}, soap, {"often": 3}, 1e-5),
    ],
)
def test_twelve_steps_follow_the_published_equations(target, lr, options, reference, given, tolerance):
    gradients = [drawn(100 + step) for step in range(12)]
    if target == "Prodigy":
        # Its estimate of the distance grows only where gradients agree.
        gradients = [[g + 2.0 for g in gs] for gs in gradients]
    ours = [Parameter(f"p{i}", torch.nn.Parameter(w), "hidden") for i, w in enumerate(drawn(0))]
    rule = TorchOptimizer(target=f"pytorch_optimizer:{target}", lr=lr, options=options).build(ours)
    for scale, gs in zip(SCALES, gradients, strict=True):
        for p, g in zip(ours, gs, strict=True):
            p.tensor.grad = g.clone()
        with torch.no_grad():
            rule.apply(scale)
    expected = drawn(0)
    reference(expected, gradients, lr, **given)
    for p, w, w0 in zip(ours, expected, drawn(0), strict=True):
        moved = (w - w0).norm()
        assert float((p.tensor.detach() - w).norm() / moved) < tolerance
        assert moved > (1e-9 if target == "Prodigy" else 0.01)


@pytest.mark.parametrize("name", FOREIGN)
def test_saved_and_loaded_continues_bit_for_bit(name):
    one, two = TinyLM(), TinyLM()
    trained(one, RULES[name], steps=12)
    half = trained(two, RULES[name], steps=7)
    state = copy.deepcopy(half.state_dict())
    fresh = OptimizerSpec.model_validate({"rule": RULES[name].dump()}).build(parameters(two))
    fresh.load_state_dict(state)
    trained(two, RULES[name], steps=5, start=7, optimizer=fresh)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


COPIES = {"lion": 1, "mars": 3, "ademamix": 3, "prodigy": 4, "soap": 2}


@pytest.mark.parametrize("name", FOREIGN)
def test_the_bytes_of_the_state_are_all_of_it(name):
    module = TinyLM()
    found = trained(module, RULES[name], steps=3).state_bytes()
    entries = sum(p.numel() for p in module.parameters())
    # SOAP keeps two square matrices, statistics and basis, for each side of each matrix, in lists.
    squares = sum(2 * n * n for p in module.parameters() if p.dim() == 2 for n in p.shape) if name == "soap" else 0
    assert found == 8 * (COPIES[name] * entries + squares)


@pytest.mark.parametrize("name", FOREIGN)
def test_all_parameters_are_claimed_and_the_options_are_those_of_the_class(name):
    module = TinyLM()
    rule = RULES[name].build(parameters(module))
    assert sorted(sum(rule.claims().values(), [])) == sorted(name for name, _ in module.named_parameters())
    for option, value in RULES[name].options.items():
        assert rule.engines[0].defaults[option] == value


def test_no_optimizer_of_the_board_decays_weights():
    for arm in BOARD.arms:
        rule = arm.optimizer_spec.rule
        if rule.kind != "torch":
            assert rule.weight_decay == 0.0
            continue
        (engine,) = rule.build(parameters(TinyLM())).engines
        decays = {name: value for name, value in engine.defaults.items() if name in ("weight_decay", "weight_decay_1d")}
        assert decays and not any(decays.values()), (arm.optimizer, decays)


@pytest.mark.parametrize("suite", [BOARD, SWEEP], ids=["board", "sweep"])
def test_the_warm_up_of_ademamix_is_as_long_as_the_run(suite):
    found = [arm for arm in suite.arms if arm.optimizer.startswith("ademamix")]
    assert found
    for arm in found:
        assert arm.optimizer_spec.rule.options["t_alpha_beta3"] == arm.training.steps


def test_every_optimizer_had_as_many_trials_and_is_at_one_of_them():
    trials = {}
    for arm in SWEEP.arms:
        trials.setdefault(arm.optimizer.split("[")[0], []).append(arm)
    assert sorted(trials) == sorted(RULES) and {len(own) for own in trials.values()} == {5}
    assert not set(SWEEP.seeds) & set(BOARD.seeds)
    assert {arm.training.evaluate for arm in SWEEP.arms} == {"validation"}
    for arm in BOARD.arms:
        assert arm.optimizer_spec in [trial.optimizer_spec for trial in trials[arm.optimizer]], arm.optimizer
        assert arm.training.model_copy(update={"evaluate": "validation"}) == trials[arm.optimizer][0].training


def test_no_optimizer_of_the_board_has_a_licence_that_forbids_commercial_use():
    # pytorch_optimizer names Fromage and Nero (CC BY-NC-SA 4.0) among its own.
    assert {RULES[name].target for name in FOREIGN} == {
        f"pytorch_optimizer:{name}" for name in ("SOAP", "Lion", "MARS", "AdEMAMix", "Prodigy")
    }


def built(target, **options):
    return TorchOptimizer(target=target, lr=0.01, options=options).build(parameters(TinyLM()))


@pytest.mark.parametrize("target", ["SophiaH", "AdaHessian"])
def test_an_optimizer_that_wants_the_hessian_is_refused(target):
    with pytest.raises(ValidationError, match=f"pytorch_optimizer:{target} needs estimates of the Hessian"):
        built(f"pytorch_optimizer:{target}")


def test_sophia_cannot_go_without_a_hessian():
    """Why it is refused: left to itself it dies at its first step, and from there on its update would be a sign."""
    p = torch.nn.Parameter(torch.ones(3, 2))
    p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match="does not require grad"):
        pytorch_optimizer.SophiaH([p], lr=0.1).step()
    engine = pytorch_optimizer.SophiaH([p], lr=0.1, p=0.01)
    p.grad = torch.tensor([[1e-3, -7.0], [2.0, -1e-4], [1e4, 3.0]])
    engine.step(hessian=[torch.zeros_like(p)])
    torch.testing.assert_close(p.detach(), 1 - 0.1 * 0.01 * p.grad.sign())


def test_an_optimizer_that_wants_a_closure_is_refused():
    with pytest.raises(ValidationError, match="torch.optim:LBFGS needs a closure"):
        built("torch.optim:LBFGS")


@pytest.mark.parametrize("target", ["SOAP", "Prodigy"])
def test_an_option_that_would_go_nowhere_is_refused(target):
    # These classes take any keyword and say nothing of one that they do not know.
    getattr(pytorch_optimizer, target)(TinyLM().parameters(), lr=0.01, weigth_decay=0.1)
    with pytest.raises(UserError, match="has no option 'weigth_decay'; did you mean weight_decay"):
        built(f"pytorch_optimizer:{target}", weigth_decay=0.1)
    assert built(f"pytorch_optimizer:{target}", weight_decay=0.1).engines[0].defaults["weight_decay"] == 0.1


def test_an_option_is_taken_where_the_class_names_or_keeps_it():
    assert built("pytorch_optimizer:SOAP", data_format="channels_last").engines[0].data_format == "channels_last"
    assert built("pytorch_optimizer:Lion", cautious=True).engines[0].defaults["cautious"] is True


@pytest.mark.parametrize("options", [{}, {"precondition_frequency": 5}, {"max_precondition_dim": 20}])
def test_the_products_of_soap_are_those_that_torch_counts(options):
    shapes = [(24, 8), (12, 12)]
    given = [Parameter(f"p{i}", torch.nn.Parameter(torch.randn(s)), "hidden") for i, s in enumerate(shapes)]
    spec = TorchOptimizer(target="pytorch_optimizer:SOAP", lr=0.01, options=options)
    rule = spec.build(given)
    total = 0
    for step in range(11):
        for p in given:
            p.tensor.grad = torch.randn_like(p.tensor)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            rule.apply(1.0)
        total += counter.get_total_flops() if step > 0 else 0  # The first step only starts the statistics.
    assert total / 10 == pytest.approx(spec.update_flops(shapes), rel=1e-12)


def test_elementwise_updates_have_no_products():
    for name in set(FOREIGN) - {"soap"}:
        module = TinyLM()
        optimizer = trained(module, RULES[name], steps=1)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            optimizer.rule.apply(1.0)
        # Prodigy takes inner products of vectors, which the counter leaves out as elementwise work is.
        assert counter.get_total_flops() == RULES[name].update_flops([(6, 6)]) == 0


def test_the_products_of_soap_enter_the_operations_of_a_run():
    from optbench.cost import Work, training_flops

    sizes = Dimensions(2, 64, 4, 2, 16, 172, 97, gated=True, untied=False)
    work = Work(tokens=1024, pairs=131072, supervised=1024)
    plain, soaps = (
        training_flops(sizes, OptimizerSpec.model_validate({"rule": RULES[name].dump()}), work, steps=1)
        for name in ("lion", "soap")
    )
    products = RULES["soap"].update_flops(sizes.hidden_matrices())
    assert soaps - plain == pytest.approx(products, rel=1e-9)
    assert products > 1e8


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_cell_of_every_optimizer_learns_something(name, tmp_path):
    arm = next(arm for arm in BOARD.arms if (arm.optimizer, arm.model) == (name, "llama-nano"))
    cell = next(cell for cell in BOARD.cells() if cell.arm == arm).spec
    small = {"width": 16, "layers": 1, "heads": 2, "kv_heads": 1}
    task = cell.task.model_copy(update={"length": 32, "test_characters": 2048})
    cell = cell.model_copy(
        update={
            "model": cell.model.model_copy(update=small),
            "task": task,
            "training": cell.training.model_copy(update={"steps": 30}),
        }
    )
    record = run_cell(cell, Store(tmp_path))
    assert record.outcome == "completed"
    # Prodigy spends so few steps on finding its rate; all others are below the logarithm of 97 characters by far.
    assert record.result["test_nll"] < (math.log(97) + 0.2 if name == "prodigy" else 4.0)
    assert record.result["bits_per_byte"] == pytest.approx(record.result["test_nll"] / math.log(2), rel=1e-12)
