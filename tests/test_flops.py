"""Counted operations against torch's own counter, for every optimizer and family; and nothing that no counter sees."""

import math
from dataclasses import dataclass, field

import families
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from optbench import cost
from optbench.cost import Work
from optbench.models import functional_head
from optbench.models.families import Nano
from optbench.models.language_model import batch_of_labels, cross_entropy
from optbench.models.roles import parameters_of
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.oracle import Oracle

NO_PRODUCT = {
    # Data is moved, filled in or looked up.
    *("_to_copy", "_unsafe_view", "arange", "cat", "copy_", "clone", "empty", "empty_like", "embedding", "gather"),
    *("embedding_dense_backward", "fill_", "full", "full_like", "index", "index_add", "index_copy_", "index_put"),
    *("index_put_", "index_select", "index_select_backward", "masked_fill", "new_empty", "new_full", "new_ones"),
    *("new_zeros", "ones", "ones_like", "scalar_tensor", "scatter", "select_backward", "slice_backward", "stack"),
    *("zero_", "zeros", "zeros_like", "lift_fresh", "_local_scalar_dense", "_foreach_copy_", "_foreach_zero_"),
    *("split", "split_with_sizes", "constant_pad_nd", "triu", "tril", "index_add_", "nonzero", "repeat"),
    # One value in, one value out, or a sum of them.
    *("_foreach_add", "_foreach_add_", "_foreach_addcdiv_", "_foreach_addcmul_", "_foreach_div_", "_foreach_lerp"),
    *("_foreach_clamp_max_", "_foreach_clamp_min_", "_foreach_reciprocal_", "scatter_reduce", "searchsorted"),
    *("_foreach_div", "_foreach_lerp_", "_foreach_mul", "_foreach_mul_", "_foreach_neg", "_foreach_norm"),
    *("_foreach_sqrt", "_foreach_sub", "_foreach_sub_", "_fused_adamw_", "_fused_sgd_", "_softmax", "_log_softmax"),
    *("_softmax_backward_data", "_log_softmax_backward_data", "nll_loss_forward", "nll_loss_backward", "cumsum"),
    *("linalg_vector_norm", "native_layer_norm", "native_layer_norm_backward", "_fused_rms_norm", "logsumexp"),
    *("_fused_rms_norm_backward", "all", "any", "equal", "max", "mean", "sum", "_safe_softmax", "floor_divide"),
    *("native_dropout", "exponential_", "sgn", "nan_to_num"),
    *("native_dropout_backward", "silu_backward", "gelu_backward", "tanh_backward", "add_", "mul_", "div_", "sub_"),
    # Marks of the profiler.
    *("_record_function_enter_new", "_record_function_exit"),
}
"""Operators that are known to hold no product of matrices and carry no tag of torch that says so."""


def _in_place(total, left, right, **_):
    return 2 * math.prod(left) * right[-1]


IN_PLACE = {torch.ops.aten.addmm_: _in_place, torch.ops.aten.baddbmm_: _in_place}
"""What torch's counter counts under another name, and takes for nothing under this one: total += left @ right."""
COUNTED = flop_registry.keys() | IN_PLACE.keys()


@dataclass
class Invisible(TorchDispatchMode):
    """Collects the operators that may hold products of matrices and that the counter counts as nothing.

    Innocent are those that the counter has a formula for, views, those that torch tags as pointwise or as reductions,
    and `NO_PRODUCT`. All others are under suspicion, those of a future torch as well.
    """

    found: set[str] = field(default_factory=set)

    def __post_init__(self):
        super().__init__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func._overloadpacket not in COUNTED:
            # What is made of other operators is seen again as these, by the counter as well.
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
            if not _innocent(func):
                self.found.add(str(func._overloadpacket))
        return func(*args, **kwargs)


def _innocent(func):
    tags = {torch.Tag.pointwise, getattr(torch.Tag, "reduction", torch.Tag.pointwise)}
    name = func._schema.name.split("::")[1]
    return func.is_view or not tags.isdisjoint(func.tags) or name in NO_PRODUCT


