"""A few real steps are timed; and, where there is time for it, a plan is compared with what happens."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from optbench.commands.plan import plan
from optbench.planning import measured as measured_module
from optbench.planning.measured import Measurements, measured
from optbench.planning.measuring import Deadline, Timer, answer
from optbench.planning.nominal import nominal
from optbench.planning.phases import cost_signature, subject_of
from optbench.planning.workload import checked
from optbench.store import Store
from optbench.suite import Suite, load_suite

ROOT = Path(__file__).resolve().parents[2]
SUITE = """\
models: [llama-nano]
tasks: [{kind: arithmetic, train: 64, validation: 12, test: 24}]
strategies: [uniform]
optimizers: [adamw, {name: fast, preset: adamw, rule: {lr: 0.1}}, sam]
budget: {steps: STEPS}
training: {batch_size: 8}
"""
WITHIN = 0.25


def suite_of(folder: Path, text: str, steps: int) -> Suite:
    path = folder / "x.yaml"
    path.write_text(text.replace("STEPS", str(steps)), encoding="utf-8")
    return load_suite(path)


def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The requests of `measured`, answered in this process."""
    requests: list[dict[str, Any]] = []

    def keep(request: dict[str, Any], threads: int) -> dict[str, Any]:
        requests.append(request)
        return request

    monkeypatch.setattr(measured_module, "_asked", keep)
    monkeypatch.setattr(measured_module, "_answer", answer)
    return requests


def test_every_optimizer_of_different_cost_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = asked(monkeypatch)
    arms = suite_of(tmp_path, SUITE, 5).arms
    found = measured(arms, workers=1, threads=1, device="cpu", budget=1e9)
    assert [len(subject["optimizers"]) for subject in requests[0]["subjects"]] == [2]
    subject = found.subjects[subject_of(arms[0])]
    assert set(subject.steps) == {cost_signature(arm.optimizer_spec) for arm in arms}
    assert all(pace > 0 for pace in subject.steps.values())
    assert min(found.startup, subject.setup, subject.loss) > 0
    assert subject.decoding is not None and subject.decoding.per_prompt_token > 0
    work, guess = checked(arms[0]), nominal(arms[0], checked(arms[0]), _cpu(), 1)
    phases = found.phases(arms[0], work, 1e9, guess, {})
    assert phases.step == pytest.approx(subject.steps[cost_signature(arms[0].optimizer_spec)] * 1e9)
    assert phases.evaluation > subject.loss
    # One that was not timed takes as much more than its nominal time as those that were.
    left_out = Measurements(0.0, 1.0, {subject_of(arms[0]): _without(subject, cost_signature(arms[2].optimizer_spec))})
    own = cost_signature(arms[0].optimizer_spec)
    scaled = left_out.phases(arms[2], work, 1e9, nominal(arms[2], work, _cpu(), 1), {own: 3.0})
    assert scaled.step == pytest.approx(3.0 * nominal(arms[2], work, _cpu(), 1).step)


def _cpu() -> Any:
    from optbench.planning.devices import device_of

    return device_of("cpu")


def _without(subject: Any, signature: str) -> Any:
    import dataclasses

    return dataclasses.replace(subject, steps={k: v for k, v in subject.steps.items() if k != signature})


def test_subjects_are_dealt_out_and_repeated_where_workers_are_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[dict[str, Any]] = []

    def keep(request: dict[str, Any], threads: int) -> dict[str, Any]:
        requests.append(request)
        return {**request, "number": len(requests)}

    def quick(request: dict[str, Any]) -> dict[str, Any]:
        found = {"setup": 1.0, "steps": {"x": float(request["number"])}, "loss": 1.0}
        return {"startup": 1.0, "busy": 3.0, "subjects": [found for _ in request["subjects"]]}

    monkeypatch.setattr(measured_module, "_asked", keep)
    monkeypatch.setattr(measured_module, "_answer", quick)
    three = SUITE.replace("[llama-nano]", "[llama-nano, phi-nano, qwen-nano]")
    found = measured(suite_of(tmp_path, three, 5).arms, workers=2, threads=1, device="cpu")
    assert [len(request["subjects"]) for request in requests] == [2, 1]
    assert len(found.subjects) == 3
    assert found.busy == 3.0
    requests.clear()
    found = measured(suite_of(tmp_path, SUITE, 5).arms, workers=2, threads=1, device="cpu")
    assert [len(request["subjects"]) for request in requests] == [1, 1]
    assert [m.steps for m in found.subjects.values()] == [{"x": 1.5}]


