"""Options of training that change no number beyond rounding: what they promise, and who is refused."""

import dataclasses
import os

import families
import pytest
import torch
from cells import CELL
from torch import nn
from torch._dynamo.backends.debugging import aot_eager

from optbench.cell import Training
from optbench.curvature.applies import evaluating
from optbench.curvature.exact import Exact
from optbench.errors import UserError
from optbench.models import options
from optbench.models.linear_attention import LinearAttention
from optbench.models.options import WORKSPACE, checkpoint_activations, compiled, deterministic, with_options
from optbench.models.roles import parameters_of
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.runner import run_cell
from optbench.store import Store

OPTIMIZERS = ["adamw", "sam", "functional_sam"]


def dropping(*, dropout=0.3, **fields):
    """A model with dropout, in training mode."""
    built = families.model("phi", layers=2, **fields)
    for part in built.module.modules():
        if isinstance(part, nn.Dropout):
            part.p = dropout
    built.module.train()
    return built


def trained(built, optimizer, steps=3):
    """Losses and weights after a few steps, the generators seeded."""
    spec = OptimizerSpec.model_validate(PRESETS[optimizer])
    rule = spec.build(parameters_of(built.module))
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(5)
        losses = [rule.step(families.oracle(built, examples=5, micro_batch=2)).loss for _ in range(steps)]
    return [torch.stack(losses), *[p.detach().clone() for p in built.module.parameters()]]


def close(found, expected, tolerance):
    return all(float((f - e).norm()) <= tolerance * float(e.norm()) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_checkpointed_activations_are_made_anew_with_the_same_masks(optimizer):
    built, calls = dropping(), []
    checkpoint_activations(built)
    layer = built.head.backbone.layers[0].mlp
    layer.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    found = trained(built, optimizer)
    passes, parts = 3 * (1 if optimizer == "adamw" else 2), 3
    assert len(calls) == 2 * passes * parts, "each layer runs forward twice in a pass"
    assert close(found, trained(dropping(), optimizer), 1e-12)
    assert not close(found, trained(dropping(dropout=0.0), optimizer), 1e-3), "there was no dropout to repeat"


def test_panels_and_evaluation_keep_their_activations():
    built, calls = families.model("llama"), []
    checkpoint_activations(built)
    built.module.train()
    built.head.backbone.layers[0].mlp.register_forward_hook(lambda *_: calls.append(1))
    vectors = [torch.ones(sum(p.numel() for p in built.module.parameters()), dtype=torch.float64)]
    with evaluating(built.module), Exact(families.oracle(built)).hessian() as product:
        found = product(vectors)
    plain = families.model("llama")
    with Exact(families.oracle(plain)).hessian() as product:
        assert torch.equal(found[0], product(vectors)[0])
    assert len(calls) == 1


def test_models_without_checkpointing_are_refused():
    regressor = LinearAttention().build(seed=0, device="cpu", precision="float32", attention="sdpa")
    with pytest.raises(UserError, match="SelfAttention does not support it"):
        checkpoint_activations(regressor)
    built = families.model("llama")
    built.module.supports_gradient_checkpointing = False
    with pytest.raises(UserError, match="activation_checkpointing: LlamaForCausalLM does not support it"):
        with_options(built, Training(steps=1, activation_checkpointing=True))
    with pytest.raises(UserError, match="compile: only language models"):
        with_options(regressor, Training(steps=1, compile=True))


class Counting:
    """A compiler that emits what it was given, counting graphs and runs of the forward."""

    def __init__(self):
        self.graphs = self.runs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        code = aot_eager(graph, inputs)

        def run(*arguments):
            self.runs += 1
            return code(*arguments)

        return run


@pytest.fixture(scope="module")
def compiling():
    """A compiled model in training mode, and what its compiler counted; compiled once, for that takes seconds."""
    backend = Counting()
    built = compiled(families.model("llama"), backend)
    built.module.train()
    return built, backend


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_compiled_steps_see_updates_and_shifts(compiling, optimizer):
    built, backend = compiling
    plain = families.model("llama")
    with torch.no_grad():
        for p, q in zip(built.module.parameters(), plain.module.parameters(), strict=True):
            p.copy_(q)
    before = backend.runs
    found = trained(built, optimizer)
    assert backend.runs > before, "nothing compiled has run"
    plain.module.train()
    assert close(found, trained(plain, optimizer), 1e-12)


def test_batches_of_other_shapes_run_the_same_code(compiling):
    built, backend = compiling
    families.oracle(built, examples=4).gradient()
    graphs = backend.graphs
    for examples in (3, 5, 2):
        families.oracle(built, examples=examples).gradient()
    assert backend.graphs == graphs


def test_evaluation_and_second_derivatives_run_the_plain_module(compiling):
    built, backend = compiling
    before = backend.runs
    vectors = [torch.ones(sum(p.numel() for p in built.module.parameters()), dtype=torch.float64)]
    with evaluating(built.module):
        families.oracle(built).loss()
        with Exact(families.oracle(built)).hessian() as product:
            found = product(vectors)
    assert backend.runs == before
    with Exact(families.oracle(dataclasses.replace(built, run=families.model("llama").run))).hessian() as product:
        assert torch.equal(found[0], product(vectors)[0])


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # Torch's own, when its compiler is imported.
def test_without_a_compiler_compilation_is_refused():
    options._check_compiler.cache_clear()
    changes = {"cpp.cxx": ("no-such-compiler",), "fx_graph_cache": False, "autotune_local_cache": False}
    with torch._inductor.config.patch(changes), pytest.raises(UserError, match="compile: nothing can be compiled here"):
        compiled(families.model("llama"))
    options._check_compiler.cache_clear()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("family", families.NAMES)
def test_the_compiler_of_torch_changes_rounding_alone(family):
    plain, built = (families.model(family, dtype=torch.float32) for _ in range(2))
    built = compiled(built)
    for model in (plain, built):
        model.module.train()
    for optimizer in OPTIMIZERS:
        assert close(trained(built, optimizer, steps=2), trained(plain, optimizer, steps=2), 1e-5)


def test_deterministic_kernels_alone_and_then_as_before(monkeypatch):
    monkeypatch.setenv(WORKSPACE, "as it was")
    where = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="deterministic"), deterministic(wanted=True):
        assert os.environ[WORKSPACE] == ":4096:8"
        torch.zeros(3).put_(where, torch.ones(1))
    assert os.environ[WORKSPACE] == "as it was"
    assert not torch.are_deterministic_algorithms_enabled()
    monkeypatch.delenv(WORKSPACE)
    with deterministic(wanted=True):
        pass
    assert WORKSPACE not in os.environ
    with deterministic(wanted=False):
        torch.zeros(3).put_(where, torch.ones(1))


