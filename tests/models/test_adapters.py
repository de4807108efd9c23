"""LoRA: what is trained and what is not, the mathematics against a hand-written one, counts, and what is refused."""

import builtins
import math

import families
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from optbench.curvature.exact import Exact
from optbench.errors import UserError
from optbench.models import functional_head
from optbench.models.adapters import Lora, with_adapters
from optbench.models.families import Full, Nano
from optbench.models.generation import generate
from optbench.models.language_model import batch_of_labels, cross_entropy
from optbench.models.roles import parameters_of
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.shifts import shifted

pytest.importorskip("peft")

LORA = {"r": 3, "alpha": 12.0, "targets": ["q_proj", "v_proj"]}
EVERYWHERE = {
    "phi": ["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}


def model(family="llama", *, dtype=torch.float64, zero=False, lora=LORA, **fields):
    """A tiny model with adapters; B is drawn as well, unless `zero`, for with B = 0 the gradient of A vanishes."""
    built = families.model(family, dtype=dtype, lora=lora, **{"layers": 2, **fields})
    if not zero:
        generator = torch.Generator().manual_seed(1)
        for p in parameters_of(built.module):
            p.tensor.data.copy_(0.3 * torch.randn(p.tensor.shape, generator=generator, dtype=torch.float64))
    return built


def gradients(built):
    return {p.name: p.tensor.grad.clone() for p in parameters_of(built.module)}


# what is trained


@pytest.mark.parametrize("family", families.NAMES)
def test_adapters_alone_are_trained_in_float32_with_a_role_of_their_own(family):
    built = Nano(family=family, lora=LORA).build(seed=0, device="cpu", precision="float32", attention="sdpa")
    found = parameters_of(built.module)
    assert {p.role for p in found} == {"adapter"} and {p.tensor.dtype for p in found} == {torch.float32}
    assert len(found) == 2 * 2 * 2 and all(".q_proj.lora_" in p.name or ".v_proj.lora_" in p.name for p in found)
    assert {name for name, p in built.module.named_parameters() if p.requires_grad} == {p.name for p in found}
    sizes = Nano(family=family, lora=LORA).dimensions()
    assert sorted(tuple(p.tensor.shape) for p in found) == sorted(sizes.hidden_matrices())
    assert sum(p.tensor.numel() for p in found) == sizes.trained_parameters
    assert built.head is not None


def test_the_base_model_is_the_one_without_adapters_and_the_first_answer_is_its_own():
    ids = torch.arange(24).reshape(2, 12) % 90
    plain, adapted = families.model("llama", layers=2), model(zero=True)
    base = {name: p for name, p in adapted.module.named_parameters() if not p.requires_grad}
    for name, p in plain.module.named_parameters():
        assert torch.equal(p, next(q for other, q in base.items() if other.replace(".base_layer", "") == name))
    assert torch.equal(plain.module(input_ids=ids).logits, adapted.module(input_ids=ids).logits)
    again = model(zero=True)
    assert all(torch.equal(a, b) for a, b in zip(again.module.parameters(), adapted.module.parameters(), strict=True))


@pytest.mark.parametrize("name", ["sam", "functional_sam", "preconditioned_functional_sam", "muon"])
def test_a_step_moves_every_adapter_and_nothing_else(name):
    built = model(dtype=torch.float32)
    before = {name: p.detach().clone() for name, p in built.module.named_parameters()}
    optimizer = OptimizerSpec.model_validate(PRESETS[name]).build(parameters_of(built.module))
    for _ in range(2):
        info = optimizer.step(families.oracle(built), observe=True)
    moved = {name for name, p in built.module.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {p.name for p in parameters_of(built.module)}
    if name != "muon":
        assert set(info.notes["shift_share"]) == {"adapter"}
        assert info.notes["shift_norm"] == pytest.approx(0.05, rel=1e-4)
    else:
        assert sorted(optimizer.rule.claims()["muon"]) == sorted(moved) and optimizer.rule.claims()["adamw"] == []


# the mathematics


class ByHand(nn.Module):
    """y = W x + b + (alpha / r) B A x, written down."""

    def __init__(self, linear, a, b, scale):
        super().__init__()
        self.linear, self.a, self.b, self.scale = linear, a, b, scale

    def forward(self, x):
        return self.linear(x) + self.scale * (x @ self.a.T @ self.b.T)


def by_hand(adapted, family, scale):
    """The same model with adapters of one's own; the leaves by the names of peft's."""
    plain, leaves = families.model(family, layers=2), {}
    for name, part in list(plain.module.named_modules()):
        if name.endswith(("q_proj", "v_proj")):
            a, b = (
                adapted.module.get_parameter(f"{name}.lora_{x}.default.weight").detach().clone().requires_grad_()
                for x in "AB"
            )
            leaves |= {f"{name}.lora_A.default.weight": a, f"{name}.lora_B.default.weight": b}
            parent, _, own = name.rpartition(".")
            setattr(plain.module.get_submodule(parent), own, ByHand(part, a, b, scale))
    return plain, leaves


@pytest.mark.parametrize("keep", ["kept", "rebuilt"])
@pytest.mark.parametrize("family", ["phi", "llama"])
def test_gradients_and_pullbacks_are_those_of_a_lora_written_by_hand(monkeypatch, family, keep):
    monkeypatch.setitem(functional_head.ENTRIES, "cpu", 1)  # The output layer in pieces,
    monkeypatch.setitem(functional_head.ROWS, "cpu", 7)  # as large models take it.
    adapted = model(family)
    hand, leaves = by_hand(adapted, family, scale=12.0 / 3)
    mine, its = families.oracle(adapted), families.oracle(hand)
    part = its.batch.parts[0]
    loss = cross_entropy(hand.outputs(part), part.targets).mean()
    wanted = dict(zip(leaves, torch.autograd.grad(loss, leaves.values()), strict=True))
    found = mine.gradient(keep=keep)
    assert float(found.loss) == pytest.approx(loss.item(), rel=1e-12)
    for name, gradient in gradients(adapted).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-10, atol=1e-14)
    # Functional-SAM: the cotangent of here, the Jacobian of there.
    tensors = [p.tensor for p in parameters_of(adapted.module)]
    shift = [0.05 * gradient for gradient in wanted.values()]
    outputs = hand.outputs(part)
    (cotangent,) = torch.autograd.grad(cross_entropy(outputs, part.targets).mean(), outputs)
    with torch.no_grad():
        for leaf, e in zip(leaves.values(), shift, strict=True):
            leaf.add_(e)
    there = torch.autograd.grad((hand.outputs(part) * cotangent).sum(), leaves.values())
    with shifted(tensors, shift):
        mine.gradient(cotangent=found.cotangent)
    for gradient, expected in zip(gradients(adapted).values(), there, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)
    assert all(p.grad is None for p in adapted.module.parameters() if not p.requires_grad)


@pytest.mark.parametrize("family", families.NAMES)
def test_merged_into_the_weights_the_outputs_are_the_same(family):
    from peft.tuners.lora import LoraLayer

    adapted = model(family)
    ids = torch.arange(24).reshape(2, 12) % 90
    before, plain = adapted.module(input_ids=ids).logits, families.model(family, layers=2).module(input_ids=ids).logits
    assert (before - plain).abs().max() > 0.1
    for part in adapted.module.modules():
        if isinstance(part, LoraLayer):
            part.merge()
    torch.testing.assert_close(adapted.module(input_ids=ids).logits, before, rtol=1e-10, atol=1e-12)


def test_the_curvature_of_the_adapters_is_that_of_autograd():
    adapted = model("phi", layers=1, lora={**LORA, "r": 1})  # Llama's norms and softmax are in float32 always.
    oracle = families.oracle(adapted)
    part = oracle.batch.parts[0]
    tensors = [p.tensor for p in parameters_of(adapted.module)]
    with sdpa_kernel(SDPBackend.MATH):
        loss = cross_entropy(adapted.outputs(part), part.targets).mean()
        first = torch.autograd.grad(loss, tensors, create_graph=True)
        flat = torch.cat([g.flatten() for g in first])
        rows = [torch.autograd.grad(g, tensors, retain_graph=True) for g in flat]
    expected = torch.stack([torch.cat([x.flatten() for x in row]) for row in rows])
    with Exact(oracle, keep=True).hessian() as product:
        torch.testing.assert_close(families.dense(product, len(flat)), expected, rtol=1e-8, atol=1e-10)


def test_both_passes_of_a_step_draw_the_same_masks():
    built = model(lora={**LORA, "dropout": 0.5})
    built.module.train()
    oracle = families.oracle(built)
    torch.manual_seed(5)
    first = oracle.gradient(keep=True)
    at_first = gradients(built)
    oracle.gradient(cotangent=first.cotangent)  # At the same weights the pull-back is the gradient, if masks agree.
    assert all(torch.equal(g, at_first[name]) for name, g in gradients(built).items())
    torch.manual_seed(6)
    assert float(families.oracle(built).gradient().loss) != float(first.loss)
    built.module.eval()
    assert float(families.oracle(built).gradient().loss) != float(first.loss)


def test_answers_are_those_of_the_adapted_model():
    built = model(dtype=torch.float32)
    built.module.train()
    task = families.task()
    prompts = [task.prompt_of(example) for example in task.test[:3]]
    answers = generate(built, prompts, max_new_tokens=6)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = built.tokenizer.encode_prompt(prompt)
        for _ in range(6):
            with torch.no_grad():
                ids.append(int(built.module(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        assert built.tokenizer.decode(ids[-6:]).startswith(answer)
    assert answers != generate(families.model("llama", dtype=torch.float32, layers=2), prompts, max_new_tokens=6)


# counts

TARGETS = {
    "query and value": ["q_proj", "v_proj"],
    "value": ["v_proj"],
    "key": ["k_proj"],
    "into": ["up_proj", "fc1"],
    "from": ["down_proj", "fc2"],
    "out": ["o_proj", "dense"],
    "all": [],
}


@pytest.mark.parametrize("which", sorted(TARGETS))
@pytest.mark.parametrize("family", ["phi", "llama"])
def test_forward_and_backward_cost_what_is_counted_to_the_last_operation(family, which):
    targets = [name for name in TARGETS[which] or EVERYWHERE[family] if name in EVERYWHERE[family]]
    lora, sizes = {"r": 3, "targets": targets}, {"width": 16, "layers": 3, "heads": 4, "kv_heads": 2}
    built = families.model(family, dtype=torch.float32, attention="eager", lora=lora, **sizes)
    ids = torch.randint(3, 60, (4, 12), generator=torch.Generator().manual_seed(0))
    batch = batch_of_labels({"input_ids": ids, "labels": ids})
    counted = {}
    with FlopCounterMode(display=False) as counter:
        loss = built.evaluate(batch.parts[0], cross_entropy, batch.num_supervised, None).total
    counted["forward"] = counter.get_total_flops() - _rotary(counter)
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    counted["backward"] = counter.get_total_flops()
    found = Nano(family=family, lora=lora, **{**sizes, "init_std": 0.3, "max_length": 64}).dimensions()
    body = {"tokens": 48.0, "pairs": 4 * 144.0}
    head = found.head_forward_flops(supervised=44.0)
    assert counted["forward"] == found.body_forward_flops(**body) + head
    assert counted["backward"] == found.body_backward_flops(**body) + found.head_backward_flops(supervised=44.0)
    # Frozen weights get no gradient: far less than the two forwards that a backward through trained ones costs.
    assert counted["backward"] < 1.45 * counted["forward"]


def _rotary(counter):
    return sum(
        sum(own.values()) for name, own in counter.get_flop_counts().items() if "rotary_emb" in name.split(".")[-1]
    )


def test_the_published_sizes_of_the_lora_of_phi_2():
    sizes = Full(family="phi", weights="random", lora={"r": 8, "alpha": 16}).dimensions()
    # Two layers of 2560 x 2560 in each of 32 blocks, A and B of rank 8 beside each.
    assert sizes.trained_parameters == 32 * 2 * 2 * 8 * 2560 == 2_621_440
    assert sizes.matrix_parameters - sizes.trained_parameters == Full(family="phi").dimensions().matrix_parameters


# identity and refusals


def test_no_adapters_change_no_key_and_adapters_change_it_by_their_content():
    assert "lora" not in Nano(family="phi").identity() and "lora" not in Full(family="phi", weights="random").identity()
    one, other = (Nano(family="phi", lora={**LORA, "r": r}).identity() for r in (3, 4))
    assert one != other
    swapped = Nano(family="phi", lora={**LORA, "targets": ["v_proj", "q_proj"]})
    assert swapped.identity() == one and swapped == Nano.model_validate(swapped.dump())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"targets": ["q_prj"]}, "did you mean q_proj"),
        ({"targets": ["lm_head"]}, "no linear layer of a block is named 'lm_head'"),
        ({"targets": ["q_proj", "q_proj"]}, "named twice"),
        ({"targets": []}, "at least 1 item"),
        ({"r": 0}, "greater than or equal to 1"),
        ({"alpha": math.inf}, "finite"),
        ({"dropout": 1.0}, "less than 1"),
        ({"rank": 8}, "Extra inputs"),
    ],
)
def test_what_is_no_lora_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        Lora(**fields)


def test_a_layer_that_the_model_does_not_have_is_refused_before_anything_is_trained():
    with pytest.raises(UserError, match="LlamaForCausalLM has no linear layer 'fc1'"):
        model(lora={"targets": ["fc1"]})


def test_without_peft_the_extra_is_named(monkeypatch):
    def missing(name, *rest, **kwargs):
        if name == "peft":
            raise ImportError(name)
        return real(name, *rest, **kwargs)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r'pip install "optbench\[lora\]"'):
        with_adapters(nn.Linear(2, 2), Lora(), seed=0)
    module = nn.Linear(2, 2)
    assert with_adapters(module, None, seed=0) is module
