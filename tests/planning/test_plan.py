"""What a suite will cost, whether it fits, and what would: without a hub, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from optbench.commands.plan import plan, plan_text
from optbench.errors import UserError
from optbench.planning.devices import NAMED, Device, device_of
from optbench.planning.estimate import costs_of
from optbench.planning.fits import CLEARLY, check_fits, fit_of, share_of, size, told_once, would_fit
from optbench.planning.inputs import not_at_hand
from optbench.planning.memory import Peak
from optbench.planning.phases import Phases, cost_signature, subject_of
from optbench.planning.recorded import Kind, Past, recorded
from optbench.planning.schedule import wall_seconds
from optbench.planning.workload import checked
from optbench.profiling.devices import peak_flops
from optbench.store import Record, Store
from optbench.suite import Suite, load_suite

ROOT = Path(__file__).resolve().parents[2]
SUITE = """\
name: small
models: [phi-nano]
tasks: [{kind: arithmetic, train: 64, validation: 12, test: 24}]
strategies: [uniform]
optimizers: [adamw, {name: fast, preset: adamw, rule: {lr: 0.1}}, sam]
budget: {steps: 10}
training: {batch_size: 8}
"""
PRETRAINED = """\
models: [qwen3-0.6b-base, {preset: qwen3-0.6b-base, name: adapted, lora: {r: 8}}]
tasks: [{preset: mathinstruct, max_length: 512}]
strategies: [uniform]
optimizers: [adamw, sam]
budget: {steps: 100}
training: {batch_size: 32, micro_batch: 8, precision: bf16}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def suite_of(text: str = SUITE) -> Suite:
    Path("x.yaml").write_text(text, encoding="utf-8")
    return load_suite("x.yaml")


def done(suite: Suite, optimizer: str, **measured: float) -> None:
    cell = next(cell for cell in suite.cells() if cell.arm.optimizer == optimizer)
    about = {"total_seconds": 5.0, "provenance": {"device_type": "cpu"}, **measured}
    result = {"tokens": 1000.0, "accuracy": 0.5}
    Store("results").write(Record(cell.key, {}, "completed", result, {}, {}, about), lambda folder: None)


def device(gigabytes: float) -> Device:
    return Device("tiny", "cuda", "NVIDIA L40S", gigabytes * 1e9, 1e12, nominal=True)


# What a plan says


def test_every_arm_has_time_memory_and_disk(folder: Path) -> None:
    content = plan(suite_of(), Store("results"), pace="nominal")
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    for arm in content["arms"]:
        assert arm["seconds"] == pytest.approx(sum(v for v in arm["phases"].values() if v))
        assert (
            arm["peak_bytes"]
            >= arm["training_peak_bytes"]
            > sum(arm["memory"][name] for name in ("weights", "state", "gradients"))
        )
        assert (arm["fits"], arm["basis"]) == ("yes", "nominal")
        assert arm["disk_bytes"] > 4 * 90_000  # weights of a nano model
    assert content["refused"] == []
    left = content["remaining"]
    assert left["seconds"] == pytest.approx(sum(arm["seconds"] for arm in content["arms"]))
    assert left["wall_seconds"] > left["seconds"]
    assert [path.name for path in folder.iterdir()] == ["x.yaml"]


def test_a_suite_of_seconds_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AssertionError("a process was started for a suite that takes no longer than it would")

    monkeypatch.setattr("optbench.planning.estimate.measured", fails)
    assert plan(suite_of(), Store("results"))["remaining"]["basis"] == "nominal"


def test_long_suites_are_measured_where_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def stands_in(arms: Any, **_: object) -> Any:
        asked.append([arm.optimizer for arm in arms])
        raise UserError("far enough")

    monkeypatch.setattr("optbench.planning.estimate.measured", stands_in)
    long = suite_of(SUITE.replace("steps: 10", "steps: 100000"))
    with pytest.raises(UserError, match="far enough"):
        plan(long, Store("results"))
    assert asked == [["adamw", "fast", "sam"]]
    for given in ({"pace": "nominal"}, {"device": "h100-80gb"}):
        assert plan(long, Store("results"), **given)["remaining"]["basis"] == "nominal"  # type: ignore[arg-type]
    done(long, "adamw")
    assert plan(long, Store("results"))["remaining"]["basis"] == "records"


