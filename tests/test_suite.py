"""From a suite file to arms, cells and keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from optbench.cell import Budget
from optbench.errors import UserError
from optbench.selection import narrowed
from optbench.suite import Suite, load_suite

SUITE = """\
name: small
question: Which optimizer?
models: [phi-nano]
tasks: [arithmetic]
strategies: [uniform]
optimizers: [adamw]
budget: {steps: 10}
training: {batch_size: 8}
"""
Load = Callable[[str], Suite]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(text: str) -> Suite:
        (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
        return load_suite(tmp_path / "x.yaml")

    return loaded


def keys(suite: Suite) -> list[str]:
    return [cell.key for cell in suite.cells()]


# arms and cells


def test_arms_are_the_product_of_the_axes_and_cells_have_a_seed(load: Load) -> None:
    text = SUITE.replace("[phi-nano]", "[phi-nano, llama-nano]").replace("[adamw]", "[adamw, sam, muon]")
    suite = load(text + "seeds: 2\n")
    assert [arm.name for arm in suite.arms][:4] == [
        "phi-nano/arithmetic/uniform/adamw",
        "phi-nano/arithmetic/uniform/sam",
        "phi-nano/arithmetic/uniform/muon",
        "llama-nano/arithmetic/uniform/adamw",
    ]
    assert [cell.seed for cell in suite.cells()] == [0, 1] * 6
    assert len(set(keys(suite))) == 12


@pytest.mark.parametrize(("seeds", "expected"), [("1", [0]), ("3", [0, 1, 2]), ("[5, 2]", [5, 2])])
def test_a_number_of_seeds_counts_from_0_and_a_list_is_taken_as_it_is(
    seeds: str, expected: list[int], load: Load
) -> None:
    assert load(SUITE + f"seeds: {seeds}\n").seeds == expected


def test_a_suite_is_called_by_its_name_or_else_its_file(load: Load) -> None:
    assert load(SUITE).name == "small"
    assert load(SUITE.replace("name: small\n", "")).name == "x"


def test_a_preset_is_deep_merged_with_the_fields_beside_it(load: Load) -> None:
    fields = "estimator: {functional: false, rho: 0.5}, rule: {lr: 0.25}"
    suite = load(SUITE.replace("[adamw]", f"[{{name: x, preset: functional_sam, {fields}}}]"))
    estimator, rule = suite.arms[0].optimizer_spec.estimator, suite.arms[0].optimizer_spec.rule
    assert (estimator.kind, estimator.rho, estimator.functional) == ("sharpness_aware", 0.5, False)
    assert (rule.kind, rule.lr) == ("adamw", 0.25)


def test_a_sweep_makes_one_named_entry_for_each_combination(load: Load) -> None:
    suite = load(SUITE.replace("[adamw]", "[{preset: sam, sweep: {rule.lr: [1e-3, 3e-3], estimator.rho: [0.1, 0.2]}}]"))
    assert {arm.optimizer: (arm.optimizer_spec.rule.lr, arm.optimizer_spec.estimator.rho) for arm in suite.arms} == {
        "sam[rule.lr=0.001,estimator.rho=0.1]": (0.001, 0.1),
        "sam[rule.lr=0.001,estimator.rho=0.2]": (0.001, 0.2),
        "sam[rule.lr=0.003,estimator.rho=0.1]": (0.003, 0.1),
        "sam[rule.lr=0.003,estimator.rho=0.2]": (0.003, 0.2),
    }


def test_a_sweep_may_go_over_kinds(load: Load) -> None:
    suite = load(SUITE.replace("[adamw]", "[{preset: sam, sweep: {rule.kind: [gd, muon]}}]"))
    assert [arm.optimizer_spec.rule.kind for arm in suite.arms] == ["gd", "muon"]
    assert {arm.optimizer_spec.estimator.kind for arm in suite.arms} == {"sharpness_aware"}


def test_several_budgets_are_an_axis_and_part_of_the_name(load: Load) -> None:
    suite = load(SUITE.replace("[adamw]", "[adamw, sam]").replace("{steps: 10}", "[{steps: 10}, {passes: 10}]"))
    assert {arm.name.removeprefix("phi-nano/arithmetic/uniform/"): arm.training.steps for arm in suite.arms} == {
        "adamw/10 steps": 10,
        "adamw/10 passes": 10,
        "sam/10 steps": 10,
        "sam/10 passes": 5,
    }


def test_the_budget_of_an_arm_is_as_it_was_given(load: Load) -> None:
    assert load(SUITE).arms[0].budget == {"steps": 10}
    assert load(SUITE.replace("steps: 10", "passes: 10.5")).arms[0].budget == {"passes": 10.5}


def test_the_budget_counts_the_batch_size_that_an_override_sets(load: Load) -> None:
    text = SUITE.replace("steps: 10", "epochs: 1")
    plain = load(text).arms[0].training.steps
    halved = load(text + "overrides: [{set: {training: {batch_size: 4}}}]\n").arms[0].training.steps
    assert 2 * plain - 1 <= halved <= 2 * plain


@pytest.mark.parametrize(
    ("budget", "label"),
    [
        (Budget(steps=300), "300 steps"),
        (Budget(passes=1500.0), "1,500 passes"),
        (Budget(epochs=0.5), "0.5 epochs"),
        (Budget(flops=1.5e15), "1.5e+15 flops"),
    ],
)
def test_a_budget_has_a_readable_label(budget: Budget, label: str) -> None:
    assert budget.label == label


# contrasts


def test_a_contrast_holds_names_and_a_default_name(load: Load) -> None:
    suite = load(
        SUITE.replace("[adamw]", "[adamw, sam]")
        + "contrasts:\n  - {of: {optimizer: sam}, minus: {optimizer: adamw}}\n"
        + "  - {name: X, of: {optimizer: sam}, minus: {optimizer: adamw}, metric: accuracy/sums}\n"
    )
    first, second = suite.contrasts
    assert (first.name, first.of, first.minus) == ("sam minus adamw", {"optimizer": "sam"}, {"optimizer": "adamw"})
    assert (first.metric, second.name, second.metric) == ("accuracy", "X", "accuracy/sums")


def test_a_contrast_may_be_between_budgets(load: Load) -> None:
    suite = load(
        SUITE.replace("{steps: 10}", "[{steps: 1000}, {passes: 10}]")
        + 'contrasts: [{of: {budget: "10 passes"}, minus: {budget: "1,000 steps"}}]\n'
    )
    assert suite.contrasts[0].minus == {"budget": "1,000 steps"}
    assert suite.arms[0].axes()["budget"] == "1,000 steps"


# keys

SAME = {
    "another display name": SUITE.replace("[adamw]", "[{name: other, preset: adamw}]"),
    "the preset spelled out": SUITE.replace("[adamw]", "[{name: other, rule: {kind: adamw}}]"),
    "a default stated": SUITE.replace("[adamw]", "[{preset: adamw, rule: {eps: 1e-8}}]"),
    "an integer where a float is meant": SUITE.replace("[adamw]", "[{preset: adamw, rule: {weight_decay: 0}}]"),
    "another name and question": SUITE.replace("small", "large").replace("Which", "What"),
    "other workers and threads": SUITE + "execution: {workers: 7, threads: 3}\n",
    "contrasts": SUITE.replace("[adamw]", "[adamw, sam]")
    + "contrasts: [{of: {optimizer: sam}, minus: {optimizer: adamw}}]\n",
    "lines in another order": "".join(reversed(SUITE.splitlines(keepends=True))),
    "fields in another order": SUITE.replace("{batch_size: 8}", "{precision: float32, batch_size: 8}"),
    "the budget in passes": SUITE.replace("steps: 10", "passes: 10"),
    "the budget in passes, with a rest": SUITE.replace("steps: 10", "passes: 10.9"),
    "training stated in full": SUITE.replace("batch_size: 8", "batch_size: 8, schedule: {kind: cosine, warmup: 0.05}"),
    "a micro-batch that holds the batch": SUITE.replace("batch_size: 8", "batch_size: 8, micro_batch: 8"),
    "an override to the same": SUITE + "overrides: [{where: {optimizer: adamw}, set: {training: {batch_size: 8}}}]\n",
    "a sweep over the same": SUITE.replace("[adamw]", "[{preset: adamw, sweep: {rule.eps: [1e-8]}}]"),
}

OTHER = {
    "rate": SUITE.replace("[adamw]", "[{preset: adamw, rule: {lr: 0.5}}]"),
    "rule": SUITE.replace("[adamw]", "[gd]"),
    "estimator": SUITE.replace("[adamw]", "[sam]"),
    "clipping": SUITE.replace("[adamw]", "[{preset: adamw, max_norm: 1}]"),
    "model": SUITE.replace("phi-nano", "llama-nano"),
    "model size": SUITE.replace("[phi-nano]", "[{preset: phi-nano, width: 96}]"),
    "strategy": SUITE.replace("[uniform]", "[upsample]"),
    "steps": SUITE.replace("steps: 10", "steps: 11"),
    "batch": SUITE.replace("batch_size: 8", "batch_size: 9"),
    "micro-batch": SUITE.replace("batch_size: 8", "batch_size: 8, micro_batch: 4"),
    "schedule": SUITE.replace("batch_size: 8", "batch_size: 8, schedule: {kind: linear}"),
    "precision": SUITE.replace("batch_size: 8", "batch_size: 8, precision: bf16"),
    "attention": SUITE.replace("batch_size: 8", "batch_size: 8, attention: eager"),
    "seed": SUITE + "seeds: [1]\n",
    "override": SUITE + "overrides: [{set: {optimizer: {rule: {eps: 1e-7}}}}]\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_same_content_has_the_same_key(text: str, load: Load) -> None:
    assert keys(load(text))[0] == keys(load(SUITE))[0]


def test_different_content_has_different_keys(load: Load) -> None:
    found = [keys(load(text)) for text in [SUITE, *OTHER.values()]]
    assert all(len(key) == 1 for key in found)
    assert len({key[0] for key in found}) == len(found)


def test_the_cell_survives_a_round_trip_through_its_record(load: Load) -> None:
    from optbench.cell import CellSpec

    for text in OTHER.values():
        cell = load(text).cells()[0]
        assert CellSpec.model_validate(cell.spec.model_dump(mode="json")).key == cell.key


# selection

MATRIX = (
    SUITE.replace("[phi-nano]", "[phi-nano, llama-nano]")
    .replace("[adamw]", "[gd, {preset: adamw, sweep: {rule.lr: [0.1, 0.2], rule.eps: [0.5]}}, sam]")
    .replace("{steps: 10}", "[{steps: 1000}, {passes: 10}]")
    + "contrasts: [{of: {optimizer: sam}, minus: {optimizer: gd}}]\n"
)


@pytest.mark.parametrize(
    ("only", "count", "contrasts"),
    [
        ([], 16, 1),
        (["model=phi-nano"], 8, 1),
        (["model=*-nano"], 16, 1),
        (["model=phi-nano,optimizer=sam"], 2, 0),
        (["optimizer=sam,optimizer=gd"], 8, 1),
        (["optimizer=sam", "optimizer=gd"], 8, 1),
        (["optimizer=adamw[[]rule.lr=0.1*"], 0, 0),
        (["optimizer=adamw[rule.lr=0.1,rule.eps=0.5],model=phi-nano"], 2, 0),
        (["optimizer=adamw*"], 8, 0),
        (["budget=1,000 steps,optimizer=g?"], 2, 0),
    ],
)
def test_only_chooses_arms_by_patterns(only: list[str], count: int, contrasts: int, load: Load) -> None:
    suite = load(MATRIX)
    if not count:
        with pytest.raises(UserError, match="is named so"):
            narrowed(suite, only)
        return
    chosen = narrowed(suite, only)
    assert (len(chosen.arms), len(chosen.cells()), len(chosen.contrasts)) == (count, count, contrasts)
    assert set(keys(chosen)) <= set(keys(suite))


# the suites of this repository

SUITES = Path(__file__).parents[1] / "suites"


def test_quick_is_the_whole_matrix() -> None:
    suite = load_suite(SUITES / "quick.yaml")
    assert len(suite.cells()) == len(set(keys(suite))) == 84
    axes = [arm.axes() for arm in suite.arms]
    assert {names["model"] for names in axes} == {"phi-nano", "llama-nano", "gemma-nano", "qwen-nano"}
    assert {names["strategy"] for names in axes} == {"uniform", "upsample", "augment"}
    assert len({names["optimizer"] for names in axes}) == 7
    assert {arm.training.steps for arm in suite.arms} == {300}
    assert {arm.training.batch_size for arm in suite.arms} == {64}
    against = [contrast.of["optimizer"] for contrast in suite.contrasts if contrast.minus == {"optimizer": "adamw"}]
    assert sorted(against) == sorted({names["optimizer"] for names in axes} - {"adamw"})


def test_smoke_is_a_cut_of_quick() -> None:
    quick, smoke = load_suite(SUITES / "quick.yaml"), load_suite(SUITES / "smoke.yaml")
    assert len(smoke.cells()) == 12
    for axis in ("model", "task", "strategy", "optimizer"):
        assert {arm.axes()[axis] for arm in smoke.arms} <= {arm.axes()[axis] for arm in quick.arms}


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_suite_of_the_repository_loads_and_asks_a_question(path: Path) -> None:
    suite = load_suite(path)
    assert suite.arms
    assert suite.question.endswith("?")


def test_a_contrast_is_in_the_column_that_tables_are_ordered_by_unless_it_names_one(tmp_path) -> None:
    text = (SUITES / "smoke.yaml").read_text(encoding="utf-8")
    path = tmp_path / "own.yaml"
    path.write_text(
        text.partition("contrasts:")[0]
        + "ranked_by: test_nll\ncontrasts:\n  - {of: {optimizer: muon}, minus: {optimizer: adamw}}\n"
    )
    assert [each.metric for each in load_suite(path).contrasts] == ["test_nll"]
    path.write_text(path.read_text().replace("{of:", "{metric: accuracy, of:"))
    assert [each.metric for each in load_suite(path).contrasts] == ["accuracy"]
