"""What every plug-in must satisfy, whatever it does: one suite over all tables. Rules have more in tests/optim."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from optbench.models.roles import parameters_of
from optbench.models.specs import MODELS, ModelSpec
from optbench.models.specs import PRESETS as MODEL_PRESETS
from optbench.optim.ascents import ASCENTS, AscentSpec
from optbench.optim.base import check_claims
from optbench.optim.rules import RULES
from optbench.optim.specs import ESTIMATORS, EstimatorSpec, OptimizerSpec, RuleSpec
from optbench.optim.specs import PRESETS as OPTIMIZER_PRESETS
from optbench.oracle import Oracle
from optbench.order import rows_of_batches
from optbench.panels.specs import PANELS, PanelSpec
from optbench.strategies.base import Trajectories
from optbench.strategies.specs import STRATEGIES, StrategySpec
from optbench.tasks.specs import PRESETS as TASK_PRESETS
from optbench.tasks.specs import TASKS, TaskSpec

TABLES = {
    "models": (MODELS, ModelSpec),
    "tasks": (TASKS, TaskSpec),
    "strategies": (STRATEGIES, StrategySpec),
    "rules": (RULES, RuleSpec),
    "estimators": (ESTIMATORS, EstimatorSpec),
    "ascents": (ASCENTS, AscentSpec),
    "panels": (PANELS, PanelSpec),
}
REQUIRED = {
    "nano": {"family": "llama"},
    "full": {"family": "llama", "weights": "random"},
    "torch": {"target": "torch.optim:Adam", "lr": 0.1},
}
PLUG_INS = [(table, kind) for table, (kinds, _) in TABLES.items() for kind in kinds]
NEED_FILES = {"jsonl", "pretrained", "gsm8k", "mathinstruct"}
NANO = sorted(name for name in MODEL_PRESETS if name.endswith("-nano"))


def of(table, content):
    return TypeAdapter(TABLES[table][1]).validate_python(content)


@pytest.mark.parametrize(("table", "kind"), PLUG_INS)
def test_a_spec_is_described_frozen_strict_and_survives_json(table, kind):
    cls = TABLES[table][0][kind]
    assert cls.__doc__
    assert cls.model_fields["kind"].default == kind
    if kind in NEED_FILES:
        return
    spec = of(table, {"kind": kind, **REQUIRED.get(kind, {})})
    assert of(table, json.loads(json.dumps(spec.dump()))) == spec
    assert spec.identity() == of(table, spec.dump()).identity()
    assert spec.identity()["kind"] == kind
    with pytest.raises(ValidationError):
        spec.kind = "other"
    with pytest.raises(ValidationError):
        of(table, {"kind": kind, **REQUIRED.get(kind, {}), "no_such_field": 1})


@pytest.mark.parametrize(("table", "kind"), PLUG_INS)
def test_a_raised_revision_changes_the_identity(table, kind, monkeypatch):
    if kind in NEED_FILES:
        return
    spec = of(table, {"kind": kind, **REQUIRED.get(kind, {})})
    before = spec.identity()
    monkeypatch.setattr(type(spec), "revision", 2)
    assert spec.identity() != before


def test_the_revision_of_a_nested_default_shows(monkeypatch):
    spec = of("strategies", {"kind": "upsample"})
    before = spec.identity()
    monkeypatch.setattr(RULES["adamw"], "revision", 2)
    assert spec.identity() != before


@pytest.mark.parametrize("presets", [MODEL_PRESETS, TASK_PRESETS, OPTIMIZER_PRESETS])
def test_presets_are_valid(presets):
    kind = {id(MODEL_PRESETS): ModelSpec, id(TASK_PRESETS): TaskSpec, id(OPTIMIZER_PRESETS): OptimizerSpec}[id(presets)]
    for content in presets.values():
        TypeAdapter(kind).validate_python(content)


def nano(name, seed=0, **fields):
    spec = of("models", {**MODEL_PRESETS[name], **fields})
    return spec, spec.build(seed=seed, device="cpu", precision="float32", attention="sdpa")


@pytest.fixture(scope="module")
def arithmetic():
    return of("tasks", {"kind": "arithmetic", "train": 96, "validation": 12, "test": 24}).build()


@pytest.mark.parametrize("name", NANO)
def test_a_model_depends_on_its_seed_alone_and_leaves_the_global_generator(name):
    state = torch.get_rng_state()
    _, one = nano(name)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(9)
    _, two = nano(name)
    _, other = nano(name, seed=1)
    flat = [torch.cat([p.flatten() for p in model.module.parameters()]) for model in (one, two, other)]
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])
    assert {p.dtype for p in one.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", NANO)
def test_nano_models_have_about_a_tenth_of_a_million_parameters(name):
    spec, model = nano(name)
    matrices = sum(p.numel() for p in model.module.parameters() if p.dim() == 2)
    assert matrices == spec.dimensions().matrix_parameters
    assert 80_000 < sum(p.numel() for p in model.module.parameters()) < 120_000


@pytest.mark.parametrize("name", NANO)
def test_dimensions_list_the_hidden_matrices_that_are_there(name):
    spec, model = nano(name)
    found = sorted(tuple(p.tensor.shape) for p in parameters_of(model.module) if p.role == "hidden")
    assert found == sorted(spec.dimensions().hidden_matrices())


@pytest.mark.parametrize("name", sorted(name for name in MODEL_PRESETS if MODEL_PRESETS[name]["kind"] == "full"))
def test_published_sizes_agree_with_the_classes_of_transformers(name):
    from transformers import AutoModelForCausalLM

    from optbench.models import families

    spec = of("models", {**MODEL_PRESETS[name], "weights": "random"})
    family = families.FAMILIES[spec.family]
    with torch.device("meta"):
        import transformers

        config = getattr(transformers, family.config_class)(**family.published, tie_word_embeddings=family.tied)
        module = AutoModelForCausalLM.from_config(config)
    module.tie_weights()
    found = sorted(tuple(p.tensor.shape) for p in parameters_of(module) if p.role == "hidden")
    assert found == sorted(spec.dimensions().hidden_matrices())
    named = dict(module.named_parameters())
    assert sum(p.numel() for p in named.values() if p.dim() == 2) == spec.dimensions().matrix_parameters


@pytest.mark.parametrize("name", NANO)
def test_outputs_are_the_logits_at_supervised_positions_and_padding_changes_nothing(name, arithmetic):
    _, model = nano(name)
    model.module.eval()
    prepared = arithmetic.prepare(arithmetic.train, model)
    rows = np.arange(12)
    together = torch.cat([model.outputs(part) for part in prepared.batch(rows, micro_batch=12).parts])
    apart = torch.cat([model.outputs(part) for part in prepared.batch(rows, micro_batch=1).parts])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)
    (part,) = prepared.batch(rows[:1], micro_batch=1).parts
    logits = model.module(**part.inputs).logits.flatten(0, 1)[part.positions]
    torch.testing.assert_close(model.outputs(part), logits)


@pytest.mark.parametrize("name", NANO)
@pytest.mark.parametrize("micro_batch", [12, 5, 1])
def test_the_gradient_is_that_of_transformers_own_loss_however_the_batch_is_cut(name, micro_batch, arithmetic):
    _, model = nano(name)
    prepared = arithmetic.prepare(arithmetic.train, model)
    rows = np.arange(12)
    Oracle(model, arithmetic.losses, prepared.batch(rows, micro_batch=micro_batch)).gradient()
    ours = [p.grad.clone() for p in model.module.parameters()]
    model.module.zero_grad()
    tokenizer = model.tokenizer
    encoded = [arithmetic.encode(example, tokenizer) for example in arithmetic.train[:12]]
    longest = max(len(ids) for ids, _ in encoded)
    ids = torch.tensor([i + [tokenizer.pad_id] * (longest - len(i)) for i, _ in encoded])
    mask = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i, _ in encoded])
    labels = ids.clone()
    for row, (i, prompt) in enumerate(encoded):
        labels[row, :prompt] = -100
        labels[row, len(i) :] = -100
    model.module(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    for a, p in zip(ours, model.module.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZER_PRESETS))
@pytest.mark.parametrize("name", NANO)
def test_every_optimizer_trains_every_family(name, optimizer, arithmetic):
    _, model = nano(name, width=16, heads=2, kv_heads=1)
    parameters = parameters_of(model.module)
    built = OptimizerSpec.model_validate(OPTIMIZER_PRESETS[optimizer]).build(parameters)
    check_claims(parameters, built.rule.claims())
    batch = arithmetic.prepare(arithmetic.train, model).batch(np.arange(48), micro_batch=48)
    losses = [float(built.step(Oracle(model, arithmetic.losses, batch)).loss) for _ in range(12)]
    assert losses[-1] < losses[0]


def trajectories(task):
    """Losses that fall fast for half the rows of each source and slowly for the others."""
    slow = np.arange(len(task.train)) // 6 % 2 == 1
    losses = np.where(slow[:, None], [3.0, 2.9, 2.8], [3.0, 1.0, 0.2])
    noise = np.random.default_rng(0).uniform(0.95, 1.05, losses.shape)
    return slow, Trajectories(losses * noise, np.array([1, 2, 3]), "k", 1.0, 1.0)


@pytest.mark.parametrize("kind", sorted(STRATEGIES))
def test_a_plan_keeps_every_training_example_and_is_the_same_twice(kind, arithmetic):
    _, found = trajectories(arithmetic)
    spec = of("strategies", {"kind": kind})
    plans = [spec.plan(arithmetic, lambda: found, arithmetic.rewrite, seed=3) for _ in range(2)]
    for plan in plans:
        assert list(plan.examples[: len(arithmetic.train)]) == list(arithmetic.train)
        assert len(plan.repeats) == len(plan.examples)
        assert plan.repeats.min() >= 1
        assert json.dumps(plan.notes)
    assert plans[0].examples == plans[1].examples
    assert np.array_equal(plans[0].repeats, plans[1].repeats)
    held_out = {example.question for split in (arithmetic.validation, arithmetic.test) for example in split}
    assert not held_out & {example.question for example in plans[0].examples}


def test_uniform_never_asks_the_probe(arithmetic):
    def probe():
        raise AssertionError("asked")

    assert of("strategies", {"kind": "uniform"}).plan(arithmetic, probe, arithmetic.rewrite, seed=0).repeats.sum() == 96


@pytest.mark.parametrize("trajectory", ["ratio", "raw"])
@pytest.mark.parametrize("scope", ["source", "all"])
def test_upsample_shows_the_slow_examples_twice(arithmetic, trajectory, scope):
    slow, found = trajectories(arithmetic)
    select = {"trajectory": trajectory, "scope": scope, "min_source": 4}
    plan = of("strategies", {"kind": "upsample", "select": select}).plan(
        arithmetic, lambda: found, arithmetic.rewrite, seed=0
    )
    assert np.array_equal(plan.repeats, np.where(slow, 2, 1))
    assert plan.notes["later_learned"] == slow.sum()


def test_a_source_too_small_to_cluster_is_taken_whole(arithmetic):
    _, found = trajectories(arithmetic)
    plan = of("strategies", {"kind": "upsample"}).plan(arithmetic, lambda: found, arithmetic.rewrite, seed=0)
    assert (plan.repeats == 2).all()


def test_augment_adds_new_problems_of_the_kinds_that_are_learned_late(arithmetic):
    slow, found = trajectories(arithmetic)
    select = {"min_source": 4}
    spec = of("strategies", {"kind": "augment", "factor": 3, "select": select})
    plan = spec.plan(arithmetic, lambda: found, arithmetic.rewrite, seed=0)
    added = plan.examples[len(arithmetic.train) :]
    late = [example.source for example, is_slow in zip(arithmetic.train, slow, strict=True) if is_slow]
    assert sorted(example.source for example in added) == sorted(late * 2)
    known = {example.question for example in arithmetic.train}
    assert plan.notes["added_new_questions"] == len({example.question for example in added} - known) > 0


@pytest.mark.parametrize("kind", ["random_upsample", "random_augment"])
def test_a_control_is_of_the_same_size_in_every_source_and_random(arithmetic, kind):
    slow, found = trajectories(arithmetic)
    select = {"min_source": 4}
    spec = of("strategies", {"kind": kind, "select": select})
    twin = of("strategies", {"kind": kind.removeprefix("random_"), "select": select})
    plan, matched = (s.plan(arithmetic, lambda: found, arithmetic.rewrite, seed=0) for s in (spec, twin))
    assert plan.repeats.sum() == matched.repeats.sum()
    assert not plan.charged
    assert plan.notes["overlap_with_later_learned"] < 0.8
    other = spec.plan(arithmetic, lambda: found, arithmetic.rewrite, seed=1)
    assert plan.notes != other.notes or not np.array_equal(plan.repeats, other.repeats)


def test_each_round_shows_every_row_as_often_as_planned_and_batches_cross_rounds():
    repeats = np.array([1, 2, 1, 3])
    stream = rows_of_batches(repeats, 5, seed=0)
    rows = np.concatenate([next(stream) for _ in range(7)])
    for start in range(0, 35, 7):
        assert np.array_equal(np.bincount(rows[start : start + 7], minlength=4), repeats)
    again = rows_of_batches(repeats, 5, seed=0)
    assert np.array_equal(rows[:5], next(again))
    assert not np.array_equal(rows[:7], rows[7:14])


def test_new_examples_are_written_once_and_read_back(arithmetic, tmp_path):
    from optbench.strategies.rewrites import Rewriting

    asked = list(arithmetic.train[:7])
    first = Rewriting(arithmetic, {"kind": "arithmetic"}, tmp_path)(asked, 5)

    def refuse(examples, seed):
        raise AssertionError("written again")

    again = Rewriting(dataclasses.replace(arithmetic, rewriter=refuse), {"kind": "arithmetic"}, tmp_path)
    assert again(asked, 5) == first == arithmetic.rewrite(asked, 5)
    assert again.seconds > 0
    for other in (lambda: again(asked, 6), lambda: again(asked[1:], 5)):
        with pytest.raises(AssertionError, match="written again"):
            other()


def test_a_diverged_probe_is_refused_and_not_kept(tmp_path):
    from optbench.errors import UserError
    from optbench.strategies.probe import ProbeRun
    from optbench.strategies.probe_spec import ProbeSpec

    task = of("tasks", {"kind": "arithmetic", "train": 96, "validation": 12, "test": 24})
    spec = ProbeSpec.model_validate({"optimizer": {"rule": {"kind": "gd", "lr": 1e20}}, "batch_size": 16})
    model = of("models", {**MODEL_PRESETS["llama-nano"], "width": 16, "layers": 1, "heads": 2, "kv_heads": 1})
    probe = ProbeRun(spec, model, task.identity(), "float32", "sdpa")
    with pytest.raises(UserError, match="the probe diverged at step"):
        probe.run(task.build(), tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("record", ["online", "looks", "losses"])
def test_a_probe_does_not_depend_on_what_ran_before_it_nor_on_the_micro_batch(record, tmp_path):
    from optbench.strategies.probe import ProbeRun
    from optbench.strategies.probe_spec import ProbeSpec

    task = of("tasks", {"kind": "arithmetic", "train": 100, "validation": 12, "test": 24})
    model = of("models", {**MODEL_PRESETS["phi-nano"], "width": 16, "layers": 1, "heads": 2, "kv_heads": 1})
    found = []
    for micro_batch in (4096, 4096, 7):
        torch.manual_seed(len(found))
        spec = ProbeSpec(batch_size=32, record=record, micro_batch=micro_batch)
        run = ProbeRun(spec, model, task.identity(), "float32", "sdpa")
        found.append(run.run(task.build(), tmp_path / str(len(found)), device="cpu"))
    assert found[0].losses.shape == (100, 3)
    assert np.array_equal(found[0].losses, found[1].losses)
    np.testing.assert_allclose(found[0].losses, found[2].losses, rtol=1e-3)
    assert not (found[0].losses == 1.0).any()


def test_observed_steps_leave_most_steps_to_be_timed():
    from optbench.trained import observed_steps

    assert observed_steps(1) <= {0}
    assert len(observed_steps(6)) == 1
    assert len(observed_steps(300)) == 8
    assert max(observed_steps(300)) < 300


def test_an_output_layer_that_was_resized_is_found_anew():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=20
    )
    module = LlamaForCausalLM(config)
    batch = {"input_ids": torch.randint(0, 20, (2, 6)), "labels": torch.randint(0, 20, (2, 6))}
    Oracle.from_batch(module, batch).gradient()
    module.resize_token_embeddings(32, mean_resizing=False)
    expected = float(module(**batch).loss.detach())
    assert float(Oracle.from_batch(module, batch).loss()) == pytest.approx(expected, rel=1e-5)
