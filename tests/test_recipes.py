"""The suites of the two papers: what their sources state, cuts that are cuts, and sizes that differ in size alone."""

from pathlib import Path

import pytest

from optbench.selection import narrowed
from optbench.suite import load_suite

SUITES = Path(__file__).parents[1] / "suites"
FULL = {"phi2": "phi-2", "llama": "llama-3.2-1b", "gemma": "gemma-3-1b-pt", "qwen": "qwen3-0.6b-base"}
SIZES = {"24m": 576, "42m": 768, "118m": 1280, "1_2b": 4096}
OPTIMIZERS = {"gd", "adamw", "muon", "sam", "functional_sam", "preconditioned_sam", "preconditioned_functional_sam"}
SETS = ["gsm8k", "math", "svamp", "numglue", "mathematics", "simuleq"]


@pytest.fixture(scope="module")
def full():
    return load_suite(SUITES / "full.yaml")


def content(arm):
    return {axis: spec.dump() for axis, spec in arm.specs().items()} | {"training": arm.training.dump()}


def test_full_is_the_whole_matrix_by_the_recipe_of_the_source(full):
    assert len(full.cells()) == 84
    names = [arm.axes() for arm in full.arms]
    assert {name["model"] for name in names} == set(FULL.values())
    assert {name["optimizer"] for name in names} == OPTIMIZERS
    for arm in full.arms:
        training, task = arm.training, arm.task_spec
        assert (training.batch_size, training.steps) == (32, -(-3 * 248_937 // 32))
        assert (training.schedule.kind, training.schedule.warmup, training.schedule.final) == ("cosine", 0.03, 0.0)
        assert (task.max_length, task.max_new_tokens, task.data_seed, task.validation_fraction) == (512, 300, 42, 0.05)
        assert task.prompt.startswith("Below is an instruction that describes a task.")
        assert [each.set for each in task.evaluate_on] == SETS and task.programs == "off"
        assert arm.optimizer_spec.max_norm == 1.0
        if arm.optimizer != "gd":
            assert arm.optimizer_spec.rule.lr == 2e-5
            assert arm.optimizer_spec.rule.weight_decay == 0.0
        if arm.strategy != "uniform":
            probe = arm.strategy_spec.probe
            assert probe.model.path == "EleutherAI/pythia-70m"
            assert (probe.epochs, probe.batch_size, probe.optimizer.rule.lr) == (3, 32, 2e-5)
            assert (arm.strategy_spec.factor, arm.strategy_spec.select.clusters) == (2, 2)


@pytest.mark.parametrize("short", sorted(FULL))
def test_a_suite_of_one_model_is_full_narrowed_to_it(full, short):
    one, cut = load_suite(SUITES / f"full_{short}.yaml"), narrowed(full, [f"model={FULL[short]}"])
    assert [arm.name for arm in one.arms] == [arm.name for arm in cut.arms]
    for mine, other in zip(one.arms, cut.arms, strict=True):
        assert content(mine) == content(other), mine.name
    assert one.contrasts == cut.contrasts and one.seeds == cut.seeds and one.ranked_by == cut.ranked_by
    assert one.execution == cut.execution


def test_the_lora_suite_differs_in_its_adapters_and_its_batch_alone(full):
    lora = load_suite(SUITES / "full_lora.yaml")
    assert [arm.name for arm in lora.arms] == [arm.name for arm in full.arms]
    for mine, other in zip(lora.arms, full.arms, strict=True):
        adapters = mine.model_spec.lora
        assert (adapters.r, adapters.alpha, adapters.dropout) == (8, 16, 0.05)
        assert adapters.targets == ("q_proj", "v_proj")
        assert mine.model_spec.model_copy(update={"lora": None}) == other.model_spec
        own, its = content(mine), content(other)
        assert all(own[axis] == its[axis] for axis in ("task", "strategy", "optimizer"))
        assert (mine.training.batch_size, mine.training.steps) == (128, -(-3 * 248_937 // 128))
        same = {"steps": 0, "batch_size": 0, "micro_batch": 0}
        assert own["training"] | same == its["training"] | same
    assert lora.contrasts == full.contrasts


@pytest.mark.parametrize("size", sorted(SIZES))
def test_pretraining_has_a_fixed_length_and_twenty_tokens_for_each_parameter(size):
    suite = load_suite(SUITES / f"pretrain_{size}.yaml")
    assert {arm.model_spec.width for arm in suite.arms} == {SIZES[size]}
    for fixed, compute_optimal in zip(suite.arms[::2], suite.arms[1::2], strict=True):
        assert fixed.training.steps == 10_000
        assert compute_optimal.budget == {"tokens": 20 * 12 * 6 * SIZES[size] ** 2}
        longest = max(fixed.training.steps, compute_optimal.training.steps)
        # Every sequence is seen at most once.
        assert longest * 256 <= fixed.task_spec.train_sequences


def test_sizes_differ_in_size_budget_rate_and_micro_batch_alone():
    suites = [load_suite(SUITES / f"pretrain_{size}.yaml") for size in SIZES]
    for suite in suites[1:]:
        for mine, first in zip(suite.arms, suites[0].arms, strict=True):
            own, its = content(mine), content(first)
            for one in (own, its):
                for name in ("width", "heads", "kv_heads"):
                    one["model"].pop(name)
                rate = one["optimizer"]["rule"].pop("lr")
                one["training"] = {n: v for n, v in one["training"].items() if n not in ("steps", "micro_batch")}
                one["task"].pop("train_sequences")
                one["rate"] = rate
            width, base = mine.model_spec.width, first.model_spec.width
            assert own.pop("rate") * width == pytest.approx(its.pop("rate") * base, rel=0.01)
            assert own == its
        assert suite.contrasts == suites[0].contrasts


def test_the_nano_suite_has_two_sizes_and_budgets_in_proportion():
    suite = load_suite(SUITES / "pretrain_nano.yaml")
    sizes = {arm.model: 12 * arm.model_spec.layers * arm.model_spec.width**2 for arm in suite.arms}
    for arm in suite.arms:
        assert arm.model_spec.dimensions().hidden_parameters == pytest.approx(sizes[arm.model], rel=0.03)
    tokens = {arm.budget["tokens"] for arm in suite.arms if "tokens" in arm.budget}
    assert tokens == {20 * size for size in sizes.values()} and len(sizes) == 2
    assert {arm.training.steps for arm in suite.arms} == {60, 150, 240}