def test_what_a_deadline_leaves_out_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch)
    two = SUITE.replace("[llama-nano]", "[llama-nano, phi-nano]")
    suite = suite_of(tmp_path, two, 5)
    found = measured(suite.arms, workers=1, threads=1, device="cpu", budget=0.0)
    assert list(found.subjects) == [subject_of(suite.arms[0])]
    assert len(next(iter(found.subjects.values())).steps) == 1
    assert not Deadline(5.0).passed(0.0) and Deadline(5.0).passed(6.0)


def test_a_timer_takes_the_processors_time_of_one_thread() -> None:
    timer = Timer("cpu", 1)
    assert timer(lambda: time.sleep(0.05)) < 0.05
    assert timer.walls >= 0.05 and timer.busy > 1.0
    walls = Timer("cpu", 2)
    assert walls(lambda: time.sleep(0.05)) >= 0.05
    assert walls.busy == 1.0


def test_a_process_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optbench.errors import UserError

    with pytest.raises(UserError, match=r"could not be measured \(.*device.*\); try --pace nominal"):
        measured(suite_of(tmp_path, SUITE, 5).arms, workers=1, threads=1, device="nosuch")


def _happened(suite: Suite, folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds of this processor and peak of memory of a cell of each arm, run in this process."""
    from optbench.runner import run_cell

    found = {}
    for cell in suite.cells():
        begun = time.process_time()
        record = run_cell(cell.spec, Store(folder), device="cpu")
        found[cell.arm.name] = time.process_time() - begun, record.measured["peak_bytes"]
    return found


def _compare(suite: Suite, folder: Path) -> None:
    planned = plan(suite, Store(folder / "none"), pace="measured")
    happened = _happened(suite, folder)
    arms = {arm["name"]: arm for arm in planned["arms"]}
    assert sum(arm["seconds"] for arm in arms.values()) == pytest.approx(
        sum(seconds for seconds, _ in happened.values()), rel=WITHIN
    )
    for name, (_, peak) in happened.items():
        assert arms[name]["training_peak_bytes"] == pytest.approx(peak, rel=WITHIN), name


@pytest.mark.slow
def test_nano_cells_take_what_was_planned(tmp_path: Path) -> None:
    models = SUITE.replace("[llama-nano]", "[llama-nano, phi-nano]").replace("train: 64", "train: 1024")
    suite = suite_of(tmp_path, models.replace("batch_size: 8", "batch_size: 64"), 100)
    _happened(suite_of(tmp_path, SUITE, 2), tmp_path)  # What a worker imports is no part of a cell.
    _compare(suite, tmp_path)


@pytest.mark.slow
def test_a_pretrained_model_takes_what_was_planned(tmp_path: Path) -> None:
    checkpoint = ROOT / "models" / "smollm2"
    if not checkpoint.is_dir():
        pytest.skip("the checkpoint is not here: make smollm2")
    text = (ROOT / "suites" / "real_smoke.yaml").read_text(encoding="utf-8")
    for old, new in (("models/smollm2", str(checkpoint)), ("threads: 2", "threads: 1"), ("test: 48", "test: 24")):
        text = text.replace(old, new)
    _compare(suite_of(tmp_path, text.replace("{steps: 32}", "{steps: STEPS}"), 12), tmp_path)
