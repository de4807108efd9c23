"""Overrides: which value wins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from optbench.arm import Arm
from optbench.suite import Suite, load_suite

SUITE = """\
models: [phi-nano, llama-nano]
tasks: [arithmetic]
strategies: [uniform, upsample]
optimizers: [{preset: adamw, rule: {lr: 0.1, eps: 0.5}}, muon]
budget: {steps: 10}
training: {batch_size: 8, schedule: {warmup: 0.25}}
overrides:
"""
Load = Callable[..., Suite]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(overrides: str, file: str = "") -> Suite:
        (tmp_path / "x.yaml").write_text(SUITE + overrides, encoding="utf-8")
        (tmp_path / "o.yaml").write_text(file, encoding="utf-8")
        return load_suite(tmp_path / "x.yaml", tmp_path / "o.yaml" if file else "")

    return loaded


def rates(suite: Suite, **names: str) -> set[float]:
    return {arm.optimizer_spec.rule.lr for arm in arms(suite, **names)}


def arms(suite: Suite, **names: str) -> list[Arm]:
    return [arm for arm in suite.arms if names.items() <= arm.axes().items()]


def test_an_override_is_merged_into_what_the_suite_says(load: Load) -> None:
    suite = load("  - {where: {optimizer: adamw}, set: {optimizer: {rule: {lr: 0.2}}}}\n")
    (rule,) = {arm.optimizer_spec.rule for arm in arms(suite, optimizer="adamw")}
    assert (rule.lr, rule.eps) == (0.2, 0.5)


def test_an_override_changes_the_arms_it_names_and_no_other(load: Load) -> None:
    suite = load("  - {where: {model: phi-nano, optimizer: adamw}, set: {optimizer: {rule: {lr: 0.2}}}}\n")
    assert rates(suite, model="phi-nano", optimizer="adamw") == {0.2}
    assert rates(suite, model="llama-nano", optimizer="adamw") == {0.1}


def test_a_list_and_a_pattern_name_several_arms(load: Load) -> None:
    suite = load("  - {where: {model: [phi-nano, 'llama*'], optimizer: 'ad*'}, set: {optimizer: {rule: {lr: 0.2}}}}\n")
    assert rates(suite, optimizer="adamw") == {0.2}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_more_specific_override_wins_whatever_the_order(order: tuple[int, int], load: Load) -> None:
    lines = [
        "  - {where: {model: phi-nano, optimizer: adamw}, set: {optimizer: {rule: {lr: 0.2}}}}\n",
        "  - {where: {optimizer: adamw}, set: {optimizer: {rule: {lr: 0.3}}}}\n",
    ]
    suite = load("".join(lines[index] for index in order))
    assert rates(suite, model="phi-nano", optimizer="adamw") == {0.2}
    assert rates(suite, model="llama-nano", optimizer="adamw") == {0.3}


def test_among_equally_specific_overrides_the_later_wins(load: Load) -> None:
    suite = load(
        "  - {where: {optimizer: adamw}, set: {optimizer: {rule: {lr: 0.2}}}}\n"
        "  - {where: {model: phi-nano}, set: {optimizer: {rule: {lr: 0.3}}}}\n"
    )
    assert rates(suite, model="phi-nano", optimizer="adamw") == {0.3}


def test_the_overrides_file_wins_over_the_most_specific_override_of_the_suite(load: Load) -> None:
    suite = load(
        "  - where: {model: phi-nano, task: arithmetic, strategy: uniform, optimizer: adamw}\n"
        "    set: {optimizer: {rule: {lr: 0.2}}}\n",
        "- set: {optimizer: {rule: {lr: 0.4}}}\n",
    )
    assert rates(suite) == {0.4}


def test_overrides_that_set_different_fields_add_up(load: Load) -> None:
    suite = load(
        "  - {where: {model: phi-nano}, set: {training: {batch_size: 4}}}\n"
        "  - {where: {model: phi-nano, optimizer: muon}, set: {training: {schedule: {final: 0.5}}}}\n"
    )
    (training,) = {arm.training for arm in arms(suite, model="phi-nano", optimizer="muon")}
    assert (training.batch_size, training.schedule.final, training.schedule.warmup) == (4, 0.5, 0.25)
    assert {arm.training.batch_size for arm in arms(suite, model="llama-nano")} == {8}


def test_an_override_can_change_the_kind_and_drops_the_fields_of_the_other(load: Load) -> None:
    suite = load("  - {where: {optimizer: adamw}, set: {optimizer: {rule: {kind: gd, lr: 3.0}}}}\n")
    (rule,) = {arm.optimizer_spec.rule for arm in arms(suite, optimizer="adamw")}
    assert (rule.kind, rule.lr) == ("gd", 3.0)


def test_every_axis_can_be_overridden(load: Load) -> None:
    suite = load(
        "  - {where: {model: phi-nano}, set: {model: {width: 32}}}\n"
        "  - {where: {strategy: upsample}, set: {strategy: {factor: 3}}}\n"
    )
    assert {arm.model_spec.width for arm in arms(suite, model="phi-nano")} == {32}
    assert {arm.strategy_spec.factor for arm in arms(suite, strategy="upsample")} == {3}


def test_without_where_an_override_changes_every_arm_and_may_set_the_precision(load: Load) -> None:
    suite = load("  - set: {training: {precision: bf16}}\n")
    assert {arm.training.precision for arm in suite.arms} == {"bf16"}


def test_display_names_stay_as_they_are(load: Load) -> None:
    plain = load("  - set: {training: {batch_size: 8}}\n")
    changed = load("  - set: {optimizer: {rule: {lr: 7}}}\n")
    assert [arm.name for arm in plain.arms] == [arm.name for arm in changed.arms]