def test_records_of_the_same_optimizer_go_before_those_of_others() -> None:
    suite = suite_of()
    # 1000 tokens at 250 a second: 4 of the 5 seconds are steps.
    done(suite, "adamw", tokens_per_second=250.0)
    arms = {arm["optimizer"]: arm for arm in plan(suite, Store("results"))["arms"]}
    assert arms["fast"]["phases"]["training"] == pytest.approx(4.0)
    assert arms["fast"]["seconds"] == pytest.approx(5.0)
    ratio = arms["sam"]["flops"] / arms["adamw"]["flops"]
    assert arms["sam"]["seconds"] == pytest.approx(1.0 + 4.0 * ratio)
    done(suite, "sam", tokens_per_second=500.0)
    arms = {arm["optimizer"]: arm for arm in plan(suite, Store("results"))["arms"]}
    assert arms["sam"]["phases"]["training"] == pytest.approx(2.0)
    assert arms["fast"]["phases"]["training"] == pytest.approx(4.0)


def test_records_of_another_kind_of_device_say_nothing() -> None:
    suite = suite_of()
    done(suite, "adamw", provenance={"device_type": "cuda"})  # type: ignore[arg-type]
    assert plan(suite, Store("results"))["remaining"]["basis"] == "nominal"


def test_rates_and_radii_do_not_make_another_cost_and_steps_no_other_subject() -> None:
    arms = {arm.optimizer: arm for arm in suite_of().arms}
    assert cost_signature(arms["adamw"].optimizer_spec) == cost_signature(arms["fast"].optimizer_spec)
    assert cost_signature(arms["adamw"].optimizer_spec) != cost_signature(arms["sam"].optimizer_spec)
    sam = arms["sam"].optimizer_spec
    wider, functional = (
        sam.model_copy(update={"estimator": sam.estimator.model_copy(update=fields)})
        for fields in ({"rho": 0.2}, {"functional": True})
    )
    assert cost_signature(wider) == cost_signature(sam) != cost_signature(functional)
    longer = suite_of(SUITE.replace("steps: 10", "steps: 11")).arms[0]
    assert subject_of(longer) == subject_of(arms["adamw"])
    assert subject_of(suite_of(SUITE.replace("size: 8", "size: 9")).arms[0]) != subject_of(arms["adamw"])


def test_no_record_no_pace() -> None:
    assert recorded(suite_of().arms[0], 1.0, []) is None
    past = Past(Kind("x", "y", 10, 2.0), None, 30.0)
    assert recorded(suite_of().arms[0], 4.0, [past]) == Phases(0.0, 6.0, 0.0, "records")


@pytest.mark.parametrize(
    ("cells", "workers", "expected"),
    [([3.0, 3.0, 2.0, 2.0], 2, 7.0), ([3.0], 4, 5.0), ([5.0, 1.0, 1.0], 2, 7.0), ([], 2, 0.0)],
)
def test_the_last_worker_ends_a_run(cells: list[float], workers: int, expected: float) -> None:
    assert wall_seconds([], cells, workers=workers, startup=2.0) == expected


def test_probes_come_first_and_are_done_once() -> None:
    assert wall_seconds([4.0], [3.0, 3.0], workers=2, startup=0.0) == 6.0
    small = "{kind: nano, family: llama, width: 32, layers: 1, heads: 2, kv_heads: 1}"
    strategies = f"[uniform, {{preset: upsample, probe: {{model: {small}}}}}]"
    content = plan(suite_of(SUITE.replace("[uniform]", strategies)), Store("results"), pace="nominal")
    same = plan(suite_of(SUITE.replace("[uniform]", strategies[:-1] + "]")), Store("results"), pace="nominal")
    assert 0 < content["remaining"]["probe_seconds"] == same["remaining"]["probe_seconds"] < 3


# Without a hub