def counted(work):
    """The operations of `work()` as torch counts them, without those of the rotary embedding, and these apart.

    Fails where an operator is at work that torch would count as nothing and that may hold products of matrices. The
    angles of a rotary embedding are written as a product of matrices, of positions and frequencies, with one term per
    sum: elementwise work, which is not counted anywhere else.
    """
    with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter, Invisible() as invisible:
        work()
    assert not invisible.found, f"nobody counts what these do: {sorted(invisible.found)}"
    by_module = counter.get_flop_counts()
    rotary = sum(sum(own.values()) for name, own in by_module.items() if name.split(".")[-1].startswith("rotary_emb"))
    return counter.get_total_flops() - rotary, rotary


def check(work, analytic):
    """The analytic count is that of torch, to the last operation; with the rotary embedding to one percent."""
    products, rotary = counted(work)
    assert products == pytest.approx(analytic, rel=1e-9)
    assert products + rotary == pytest.approx(analytic, rel=0.01)


LENGTH, EXAMPLES, ANSWER = 12, 6, 5
WORK = Work(EXAMPLES * LENGTH, EXAMPLES * LENGTH**2, EXAMPLES * ANSWER)
SIZES = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2}
ADAMW, MUON = {"kind": "adamw"}, {"kind": "muon"}


def aware(rule, **fields):
    return {"estimator": {"kind": "sharpness_aware", **fields}, "rule": rule}


DRAWN = {"rule": {"kind": "sophia"}, "estimator": {"kind": "gauss_newton_bartlett", "refresh_every": 1}}
OPTIMIZERS = {
    **PRESETS,
    "sophia": DRAWN,
    "gd with momentum": {"rule": {"kind": "gd", "momentum": 0.9}},
    "muon with three steps": {"rule": {**MUON, "ns_steps": 3, "ns_dtype": "float32"}},
    "relative": aware(ADAMW, ascent="relative"),
    "momentum": aware(ADAMW, ascent="momentum"),
    "momentum functional": aware(ADAMW, ascent="momentum", functional=True),
    "muon sam": aware(MUON),
    "muon momentum functional": aware(MUON, ascent="momentum", functional=True),
    "muon preconditioned functional": aware(MUON, ascent="preconditioned", functional=True),
}


def batch(*, padding=0):
    """Examples of one length with some supervised positions at their ends; `padding` further positions mean nothing."""
    ids = torch.randint(3, 60, (EXAMPLES, LENGTH), generator=torch.Generator().manual_seed(0))
    labels = torch.full((EXAMPLES, LENGTH + padding), -100)
    labels[:, LENGTH - ANSWER : LENGTH] = ids[:, -ANSWER:]
    return batch_of_labels({"input_ids": nn.functional.pad(ids, (0, padding)), "labels": labels})


def times(work, factor):
    return Work(factor * work.tokens, factor * work.pairs, factor * work.supervised)


def built_of(family, *, tied=None, attention="eager"):
    built = families.model(family, dtype=torch.float32, attention=attention, **SIZES)
    embedding, head = built.module.get_input_embeddings(), built.module.get_output_embeddings()
    if tied is not None:
        head.weight = embedding.weight if tied else nn.Parameter(embedding.weight.detach().clone())
    return built


def dimensions_of(family):
    return Nano(family=family, **SIZES).dimensions()


def stepping(built, fields, *, of=None, steps=1, estimator=None, rule=None):
    """Takes `steps` steps when it is called. Those before it are taken: at the first there is nothing to precondition
    by, and no direction."""
    spec = OptimizerSpec.model_validate(fields)
    optimizer = spec.build(parameters_of(built.module))
    if estimator is not None:
        optimizer.estimator = estimator(spec.estimator)
    if rule is not None:
        optimizer.rule = rule(optimizer.rule, optimizer.parameters)
    of = of or batch()

    def go():
        for _ in range(steps):
            optimizer.step(Oracle(built, cross_entropy, of))

    go()
    return go


def analytic(family, fields, work=WORK, *, steps=1):
    return cost.training_flops(
        dimensions_of(family), OptimizerSpec.model_validate(fields), times(work, steps), steps=steps
    )


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("family", families.NAMES)
def test_every_optimizer_costs_what_is_counted(family, name):
    fields = OPTIMIZERS[name]
    check(stepping(built_of(family), fields), analytic(family, fields))


