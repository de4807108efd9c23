"""The verbs, their exit codes, and what they import."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import optbench
import optbench.commands.run
from optbench.cli import main
from optbench.executors.events import Event, Summary
from optbench.executors.jobs import Job
from optbench.store import Record, Store
from optbench.suite import load_suite
from optbench.yamlfile import read

SUITE = """\
name: small
question: Which optimizer?
models: [phi-nano]
tasks: [arithmetic]
strategies: [uniform]
optimizers: [adamw, sam]
budget: {passes: 10}
training: {batch_size: 8}
contrasts: [{of: {optimizer: sam}, minus: {optimizer: adamw}}]
"""
HEAVY = ("torch", "transformers", "datasets", "scipy.stats")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(SUITE, encoding="utf-8")
    return tmp_path


class Said:
    """What a verb said, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Said]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def called(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["optbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return called


def record(key: str, outcome: str = "completed") -> Record:
    measured = {"total_seconds": 3.0, "contended": False, "provenance": {"device": "cpu", "precision": "float32"}}
    return Record(key, {}, outcome, {"accuracy": 0.5} if outcome == "completed" else {}, {}, {}, measured)


def finish(results: str = "results/runs", *outcomes: str) -> None:
    """Leaves records of the first cells of the suite."""
    for cell, outcome in zip(load_suite("x.yaml").cells(), outcomes, strict=False):
        Store(results).write(record(cell.key, outcome), lambda folder: None)


# plan, status, report


def test_plan_counts_cells_what_is_done_and_what_is_left(call: Call) -> None:
    before = call("plan", "x.yaml", "--format", "json").json
    assert (before["cells"], before["done"], before["remaining"]["runs"]) == (2, 0, 2)
    assert before["remaining"]["steps"] == 15
    assert before["remaining"]["basis"] == "nominal"
    assert before["remaining"]["seconds"] > 0
    assert [arm["steps"] for arm in before["arms"]] == [10, 5]
    finish("results/runs", "completed")
    after = call("plan", "x.yaml", "--format", "json").json
    assert (after["cells"], after["done"], after["remaining"]["runs"], after["remaining"]["steps"]) == (2, 1, 1, 5)
    assert after["remaining"]["flops"] == pytest.approx(before["remaining"]["flops"] - before["arms"][0]["flops"])


def test_plan_expects_what_is_left_to_take_as_long_as_what_is_done_took(call: Call) -> None:
    finish("results/runs", "completed")
    plan = call("plan", "x.yaml", "--format", "json").json
    done, left = (arm["flops"] for arm in plan["arms"])
    assert plan["remaining"]["seconds"] == pytest.approx(3.0 * left / done)


def test_plan_in_a_terminal_says_the_same(call: Call) -> None:
    said = call("plan", "x.yaml")
    assert said.code == 0
    assert "phi-nano/arithmetic/uniform/sam" in said.out
    assert "small: 2 cells, 0 done, 2 to run: 15 steps" in said.out


def test_cells_of_the_same_content_are_one_run(call: Call) -> None:
    Path("x.yaml").write_text(SUITE.replace("{passes: 10}", "[{passes: 10}, {steps: 10}]"), encoding="utf-8")
    plan = call("plan", "x.yaml", "--format", "json").json
    assert (plan["cells"], plan["remaining"]["runs"]) == (4, 3)


def test_status_counts_outcomes(call: Call) -> None:
    finish("elsewhere", "diverged")
    status = call("status", "x.yaml", "--results", "elsewhere", "--format", "json").json
    assert (status["cells"], status["done"], status["outcomes"]) == (2, 1, {"diverged": 1, "missing": 1})
    assert [arm["outcomes"] for arm in status["arms"]] == [{"diverged": 1}, {"missing": 1}]
    assert "small: 1 of 2 cells done (1 diverged, 1 missing)" in call("status", "x.yaml", "--results", "elsewhere").out


@pytest.mark.parametrize("format", ["table", "markdown", "csv", "json", "latex"])
def test_report_comes_in_every_format(format: str, call: Call) -> None:
    finish("results/runs", "completed", "completed")
    said = call("report", "x.yaml", "--format", format)
    assert (said.code, said.err) == (0, "")
    assert "sam" in said.out


def test_report_in_json_is_the_promised_object(call: Call) -> None:
    finish("results/runs", "completed", "completed")
    report = call("report", "x.yaml", "--format", "json").json
    first = report["arms"][0]
    assert (report["suite"], first["name"], first["budget"]) == (
        "small",
        "phi-nano/arithmetic/uniform/adamw",
        {"passes": 10},
    )
    assert first["metrics"]["accuracy"] == {"mean": 0.5, "half_width": None, "n": 1}
    assert [contrast["name"] for contrast in report["contrasts"]] == ["sam minus adamw"]


@pytest.mark.parametrize("verb", ["plan", "status", "report"])
def test_reading_verbs_write_nothing(verb: str, folder: Path, call: Call) -> None:
    assert call(verb, "x.yaml").code == 0
    assert [path.name for path in folder.iterdir()] == ["x.yaml"]


def test_only_narrows_every_verb(call: Call) -> None:
    assert call("plan", "x.yaml", "--only", "optimizer=sam", "--format", "json").json["cells"] == 1
    assert call("status", "x.yaml", "--only", "optimizer=s*", "--format", "json").json["cells"] == 1


def test_an_overrides_file_makes_other_cells(call: Call) -> None:
    Path("o.yaml").write_text("- set: {optimizer: {rule: {lr: 0.5}}}\n", encoding="utf-8")
    finish("results/runs", "completed", "completed")
    assert call("status", "x.yaml", "--format", "json").json["done"] == 2
    assert call("status", "x.yaml", "--overrides", "o.yaml", "--format", "json").json["done"] == 0


# run


class Executor:
    """Stands in for the executor: writes records for the cells whose optimizer is not in `failing`."""

    def __init__(self, failing: tuple[str, ...] = (), interrupt: bool = False) -> None:
        self.failing, self.interrupt = failing, interrupt
        self.calls: list[dict[str, Any]] = []

    def __call__(
        self, cells: Any, results: Path, *, workers: int, threads: int, on_event: Any, checkpoint_minutes: float
    ) -> Summary:
        self.calls.append({"workers": workers, "threads": threads, "cells": len(cells)})
        summary = Summary(total=len(cells), already=0)
        for cell in cells:
            job = Job("cell", cell.key, cell.arm.name, {}, 1)
            if cell.arm.optimizer in self.failing:
                log = Path("some.log")
                summary.failed[job.name] = ("ValueError: broken", log)
                on_event(Event("failed", job, reason="ValueError: broken", log=log))
                continue
            Store(results).write(record(cell.key), lambda folder: None)
            on_event(Event("done", job, outcome="completed"))
            if self.interrupt:
                raise KeyboardInterrupt
        return summary


def use(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> Executor:
    monkeypatch.setattr(optbench.commands.run, "execute", executor)
    return executor


def test_run_ends_with_the_report_and_exit_code_0(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Executor(), monkeypatch)
    said = call("run", "x.yaml", "--format", "json")
    assert said.code == 0
    assert said.json["suite"] == "small"
    assert "2 of 2 cells have records" in said.err


def test_run_with_failed_cells_names_their_logs_and_exits_with_1(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Executor(failing=("sam",)), monkeypatch)
    said = call("run", "x.yaml")
    assert said.code == 1
    assert "1 of 2 cells have records" in said.err
    assert "phi-nano/arithmetic/uniform/sam: ValueError: broken (log: some.log)" in said.err


def test_ctrl_c_exits_with_130_and_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Executor(interrupt=True), monkeypatch)
    said = call("run", "x.yaml")
    assert (said.code, said.out) == (130, "")
    last = said.err.splitlines()[-1]
    assert last == "interrupted: 1 of 2 cells are done; the same command again continues"


def test_ctrl_c_before_the_first_cell_says_so(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("optbench.suite.load_suite", interrupted)
    said = call("run", "x.yaml")
    assert (said.code, said.out) == (130, "")
    assert said.err == "interrupted before the first cell; the same command again continues\n"


@pytest.mark.parametrize(("arguments", "workers"), [((), 3), (("--workers", "5"), 5)])
def test_workers_are_those_of_the_suite_unless_told(
    arguments: tuple[str, ...], workers: int, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("x.yaml").write_text(SUITE + "execution: {workers: 3, threads: 2}\n", encoding="utf-8")
    executor = use(Executor(), monkeypatch)
    call("run", "x.yaml", *arguments)
    assert executor.calls == [{"workers": workers, "threads": 2, "cells": 2}]


def test_no_workers_are_refused(call: Call) -> None:
    assert call("run", "x.yaml", "--workers", "0").code == 2


# list, show, schema


def test_list_names_every_preset_and_metric(call: Call) -> None:
    from optbench.axes import AXES
    from optbench.metrics.columns import COLUMNS

    text = call("list").out
    content = call("list", "--format", "json").json
    for axis in AXES.values():
        assert list(content["presets"][axis.plural]) == list(axis.presets)
        assert all(f"  {name} " in text for name in axis.presets)
    assert list(content["metrics"]) == list(COLUMNS)
    assert all(content["metrics"][name]["doc"] in text for name in COLUMNS)


def test_a_table_in_what_is_said_of_a_kind_stays_one(call: Call) -> None:
    about = call("list", "--format", "json").json["kinds"]["model"]["linear_attention"]
    assert about == "Predicts w^T x_q from a context of pairs (x_n, w^T x_n), with beta = (1/N) sum_n y_n x_n."
    lines = call("show", "linear_attention").out.splitlines()
    begins = [line.split()[0] for line in lines if line.startswith("        ")]
    assert begins == ["merged", "separate"]


def test_show_states_the_full_spec_which_is_the_preset_again(call: Call) -> None:
    from optbench.axes import AXES
    from optbench.problems import check

    for axis in AXES.values():
        for name, fields in axis.presets.items():
            Path("shown.yaml").write_text(call("show", name).out, encoding="utf-8")
            shown = read("shown.yaml").value[axis.name]
            spec = check(shown, axis.spec)
            assert set(shown.value) == set(type(spec).model_fields)
            assert check(shown, axis.spec) == type(spec).model_validate(fields)


def test_the_keys_of_a_suite_file_say_whether_they_are_required_and_their_defaults(call: Call) -> None:
    from optbench.axes import AXES
    from optbench.suitefile import SuiteFields

    keys = call("list", "--format", "json").json["suite"]
    assert list(keys) == list(SuiteFields.model_fields)
    assert [name for name, key in keys.items() if key["required"]] == [
        *[axis.plural for axis in AXES.values()],
        "budget",
    ]
    assert all(key["doc"] for key in keys.values())
    assert (keys["seeds"]["default"], keys["ranked_by"]["default"]) == (1, "accuracy")
    assert keys["execution"]["default"] == {"workers": 1, "threads": 1, "checkpoint_minutes": 10.0}
    text = call("list").out
    for line in ("models required Presets by name", "seeds 1 How many", "panels none Families", "name none What it"):
        assert line in " ".join(text.split())
    assert "execution `optbench show execution` How many" in " ".join(text.split())
    fields = _yaml(call("show", "suite").out)["suite"]["fields"]
    assert fields == {name: "(required)" if key["required"] else key["default"] for name, key in keys.items()}


@pytest.mark.parametrize("part", ["training", "schedule", "budget", "execution", "tuning"])
def test_a_suite_may_say_the_defaults_of_its_parts_that_are_shown(part: str, call: Call) -> None:
    """Pasted into a suite they change nothing."""
    shown = _yaml(call("show", part).out)[part]
    assert set(shown) == {"about", "fields"}
    if part == "budget":
        assert shown["fields"] == dict.fromkeys(["steps", "epochs", "tokens", "passes", "flops"])
        return
    base = {key: value for key, value in _yaml(SUITE).items() if key != "training"}
    content = {"training": {"schedule": shown["fields"]}} if part == "schedule" else {part: shown["fields"]}
    Path("y.yaml").write_text(json.dumps(base), encoding="utf-8")
    Path("x.yaml").write_text(json.dumps({**base, **content}), encoding="utf-8")
    before, after = load_suite("y.yaml"), load_suite("x.yaml")
    assert [cell.key for cell in after.cells()] == [cell.key for cell in before.cells()]
    assert (after.execution, after.tuning) == (before.execution, before.tuning)


def test_show_explains_what_an_infinite_norm_is(call: Call) -> None:
    lines = call("show", "sam").out.splitlines()
    place = lines.index("  max_norm: .inf")
    assert (
        lines[place - 1] == "  # The gradient is clipped to this global norm after estimation; .inf: it is not clipped."
    )
    # A comment stands as deep as what it is about, and is no wider than a page.
    for line, following in itertools.pairwise(call("show", "training").out.splitlines()):
        if line.lstrip().startswith("#"):
            assert len(line) <= 100
            assert len(line) - len(line.lstrip()) == len(following) - len(following.lstrip())


def test_the_schema_says_what_show_says(call: Call) -> None:
    schema = call("schema").json
    assert schema["properties"]["models"]["description"].startswith("Presets by name")
    assert ".inf: it is not clipped" in schema["$defs"]["OptimizerSpec"]["properties"]["max_norm"]["description"]


def _yaml(text: str) -> Any:
    return YAML(typ="safe").load(text)


def test_schema_is_json_and_knows_the_fields_of_every_axis(call: Call) -> None:
    schema = call("schema").json
    assert schema["additionalProperties"] is False
    assert "NaN" not in json.dumps(schema)
    references = [part["$ref"] for part in _parts(schema) if "$ref" in part]
    assert all(reference.rsplit("/", 1)[1] in schema["$defs"] for reference in references)
    optimizers = schema["properties"]["optimizers"]["items"]["anyOf"]
    assert "functional_sam" in optimizers[0]["enum"]
    assert {"name", "preset", "sweep", "rule"} <= set(schema["$defs"]["OptimizerSpecEntry"]["properties"])
    assert "steps" not in schema["$defs"]["Training"]["properties"]


def _parts(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(part for item in value.values() for part in _parts(item))]
    return [part for item in value for part in _parts(item)] if isinstance(value, list) else []


# processes


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)


def test_python_m_optbench_is_optbench() -> None:
    said = python("-m", "optbench", "plan", "nowhere.yaml")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "nowhere.yaml: no such file\n"


@pytest.mark.parametrize(
    "arguments", [["plan", "x.yaml"], ["status", "x.yaml"], ["report", "x.yaml"], ["list"], ["show", "sam"], ["schema"]]
)
def test_nothing_but_run_imports_torch(arguments: list[str]) -> None:
    finish("results/runs", "completed", "completed")
    code = (
        "import sys\nfrom optbench.cli import main\n"
        f"sys.argv = ['optbench', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    said = python("-c", code)
    assert said.stderr.splitlines()[-1:] == ["[]"], said.stderr


def test_help_takes_three_tenths_of_a_second_and_imports_nothing_heavy() -> None:
    def once(*arguments: str) -> float:
        # Processor time: what else the machine is doing does not count.
        before = os.times()
        assert python(*arguments).returncode == 0
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    code = "import sys, optbench.cli\nprint([n for n in ('pydantic', 'rich', 'ruamel', 'numpy') if n in sys.modules])"
    assert python("-c", code).stdout == "[]\n"
    # In turn with what no command line can do without: on a slower processor both take longer.
    pairs = [(once("-m", "optbench", "--help"), once("-c", "import typer.main")) for _ in range(4)]
    helped, least = (min(side) for side in zip(*pairs, strict=True))
    assert helped < max(0.3, 2.5 * least)


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m optbench list --format json | head -c 1; echo ${{PIPESTATUS[0]}}"
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert said.stdout == "{0\n"
    assert said.stderr == ""


def test_keys_are_the_same_in_every_process() -> None:
    first, second = (
        python("-m", "optbench", "plan", "x.yaml", "--format", "json", PYTHONHASHSEED=seed).stdout for seed in "12"
    )
    assert json.loads(first)["cells"] == 2
    assert first == second


# the package


def test_the_public_names_are_there_and_import_nothing_until_they_are_asked_for() -> None:
    assert set(optbench.__all__) <= set(dir(optbench))
    assert optbench.load_suite is load_suite
    assert all(getattr(optbench, name) is not None for name in optbench.__all__)
    assert python(
        "-c", "import sys, optbench; print('torch' in sys.modules, len(optbench.__version__) > 0)"
    ).stdout == ("False True\n")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        optbench.nothing  # noqa: B018


def test_run_and_report_are_functions_whatever_else_was_imported() -> None:
    import optbench.reports.frame
    import optbench.runner

    assert callable(optbench.run)
    assert callable(optbench.report)
    finish("results/runs", "completed", "completed")
    assert list(optbench.report(load_suite("x.yaml"))["optimizer"]) == ["adamw", "sam"]