def test_the_full_matrix_has_its_hours_without_hub_and_torch(folder: Path) -> None:
    argv = ["optbench", "plan", str(ROOT / "suites" / "full.yaml"), "--device", "h100-80gb", "--format", "json"]
    code = (
        f"import sys; sys.argv = {argv!r}\nfrom optbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules), 'something heavy was loaded'\n"
        "sys.exit(code)"
    )
    environment = {"HF_HOME": str(folder / "empty"), "HF_HUB_OFFLINE": "1", "PATH": ""}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )
    content = json.loads(ended.stdout)
    assert ended.returncode == (1 if content["refused"] else 0), ended.stderr
    assert all(cell["key"] is None and not cell["done"] for arm in content["arms"] for cell in arm["cells"])
    assert content["remaining"]["runs"] == content["cells"] > 4
    assert 10 < content["remaining"]["device_seconds"] / 3600 < 10_000
    assert any("not at hand" in words for words in content["assumed"])
    assert any("35%" in words for words in content["assumed"])
    assert "GPU-hours" in plan_text(content)


def test_what_lies_on_the_hub_is_told_from_what_is_missing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    arm = suite_of(PRETRAINED).arms[0]
    assert not_at_hand(arm.model_spec) == ["Qwen/Qwen3-0.6B-Base"]
    assert not_at_hand(arm.task_spec) == ["TIGER-Lab/MathInstruct", "openai/gsm8k"]
    local = type(arm.model_spec).model_validate({**arm.model_spec.dump(), "path": "./nowhere"})
    assert not_at_hand(local) == []
    drawn = type(arm.model_spec).model_validate({**arm.model_spec.dump(), "weights": "random"})
    assert not_at_hand(drawn) == []
    (folder / "models--Qwen--Qwen3-0.6B-Base" / "refs").mkdir(parents=True)
    (folder / "models--Qwen--Qwen3-0.6B-Base" / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    assert not_at_hand(arm.model_spec) == []


def test_assumed_lengths_are_the_longest_allowed() -> None:
    work = checked(suite_of(PRETRAINED).arms[0])
    assert (work.longest, work.example.tokens, work.example.supervised) == (512, 512.0, 256.0)
    assert "taken to have 512 tokens" in work.assumed


# Devices


def test_named_devices_have_rates_and_unknown_ones_are_refused() -> None:
    for name, (product, memory, _) in NAMED.items():
        assert peak_flops(product, "float32"), name
        assert device_of(name).memory == memory
    with pytest.raises(UserError, match="no device is named 'h100'; did you mean h100-80gb"):
        device_of("h100")
    # No units for bfloat16: the rate of float32.
    assert device_of("t4").rate("bf16") == device_of("t4").rate("float32")
    assert device_of("h100-80gb").rate("bf16") == pytest.approx(0.35 * 989e12)


# What fits


def test_shares_and_margins() -> None:
    cpu = Device("cpu", "cpu", "x", 8e9, 1e9, nominal=False)
    assert (share_of(cpu, 2), share_of(device(8.0), 2)) == (4e9, 8e9)
    peaks = {bytes: Peak(bytes, 0.0, "update", {}) for bytes in (3.5e9, 3.7e9, 4.1e9)}
    assert [fit_of(peak, cpu, 2) for peak in peaks.values()] == ["yes", "tight", "no"]
    assert fit_of(Peak(1.0, 5e9, "evaluation", {}), cpu, 2) == "no"


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    suite = suite_of(PRETRAINED)
    arms = {arm.name: arm for arm in suite.arms}
    sam = next(arm for name, arm in arms.items() if name.startswith("qwen3") and name.endswith("sam"))
    peaks = {name: cost.peak.bytes for name, cost in _costs(suite).items()}
    small = device(peaks[sam.name] / 1e9 * 0.97)
    found = would_fit(sam, checked(sam), small, 1)
    words = [line.partition(" (")[0] for line in found]
    assert "training.micro_batch: 1" in words
    assert "training.activation_checkpointing: true" in words
    assert any(line.startswith("LoRA") for line in found)
    assert would_fit(sam, checked(sam), device(0.5), 1) == []
    # Weights, gradients and moments of 2.8 billion parameters: nothing but adapters will do.
    large = suite_of(PRETRAINED.replace("[qwen3-0.6b-base, ", "[phi-2, ").replace("micro_batch: 8", "micro_batch: 2"))
    found = would_fit(large.arms[0], checked(large.arms[0]), device_of("a100-40gb"), 1)
    assert [line.partition(" (")[0] for line in found] == ["LoRA"]


def _costs(suite: Suite) -> dict[str, Any]:
    costs = costs_of(suite, device(1000.0), [], suite.arms, "nominal")
    return {arm.name: costs.arms[id(arm)] for arm in suite.arms}


def test_several_changes_together_are_proposed_where_none_is_enough() -> None:
    suite = suite_of(PRETRAINED)
    sam = suite.arms[1]
    single = [device(gigabytes) for gigabytes in range(1, 60)]
    found = [would_fit(sam, checked(sam), there, 1) for there in single]
    combined = [lines for lines in found if lines and "together" in lines[0]]
    assert combined
    assert all(len(lines) == 1 and lines[0].startswith("training.micro_batch: 1, ") for lines in combined)


def test_a_run_is_refused_by_a_clear_margin_only(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = suite_of(PRETRAINED)
    most = max(cost.peak.bytes for cost in _costs(suite).values()) / 1e9
    here: list[Device] = []
    monkeypatch.setattr("optbench.planning.fits.device_of", lambda asked: here[-1])
    here.append(device(most / (CLEARLY - 0.01)))
    check_fits(suite.arms)
    here.append(device(most / (CLEARLY + 0.01)))
    with pytest.raises(UserError, match="does not fit") as refused:
        check_fits(suite.arms)
    lines = str(refused.value).splitlines()
    assert lines[0].startswith("qwen3-0.6b-base/mathinstruct/uniform/sam: does not fit: ")
    assert "would fit: " in lines[0] and lines[-1].startswith("--no-fit-check")
    here.append(Device("cpu", "cpu", "x", None, 1e9, nominal=False))
    check_fits(suite.arms)


def test_a_plan_that_does_not_fit_says_so_and_ends_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    text = PRETRAINED.replace("[qwen3-0.6b-base, ", "[phi-2, ").replace("[adamw, sam]", "[gd, sam]")
    content = plan(suite_of(text), Store("results"), device="a100-40gb")
    assert [arm["fits"] for arm in content["arms"]] == ["no", "no", "yes", "yes"]
    assert [refused["arm"] for refused in content["refused"]] == [arm["name"] for arm in content["arms"][:2]]
    said = plan_text(content)
    assert "2 of 4 arms do not fit:" in said and "would fit: " in said
    from optbench.cli import main

    sys.argv = ["optbench", "plan", "x.yaml", "--device", "a100-40gb"]
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "arms do not fit" in capsys.readouterr().out


def test_one_reason_is_told_once() -> None:
    assert told_once({"a": "x", "b": "y", "c": "x"}) == ["a (and 1 more arm like it): x", "b: y"]
    many = told_once({str(n): str(n) for n in range(20)})
    assert len(many) == 13 and many[-1] == "... and 8 more"


@pytest.mark.parametrize(("count", "text"), [(999.0, "999 bytes"), (1.5e9, "1.5 GB"), (8e4, "80 kB"), (2e12, "2 TB")])
def test_sizes_for_people(count: float, text: str) -> None:
    assert size(count) == text


def test_running_text_is_learned_whole_and_sets_have_their_published_sizes() -> None:
    text = PRETRAINED.replace(
        "max_length: 512}", "max_length: 512, programs: 'on', evaluate_on: [{set: gsm8k}, {set: math}]}"
    )
    work = checked(suite_of(text).arms[0])
    assert (len(work.prompts), work.test_examples, work.rounds) == (1319 + 5000, 1319 + 5000, 2)
    corpus = PRETRAINED.replace("{preset: mathinstruct, max_length: 512}", "{preset: c4, length: 256}")
    work = checked(suite_of(corpus).arms[0])
    assert (work.longest, work.supervised, len(work.prompts), work.rounds) == (256, 256, 0, 1)


def test_questions_that_are_asked_twice_take_twice_as_long() -> None:
    import dataclasses

    from optbench.planning.answers import Decoding, generation_seconds

    work, decoding = checked(suite_of().arms[0]), Decoding(fixed=1.0, per_row=1.0, per_prompt_token=1.0)
    twice = dataclasses.replace(work, rounds=2)
    assert generation_seconds(twice, decoding) == 2 * generation_seconds(work, decoding) > 0