@pytest.mark.parametrize("name", ["functional_sam", "muon"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", families.NAMES)
def test_a_tied_output_layer_costs_what_its_own_would(family, tied, name):
    built = built_of(family, tied=tied)
    assert len({id(p) for p in built.module.parameters()}) == len(list(built.module.parameters()))
    assert (built.head.weight_VD is built.module.get_input_embeddings().weight) == tied
    check(stepping(built, OPTIMIZERS[name]), analytic(family, OPTIMIZERS[name]))


HALF, REBUILT = {"ascent_fraction": 0.5}, {"cotangent": "rebuilt"}
CHEAPER = {
    "rebuilt": (aware(ADAMW, functional=True, **REBUILT), 1),
    "rebuilt along the momentum": (aware(ADAMW, ascent="momentum", functional=True, **REBUILT), 1),
    "half the batch": (aware(ADAMW, **HALF), 1),
    "half the batch, functional": (aware(ADAMW, **HALF, functional=True), 1),
    "half the batch, rebuilt": (aware(ADAMW, **HALF, functional=True, **REBUILT), 1),
    "drawn targets at every third step": ({**DRAWN, "estimator": {**DRAWN["estimator"], "refresh_every": 3}}, 3),
    "every third step": (aware(ADAMW, refresh_every=3), 3),
    "every third step, functional": (aware(ADAMW, refresh_every=3, functional=True), 3),
    "every third step, rebuilt": (aware(ADAMW, refresh_every=3, functional=True, **REBUILT), 3),
    "every third step, preconditioned": (aware(MUON, refresh_every=3, ascent="preconditioned"), 3),
    "all of it": (aware(MUON, refresh_every=2, ascent="preconditioned", functional=True, **HALF, **REBUILT), 2),
}


@pytest.mark.parametrize("name", sorted(CHEAPER))
@pytest.mark.parametrize("family", ["phi", "llama"])
def test_what_is_saved_is_not_counted(family, name):
    fields, steps = CHEAPER[name]
    check(stepping(built_of(family), fields, steps=steps), analytic(family, fields, steps=steps))


def test_a_cotangent_too_large_to_keep_is_counted_as_rebuilt():
    # By the size of one step: the same work in more steps is kept.
    large = Work(1e9, 1e11, 1e8)
    counts = {
        (keep, steps): cost.training_flops(
            dimensions_of("llama"),
            OptimizerSpec.model_validate(aware(ADAMW, functional=True, cotangent=keep)),
            large,
            steps=steps,
        )
        for keep in ("auto", "kept", "rebuilt")
        for steps in (1, 10**6)
    }
    assert counts["auto", 1] == counts["rebuilt", 1] > counts["kept", 1]
    assert counts["auto", 10**6] == counts["kept", 10**6] < counts["rebuilt", 10**6]


@pytest.mark.parametrize(
    "name",
    [
        "adamw",
        "sam",
        "functional_sam",
        "rebuilt",
        "rebuilt along the momentum",
        "momentum functional",
        "half the batch, functional",
        "every third step, functional",
    ],
)
@pytest.mark.parametrize("family", ["phi", "llama"])
def test_an_output_layer_in_pieces_costs_what_a_whole_one_does(monkeypatch, family, name):
    monkeypatch.setitem(functional_head.ENTRIES, "cpu", 1)
    monkeypatch.setitem(functional_head.ROWS, "cpu", 7)
    fields, steps = CHEAPER[name] if name in CHEAPER else (OPTIMIZERS[name], 1)
    check(stepping(built_of(family), fields, steps=steps), analytic(family, fields, steps=steps))


@pytest.mark.parametrize("family", families.NAMES)
@pytest.mark.parametrize("name", ["adamw", "functional_sam"])
def test_attention_by_torchs_math_kernel_costs_the_same(family, name):
    go = stepping(built_of(family, attention="sdpa"), OPTIMIZERS[name])
    with sdpa_kernel(SDPBackend.MATH):
        check(go, analytic(family, OPTIMIZERS[name]))


@pytest.mark.parametrize("name", ["adamw", "functional_sam", "preconditioned_sam"])
@pytest.mark.parametrize("family", families.NAMES)
def test_padding_is_the_whole_difference_where_there_is_some(family, name):
    # What is counted is what the examples need; what runs is what their rectangle needs.
    padding = 4
    fields = OPTIMIZERS[name]
    length = LENGTH + padding
    padded = Work(EXAMPLES * length, EXAMPLES * length**2, WORK.supervised)
    go = stepping(built_of(family), fields, of=batch(padding=padding))
    check(go, analytic(family, fields, padded))
    assert analytic(family, fields) < 0.85 * analytic(family, fields, padded)


@pytest.mark.parametrize("family", families.NAMES)
def test_the_work_of_a_task_is_that_of_its_batches(family):
    built, of = built_of(family), families.task()
    prepared = of.prepare(of.train, built)
    rows = np.flatnonzero(prepared.lengths == np.bincount(prepared.lengths).argmax())[:8]
    made = prepared.batch(rows, micro_batch=3)
    work = Work.of(prepared, rows)
    assert (made.num_tokens, made.num_supervised) == (work.tokens, work.supervised)
    assert work.supervised < work.tokens
    check(stepping(built, PRESETS["sam"], of=made), analytic(family, PRESETS["sam"], work))


class Extra:
    """A rule with something more to do than its spec says."""

    def __init__(self, rule, parameters, more):
        self._rule, self._parameters, self._more = rule, parameters, more
        self.precondition, self.direction = rule.precondition, rule.direction

    def apply(self, lr_scale):
        matrix = next(p.tensor for p in self._parameters if p.role == "hidden")
        self._more(matrix.grad)
        self._rule.apply(lr_scale)


MORE = {
    "a product": lambda g: g[:2] @ g[:2].T,
    "a batch of products": lambda g: torch.einsum("kij,kjl->kil", g[None, :2], g.T[None, :, :2]),
    "a product under another name": lambda g: nn.functional.linear(g, g),
    "a product with a vector": lambda g: g @ g[0],
    "an inner product": lambda g: torch.dot(g[0], g[1]),
    "a decomposition": torch.linalg.svdvals,
    "a solution": lambda g: torch.linalg.solve(torch.eye(4), g[:4, :4]),
    "a distance": lambda g: torch.cdist(g, g),
    "a product of integers": lambda g: torch._int_mm(
        torch.zeros(32, 16, dtype=torch.int8), torch.zeros(16, 8, dtype=torch.int8)
    ),
}


@pytest.mark.parametrize("more", sorted(MORE))
def test_a_product_that_a_rule_does_not_count_is_found(more):
    fields = PRESETS["adamw"]
    go = stepping(built_of("llama"), fields, rule=lambda rule, parameters: Extra(rule, parameters, MORE[more]))
    with pytest.raises(AssertionError):
        check(go, analytic("llama", fields))


@dataclass
class OneMore:
    """An estimator that looks at the loss once more than its spec says."""

    spec: object

    def estimate(self, oracle, parameters, rule, *, observe):
        oracle.loss()
        return self.spec.estimate(oracle, parameters, rule, observe=observe)


@pytest.mark.parametrize("name", ["adamw", "sam", "functional_sam"])
def test_a_forward_that_an_estimator_does_not_count_is_found(name):
    go = stepping(built_of("llama"), PRESETS[name], estimator=OneMore)
    with pytest.raises(AssertionError):
        check(go, analytic("llama", PRESETS[name]))


def test_attention_that_the_counter_does_not_see_is_found():
    # On a CPU the default kernel is flash attention, which torch's counter takes for nothing.
    go = stepping(built_of("llama", attention="sdpa"), PRESETS["adamw"])
    with pytest.raises(AssertionError, match="flash_attention_for_cpu"):
        counted(go)


@pytest.mark.skipif(not hasattr(nn, "LinearCrossEntropyOptions"), reason="torch has no chunked loss before 2.13")
def test_an_output_layer_that_the_counter_does_not_see_is_found():
    hidden, weight = torch.randn(8, 4, requires_grad=True), torch.randn(10, 4, requires_grad=True)
    options, targets = nn.LinearCrossEntropyOptions(), torch.zeros(8, dtype=torch.long)
    with pytest.raises(AssertionError, match="linear_cross_entropy"):
        counted(lambda: nn.functional.linear_cross_entropy(hidden, weight, targets, options=options))


def test_products_inside_a_function_of_ones_own_are_counted():
    class Squared(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x @ x

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad @ x.T + x.T @ grad

    x = torch.randn(4, 4, requires_grad=True)
    assert counted(lambda: Squared.apply(x).sum().backward()) == (3 * 2 * 4**3, 0)