def test_a_cell_with_options_is_another_cell_with_the_same_numbers(tmp_path):
    training = {"steps": 4, "batch_size": 16}
    cell = CELL.model_copy(update={"training": Training(**training)})
    asked = CELL.model_copy(
        update={"training": Training(**training, activation_checkpointing=True, deterministic=True)}
    )
    assert asked.key != cell.key
    found, expected = (run_cell(c, Store(tmp_path)).result for c in (asked, cell))
    assert found["final_loss"] == pytest.approx(expected["final_loss"], rel=1e-6)
    assert found["test_nll"] == pytest.approx(expected["test_nll"], rel=1e-6)
    assert not torch.are_deterministic_algorithms_enabled()


def test_defaults_leave_the_key_alone_and_each_option_changes_it():
    plain = Training(steps=4)
    assert {"activation_checkpointing", "compile", "deterministic", "shift", "ranks"}.isdisjoint(plain.identity())
    changed = [
        {"activation_checkpointing": True},
        {"compile": True},
        {"deterministic": True},
        {"shift": "per_rank", "ranks": 2},
        {"shift": "per_rank", "ranks": 4},
    ]
    keys = {CELL.model_copy(update={"training": Training(steps=4, **fields)}).key for fields in [{}, *changed]}
    assert len(keys) == 1 + len(changed)


def test_a_shift_per_rank_says_how_many_there_are():
    with pytest.raises(ValueError, match="needs `ranks`"):
        Training(steps=1, shift="per_rank")
    with pytest.raises(ValueError, match="only `shift: per_rank` depends on them"):
        Training(steps=1, ranks=2)
