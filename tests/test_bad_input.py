"""Bad input: one clear message with file and line, exit code 2, no traceback, and nothing written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from optbench.cli import main

GOOD = """\
name: small
question: Which optimizer?
models: [phi-nano, llama-nano]
tasks: [arithmetic]
strategies: [uniform]
optimizers:
  - adamw
  - {name: hot, preset: adamw, rule: {lr: 1e-2}}
budget: {steps: 10}
training: {batch_size: 8}
"""
HOT = "{name: hot, preset: adamw, rule: {lr: 1e-2}}"


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def added(text: str) -> str:
    return GOOD + text


BAD = {
    "fraction of a batch that is no number of examples": (
        changed(HOT, "{name: hot, rule: {kind: adamw}, estimator: {kind: sharpness_aware, ascent_fraction: 0.3}}"),
        8,
        "optimizers[1]: ascent_fraction 0.3 of a batch of 8 (hot) is no number of examples; 0.25 is 2 of them",
    ),
    # panels
    "panel that there is not": (
        added("panels: [sharpnes]\n"),
        11,
        "panels[0]: no panel is named 'sharpnes'; did you mean",
    ),
    "field of a panel": (
        added("panels: [{preset: simplicity, lookz: 3}]\n"),
        11,
        "panels[0].lookz is unknown; did you mean looks?",
    ),
    "panel for another kind of task": (
        added("panels: [eigen_directions]\n"),
        11,
        "panels[0]: the panel eigen_directions looks at tasks of regression, and the task arithmetic is text",
    ),
    "panel twice": (
        added("panels: [simplicity, {name: more, preset: simplicity, looks: 3}]\n"),
        11,
        "panels[1]: there is a panel of the kind 'simplicity' already",
    ),
    "yardstick that moves": (
        added("panels: [{preset: simplicity, probe: {model: same}}]\n"),
        11,
        "panels[0].probe: the probe of this panel needs a model of its own",
    ),
    "ranked by what is no column": (
        added("ranked_by: acuracy\n"),
        11,
        "ranked_by is 'acuracy'; did you mean accuracy?",
    ),
    "ranked by what is neither better nor worse": (added("ranked_by: tokens\n"), 11, "ranked_by is 'tokens'"),
    # fields of specs
    "unknown field": (changed("lr: 1e-2", "lrr: 1"), 8, "optimizers[1].rule.lrr is unknown; did you mean lr?"),
    "field one level too high": (
        changed("rule: {lr: 1e-2}", "lr: 1"),
        8,
        "optimizers[1].lr is unknown; did you mean rule.lr?",
    ),
    "field without a likeness": (
        changed("lr: 1e-2", "zzz: 1"),
        8,
        "optimizers[1].rule.zzz is unknown; allowed: betas, eps,",
    ),
    "line of the key within an entry": (
        changed(HOT, "name: hot\n    preset: adamw\n    rule:\n      lr: 1\n      lrr: 2"),
        12,
        "optimizers[1].rule.lrr is unknown",
    ),
    "negative learning rate": (changed("1e-2", "-1"), 8, "optimizers[1].rule.lr must be greater than 0, not -1"),
    "nan": (changed("1e-2", ".nan"), 8, "optimizers[1].rule.lr is not a number (nan)"),
    "infinite learning rate": (changed("1e-2", ".inf"), 8, "optimizers[1].rule.lr must be finite, not inf"),
    "number in quotes": (
        changed("1e-2", "'1e-2'"),
        8,
        "optimizers[1].rule.lr must be a number, not '1e-2': write it without quotes",
    ),
    "boolean for a number": (changed("1e-2", "true"), 8, "optimizers[1].rule.lr must be a number, not true"),
    "boolean for an integer": (changed("steps: 10", "steps: true"), 9, "budget.steps must be a whole number, not true"),
    "float for an integer": (
        changed("batch_size: 8", "batch_size: 8.0"),
        10,
        "training.batch_size must be a whole number, not 8.0: write 8",
    ),
    "yes for a boolean": (
        changed(HOT, "{preset: sam, estimator: {functional: yes}}"),
        8,
        "optimizers[1].estimator.functional must be true or false, not 'yes': write true",
    ),
    "number for a name": (
        changed("name: small", "name: 3"),
        1,
        "name must be text, not 3: put it in quotes",
    ),
    "empty value": (
        changed("batch_size: 8", "batch_size: "),
        10,
        "training.batch_size must be a whole number, not empty",
    ),
    "unknown word": (
        changed("{batch_size: 8}", "\n  schedule: {kind: cosin}"),
        11,
        "training.schedule.kind is 'cosin'; did you mean cosine?",
    ),
    "too many items": (changed("lr: 1e-2", "betas: [0.1, 0.2, 0.3]"), 8, "optimizers[1].rule.betas has 3 items, not 2"),
    "too few items": (changed("lr: 1e-2", "betas: [0.1]"), 8, "optimizers[1].rule.betas[1] is missing"),
    "unknown kind": (
        changed(HOT, "{name: x, rule: {kind: adamv}}"),
        8,
        "optimizers[1].rule.kind is 'adamv'; did you mean adamw?",
    ),
    "missing kind": (
        changed(HOT, "{name: x, rule: {lr: 1}}"),
        8,
        "optimizers[1].rule has no kind; allowed: adamw, gd, muon",
    ),
    "missing field": (changed(HOT, "{name: x, max_norm: 1}"), 8, "optimizers[1].rule is missing"),
    "missing field of a kind": (changed("llama-nano", "{kind: nano}"), 3, "models[1].family is missing"),
    "list for a mapping": (changed("{batch_size: 8}", "[8]"), 10, "training must be a mapping, not a list"),
    # impossible combinations
    "ascent that the rule cannot serve": (
        changed(HOT, "{preset: preconditioned_sam, rule: {kind: gd}}"),
        8,
        "optimizers[1]: the preconditioned ascent needs a rule with a preconditioner",
    ),
    "sizes that do not divide": (
        changed("llama-nano", "{name: x, preset: llama-nano, width: 60}"),
        3,
        "models[1]: width (60) is not an even multiple of heads",
    ),
    "optimizer of another package that needs the Hessian": (
        changed(HOT, "{name: x, rule: {kind: torch, target: 'pytorch_optimizer:SophiaH', lr: 0.1}}"),
        8,
        "optimizers[1].rule: pytorch_optimizer:SophiaH needs estimates of the Hessian, or a gradient with its graph",
    ),
    "class behind a dot": (
        changed(HOT, "{name: x, rule: {kind: torch, target: 'torch.optim.SGD', lr: 0.1}}"),
        8,
        "optimizers[1].rule.target: 'torch.optim.SGD' has no colon before the class; did you mean torch.optim:SGD?",
    ),
    "file without a class": (
        changed(HOT, "{name: x, rule: {kind: torch, target: mine.py, lr: 0.1}}"),
        8,
        "optimizers[1].rule.target: 'mine.py' has no colon before the class; did you mean mine.py:Class?",
    ),
    "optimizer that needs a closure": (
        changed(HOT, "{name: x, rule: {kind: torch, target: 'torch.optim:LBFGS', lr: 0.1}}"),
        8,
        "optimizers[1].rule: torch.optim:LBFGS needs a closure that evaluates the loss again",
    ),
    # axes
    "unknown preset": (
        changed("phi-nano", "fi-nano"),
        3,
        "models[0]: no model is named 'fi-nano'; did you mean phi-nano?",
    ),
    "unknown preset in a mapping": (
        changed("preset: adamw", "preset: adamwww"),
        8,
        "optimizers[1].preset: no optimizer is named 'adamwww'; did you mean adamw?",
    ),
    "same name twice": (
        changed("name: hot", "name: adamw"),
        8,
        "optimizers[1]: the name 'adamw' is taken by optimizers[0]; give one of them another `name`",
    ),
    "no name": (
        changed("name: hot, preset: adamw, rule: {lr: 1e-2}", "rule: {kind: gd}"),
        8,
        "optimizers[1] needs a `name`",
    ),
    "name with a slash": (
        changed("name: hot", "name: a/b"),
        8,
        "optimizers[1].name is 'a/b'; a name is not empty and has none",
    ),
    "empty axis": (changed("[uniform]", "[]"), 5, "strategies is empty"),
    "missing axis": (changed("strategies: [uniform]\n", ""), 1, "strategies is missing"),
    "word for an axis": (changed("[arithmetic]", "arithmetic"), 4, "tasks must be a list, not 'arithmetic'"),
    "number on an axis": (changed("phi-nano", "3"), 3, "models[0] must be text or a mapping, not 3"),
    "unknown key of a suite": (changed("training:", "trainings:"), 10, "trainings is unknown; did you mean training?"),
    # sweeps
    "sweep over an unknown field": (
        changed("rule: {lr: 1e-2}", "sweep: {rule.lrr: [1, 2]}"),
        8,
        "optimizers[1].sweep.rule.lrr is unknown; did you mean lr?",
    ),
    "sweep with a bad value": (
        changed("rule: {lr: 1e-2}", "sweep: {rule.lr: [1, -1]}"),
        8,
        "optimizers[1].sweep.rule.lr[1] must be greater than 0, not -1",
    ),
    "sweep without values": (
        changed("rule: {lr: 1e-2}", "sweep: {rule.lr: []}"),
        8,
        "optimizers[1].sweep.rule.lr must be a list of at least one value",
    ),
    "sweep that is no mapping": (changed("rule: {lr: 1e-2}", "sweep: [1]"), 8, "optimizers[1].sweep must be a mapping"),
    # budget, training, seeds
    "two units": (changed("steps: 10", "steps: 10, epochs: 1"), 9, "budget: a budget has exactly one unit"),
    "no unit": (changed("{steps: 10}", "{}"), 9, "budget: a budget has exactly one unit"),
    "unknown unit": (changed("steps: 10", "step: 10"), 9, "budget.step is unknown; did you mean steps?"),
    "budget below one step": (changed("steps: 10", "passes: 0.5"), 9, "budget: 0.5 passes are not enough for one step"),
    "budget twice": (changed("{steps: 10}", "[{steps: 10}, {steps: 10}]"), 9, "budget[1]: 10 steps are there already"),
    "steps as training": (changed("batch_size: 8", "steps: 8"), 10, "training.steps is set by the budget"),
    "no seeds": (added("seeds: 0\n"), 11, "seeds must be at least 1 or a list, not 0"),
    "seed twice": (added("seeds: [1, 2, 1]\n"), 11, "seeds[2] is 1 once more"),
    "seed that is text": (added("seeds: [1, a]\n"), 11, "seeds[1] must be a whole number, not 'a'"),
    "no workers": (added("execution: {workers: 0}\n"), 11, "execution.workers must be at least 1, not 0"),
    # overrides
    "override of nobody": (
        added("overrides:\n  - where: {model: phi-nano, optimizer: muon}\n    set: {training: {batch_size: 2}}\n"),
        12,
        "overrides[0].where.optimizer: no optimizer of this suite is named 'muon'; allowed: adamw, hot",
    ),
    "override of nobody in a list": (
        added(
            "overrides:\n  - where:\n      model:\n        - phi-nano\n        - fi-nano\n"
            "    set: {training: {batch_size: 2}}\n"
        ),
        15,
        "overrides[0].where.model[1]: no model of this suite is named 'fi-nano'; did you mean phi-nano?",
    ),
    "override along an unknown axis": (
        added("overrides:\n  - where: {optimiser: hot}\n    set: {training: {batch_size: 2}}\n"),
        12,
        "overrides[0].where.optimiser is unknown; did you mean optimizer?",
    ),
    "override of an unknown part": (
        added("overrides:\n  - set: {modell: {width: 8}}\n"),
        12,
        "overrides[0].set.modell is unknown; did you mean model?",
    ),
    "override of an unknown field": (
        added("overrides:\n  - where: {optimizer: hot}\n    set:\n      optimizer: {rule: {lrr: 1}}\n"),
        14,
        "overrides[0].set.optimizer.rule.lrr is unknown; did you mean lr?",
    ),
    "override with a bad value": (
        added("overrides:\n  - where: {optimizer: hot}\n    set:\n      optimizer: {rule: {lr: 0}}\n"),
        14,
        "overrides[0].set.optimizer.rule.lr must be greater than 0, not 0",
    ),
    "override that changes nothing": (
        added("overrides:\n  - {where: {model: phi-nano}, set: {}}\n"),
        12,
        "overrides[0].set changes nothing",
    ),
    "override without set": (added("overrides:\n  - {where: {model: phi-nano}}\n"), 12, "overrides[0].set is missing"),
    "precision for some arms": (
        added("overrides:\n  - {where: {model: phi-nano}, set: {training: {precision: bf16}}}\n"),
        12,
        "overrides[0].set.training.precision would differ between arms",
    ),
    # contrasts
    "contrast of an absent arm": (
        added("contrasts:\n  - {of: {optimizer: muon}, minus: {optimizer: adamw}}\n"),
        12,
        "contrasts[0].of.optimizer: no optimizer of this suite is named 'muon'; allowed: adamw, hot",
    ),
    "contrast of other axes": (
        added("contrasts:\n  - {of: {optimizer: hot}, minus: {model: phi-nano}}\n"),
        12,
        "contrasts[0]: `of` names optimizer and `minus` model; they name the same axes",
    ),
    "contrast with itself": (
        added("contrasts:\n  - {of: {optimizer: hot}, minus: {optimizer: hot}}\n"),
        12,
        "contrasts[0]: `of` and `minus` are the same",
    ),
    "contrast in an unknown metric": (
        added("contrasts:\n  - {of: {optimizer: hot}, minus: {optimizer: adamw}, metric: acuracy}\n"),
        12,
        "contrasts[0].metric is 'acuracy'; did you mean accuracy?",
    ),
    "contrast twice": (
        added("contrasts:\n" + "  - {name: x, of: {optimizer: hot}, minus: {optimizer: adamw}}\n" * 2),
        13,
        "contrasts[1]: there is a contrast named 'x' already",
    ),
    # YAML
    "duplicate key": (added("name: again\n"), 11, "name is given twice (first on line 1)"),
    "duplicate key inside": (changed("{lr: 1e-2}", "{lr: 1, lr: 2}"), 8, "optimizers[1].rule.lr is given twice"),
    "python tag": (
        changed("small", "!!python/object:os.system x"),
        1,
        "tags such as !!python/object:os.system are not allowed",
    ),
    "local tag": (changed("{steps: 10}", "!x {steps: 10}"), 9, "tags such as !x are not allowed"),
    "directive": ("%YAML 1.1\n---\n" + GOOD, 1, "directives are not allowed"),
    "tab": (changed("  - adamw", "\t- adamw"), 7, "not YAML: a tab; YAML is indented by spaces"),
    "unclosed bracket": (changed("[phi-nano, llama-nano]", "[phi-nano"), 4, "not YAML: "),
    "unknown anchor": (changed("phi-nano", "*x"), 3, "not YAML: found undefined alias 'x'"),
    "anchor within itself": (changed("[uniform]", "&x [*x]"), 5, "strategies[0] contains itself"),
    "two documents": (added("---\na: 1\n"), 11, "not YAML: a second document begins here"),
    "list at the top": ("- a\n- b\n", 1, "the file must be a mapping, not a list"),
    "empty file": ("# nothing\n", 1, "the file is empty"),
    "key that is no text": (added("3: x\n"), 11, "the file has a key that is not text: put '3' in quotes"),
    "control character": (changed("small", "sm\x00ll"), 1, "a character that YAML does not allow: '\\x00'"),
}


def refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the command line says, line by line, when it refuses."""
    monkeypatch.setattr(sys, "argv", ["optbench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err.splitlines()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("verb", ["run", "plan"])
@pytest.mark.parametrize(("text", "line", "message"), BAD.values(), ids=BAD.keys())
def test_bad_suite_gets_one_message_at_its_line_and_nothing_is_written(
    verb: str,
    text: str,
    line: int,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("x.yaml").write_text(text, encoding="utf-8")
    said = refused([verb, "x.yaml"], monkeypatch, capsys)
    assert len(said) == 1, said
    assert said[0].startswith(f"x.yaml:{line}: {message}"), said[0]
    assert [path.name for path in folder.iterdir()] == ["x.yaml"]


@pytest.mark.parametrize("arguments", [["tune", "x.yaml"], ["status", "x.yaml"], ["report", "x.yaml"]])
def test_every_verb_refuses_an_optimizer_that_no_run_could_take(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, line, message = BAD["optimizer of another package that needs the Hessian"]
    Path("x.yaml").write_text(text, encoding="utf-8")
    said = refused(arguments, monkeypatch, capsys)
    assert len(said) == 1
    assert said[0].startswith(f"x.yaml:{line}: {message}")
    assert [path.name for path in folder.iterdir()] == ["x.yaml"]


@pytest.mark.parametrize("value", ["5", "adamw", "[1]", "true", ""])
def test_a_mapping_with_a_kind_is_asked_for_where_there_is_none(
    value: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.yaml").write_text(changed(HOT, f"{{name: x, rule: {value}}}"), encoding="utf-8")
    said = refused(["plan", "x.yaml"], monkeypatch, capsys)
    assert len(said) == 1
    assert said[0].startswith(
        "x.yaml:8: optimizers[1].rule must be a mapping with a kind (adamw, gd, muon, sophia, torch), not "
    )


def test_the_suite_that_the_bad_ones_are_made_from_is_good(folder: Path) -> None:
    from optbench.suite import load_suite

    Path("x.yaml").write_text(GOOD, encoding="utf-8")
    assert len(load_suite("x.yaml").arms) == 4


def test_several_problems_are_told_at_once_in_the_order_of_lines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "training: {batch: 8}\n" + GOOD.replace("training: {batch_size: 8}\n", "")
    text = text.replace("phi-nano", "fi-nano").replace("lr: 1e-2", "lr: -1, lrr: 1")
    Path("x.yaml").write_text(text, encoding="utf-8")
    said = refused(["run", "x.yaml"], monkeypatch, capsys)
    assert [line.split(":")[1] for line in said] == ["1", "4", "9", "9"], said


def test_a_problem_of_many_arms_is_told_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.yaml").write_text(added("overrides:\n  - set: {training: {batch: 3}}\n"), encoding="utf-8")
    assert len(refused(["plan", "x.yaml"], monkeypatch, capsys)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "- where: {model: nobody}\n  set: {training: {batch_size: 2}}\n",
            "o.yaml:1: overrides[0].where.model: no model",
        ),
        ("- set:\n    optimizer: {rule: {lrr: 2}}\n", "o.yaml:2: overrides[0].set.optimizer.rule.lrr is unknown"),
        ("where: {}\n", "o.yaml:1: overrides must be a list of overrides"),
        ("- set: {optimizer: adamw}\n", "o.yaml:1: overrides[0].set.optimizer must be a mapping, not 'adamw'"),
    ],
)
def test_bad_overrides_file_is_named(
    text: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.yaml").write_text(GOOD, encoding="utf-8")
    Path("o.yaml").write_text(text, encoding="utf-8")
    said = refused(["run", "x.yaml", "--overrides", "o.yaml"], monkeypatch, capsys)
    assert len(said) == 1, said
    assert said[0].startswith(message), said[0]


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("optimiser=hot", "--only optimiser=hot: 'optimiser' is no axis; did you mean optimizer?"),
        ("optimizer=hod", "--only optimizer=hod: no optimizer of x.yaml is named so; did you mean hot?"),
        ("model=*-mega", "--only model=*-mega: no model of x.yaml is named so; allowed: llama-nano, phi-nano"),
        ("hot", "--only hot: 'hot' is no axis; allowed: budget, model, optimizer, strategy, task"),
        ("model=", "--only model=: needs a name"),
    ],
)
def test_bad_selection_lists_what_is_allowed(
    only: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.yaml").write_text(GOOD, encoding="utf-8")
    said = refused(["run", "x.yaml", "--only", only], monkeypatch, capsys)
    assert len(said) == 1
    assert said[0].startswith(message), said[0]
    assert [path.name for path in folder.iterdir()] == ["x.yaml"]


@pytest.mark.parametrize("verb", ["run", "plan", "status", "report"])
def test_checkpoint_that_is_not_there_is_told_at_its_line(
    verb: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.yaml").write_text(changed("llama-nano", "\n  {kind: pretrained, path: ./nowhere}"), encoding="utf-8")
    said = refused([verb, "x.yaml"], monkeypatch, capsys)
    assert len(said) == 1
    assert said[0].startswith("x.yaml:4: models[1]: ./nowhere: "), said[0]
    assert [path.name for path in folder.iterdir()] == ["x.yaml"]


def test_data_file_that_is_not_there_is_told_at_its_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.yaml").write_text(changed("[arithmetic]", "[{kind: jsonl, path: no.jsonl}]"), encoding="utf-8")
    said = refused(["run", "x.yaml"], monkeypatch, capsys)
    assert len(said) == 1
    assert said[0].startswith("x.yaml:4: tasks[0].path: "), said[0]
    assert "no.jsonl" in said[0]


def test_a_bad_line_of_a_data_file_is_told_with_its_number_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = '{"question": "1 + 1?", "answer": "2"}\n'
    Path("data.jsonl").write_text(line + "{broken\n", encoding="utf-8")
    Path("x.yaml").write_text(changed("[arithmetic]", "[{kind: jsonl, path: data.jsonl}]"), encoding="utf-8")
    said = refused(["run", "x.yaml"], monkeypatch, capsys)
    assert len(said) == 1
    assert said[0].startswith("x.yaml:4: tasks[0]: data.jsonl:2"), said[0]
    assert {path.name for path in folder.iterdir()} == {"x.yaml", "data.jsonl"}


def test_file_that_is_not_utf8(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.yaml").write_bytes(GOOD.replace("Which", "Wh\xefch").encode("latin-1"))
    assert refused(["plan", "x.yaml"], monkeypatch, capsys)[0].startswith("x.yaml:2: not UTF-8 text")


def test_file_that_is_not_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("quick.yaml").write_text(GOOD, encoding="utf-8")
    assert refused(["plan", "quik.yaml"], monkeypatch, capsys) == ["quik.yaml: no such file; did you mean quick.yaml?"]


def test_folder_for_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(["plan", "."], monkeypatch, capsys) == [".: cannot be read: Is a directory"]


def test_results_that_are_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.yaml").write_text(GOOD, encoding="utf-8")
    said = refused(["run", "x.yaml", "--results", "x.yaml"], monkeypatch, capsys)
    assert said == ["--results x.yaml: is a file; records need a folder"]


def test_unknown_preset_to_show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(["show", "functional_samm"], monkeypatch, capsys) == [
        "no preset, kind or part of a suite file is named 'functional_samm'; did you mean functional_sam?"
    ]
