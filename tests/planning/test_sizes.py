"""Memory, disk and rows of answers by formula, against what is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from optbench.cell import CellSpec
from optbench.cost import Work
from optbench.models import functional_head, generation
from optbench.models.roles import parameters_of
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.planning import answers, memory
from optbench.planning.devices import Device, device_of
from optbench.planning.disk import record_bytes
from optbench.planning.memory import Trained, peak_of
from optbench.planning.rules import TWO_MOMENTS, state_per_entry, update_bytes
from optbench.planning.workload import Workload, workload_of
from optbench.profiling.memory import bytes_per_entry

OTHERS = {
    "momentum": {"rule": {"kind": "gd", "momentum": 0.9}},
    "torch": {"rule": {"kind": "torch", "target": "torch.optim:RMSprop", "lr": 1e-3}},
}
GPU = Device("test", "cuda", "test", 1e9, 1e12, nominal=True)


def optimizer(name: str) -> OptimizerSpec:
    return OptimizerSpec.model_validate({**PRESETS, **OTHERS}[name])


def cell(name: str = "adamw", **training: object) -> CellSpec:
    return CellSpec.model_validate(
        {
            "model": {"kind": "nano", "family": "llama", "width": 128, "layers": 3},
            "task": {"kind": "arithmetic", "train": 64, "validation": 12, "test": 24},
            "strategy": {"kind": "uniform"},
            "optimizer": {**PRESETS, **OTHERS}[name],
            "training": {"steps": 2, "batch_size": 16, **training},
            "seed": 0,
        }
    )


def peak(spec: CellSpec, device: Device = GPU) -> memory.Peak:
    work = workload_of(spec.model, spec.task)
    return peak_of(spec.model, spec.optimizer, spec.training, work, device)


@pytest.mark.parametrize("name", [*PRESETS, "momentum"])
def test_state_of_rules_is_what_they_allocate(name: str) -> None:
    spec = optimizer(name)
    assert state_per_entry(spec) == (bytes_per_entry(spec, "hidden"), bytes_per_entry(spec, "embedding"))


def test_of_rules_from_elsewhere_nothing_is_run(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "import torch\n\n\nclass Own(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n        raise SystemExit('was run')\n"
    )
    spec = OptimizerSpec.model_validate({"rule": {"kind": "torch", "target": f"{own}:Own", "lr": 0.1}})
    assert state_per_entry(spec) == (TWO_MOMENTS, TWO_MOMENTS)


def test_constants_are_those_of_the_modules_that_load_torch() -> None:
    assert (memory.ROWS, memory.ENTRIES) == (functional_head.ROWS, functional_head.ENTRIES)
    assert (memory.QUESTIONS, memory.POSITIONS) == (generation.BATCH, generation.TOKENS)


@pytest.mark.parametrize("name", ["adamw", "muon", "functional_sam"])
def test_weights_gradients_and_state_are_those_of_the_built_model(name: str) -> None:
    spec = cell(name)
    model = spec.model.build(seed=0, device="cpu", precision="float32", attention="sdpa")
    parts = peak(spec).parts
    held = sum(p.numel() * p.element_size() for p in model.module.parameters())
    # Norms and biases are not counted: under one percent.
    assert parts["weights"] == pytest.approx(held, rel=0.01)
    assert parts["gradients"] == parts["weights"]
    built = spec.optimizer.build(parameters_of(model.module))
    for p in model.module.parameters():
        p.grad = torch.zeros_like(p)
    with torch.no_grad():
        built.rule.apply(1.0)
    assert parts["state"] == pytest.approx(built.state_bytes(), rel=0.01)
    assert (parts["copy"] > 0) == (name == "functional_sam")


def test_adapters_leave_little_to_train() -> None:
    plain = cell()
    adapted = CellSpec.model_validate({**plain.dump(), "model": {**plain.model.dump(), "lora": {"r": 4}}})
    trained = Trained.of(adapted.model.dimensions())
    q_and_v = 3 * 4 * ((128 + 128) + (128 + 64))  # r (rows + columns) of each; two of four heads for values
    assert (trained.hidden, trained.others) == (q_and_v, 0.0)
    assert trained.frozen == plain.model.dimensions().matrix_parameters
    assert peak(adapted).parts["weights"] == pytest.approx(peak(plain).parts["weights"], rel=0.05)
    assert peak(adapted).parts["state"] < 0.1 * peak(plain).parts["state"]


def test_parts_cost_less_than_the_whole_and_keep_the_gradient_beside_them() -> None:
    whole, cut = peak(cell()), peak(cell(micro_batch=4))
    assert cut.parts["activations"] == pytest.approx(whole.parts["activations"] / 4)
    tensors = cut.parts
    backward = sum(tensors[name] for name in ("weights", "state", "gradients", "activations", "output_layer"))
    assert cut.training == pytest.approx(memory.CUDA_CONTEXT + memory.SLACK["cuda"] * backward)


def test_checkpointed_activations_are_inputs_of_layers_and_a_layer_in_full() -> None:
    plain, checkpointed = cell(), cell(activation_checkpointing=True)
    assert peak(checkpointed).parts["activations"] < 0.75 * peak(plain).parts["activations"]


def test_activations_hold_what_autograd_saves() -> None:
    spec = cell(micro_batch=4)
    model = spec.model.build(seed=0, device="cpu", precision="float32", attention="sdpa")
    task = spec.task.build()
    prepared = task.prepare(task.train, model)
    longest = np.argsort(-prepared.lengths, kind="stable")[:4]
    part = prepared.batch(longest, micro_batch=4).parts[0]
    seen: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in model.module.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.outputs(part).sum()
    saved = sum(size for place, size in seen.items() if place not in weights)
    # The estimate counts one layer more, that which is worked on.
    assert 0.75 < peak(spec).parts["activations"] * 3 / 4 / saved < 1.25


def test_process_of_a_cpu_is_counted_and_evaluation_has_its_own_peak() -> None:
    cpu = device_of("cpu")
    found = peak(cell(), cpu)
    assert found.training > memory.PROCESS
    many = Workload(
        example=Work(10.0, 100.0, 5.0),
        longest=10,
        supervised=5,
        test=Work(10.0, 100.0, 5.0),
        test_examples=200,
        prompts=np.full(200, 60),
        answers=np.full(200, 20),
        limit=20,
        train=64,
    )
    spec = cell(micro_batch=1)
    asked = peak_of(spec.model, spec.optimizer, spec.training, many, cpu)
    assert asked.at == "evaluation"
    assert asked.bytes == asked.evaluation > asked.training


class Countdown(torch.nn.Module):
    """Writes as many tokens as a prompt's last token asks for, then the end; notes how many rows it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def forward(self, input_ids: torch.Tensor, **_: object) -> object:
        self.rows.append(len(input_ids))
        following = (input_ids[:, -1] - 1).clamp(min=0)
        logits = torch.nn.functional.one_hot(following, 64).float()[:, None]
        return type("Out", (), {"logits": logits, "past_key_values": self})()

    def reorder_cache(self, rows: torch.Tensor) -> None:
        """Nothing is kept."""


class Spoken:
    """A tokenizer of lists of numbers."""

    eos_id = pad_id = 0

    def encode_prompt(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def test_rows_of_answers_are_those_that_generation_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from optbench.models.language_model import LanguageModel

    lengths = np.random.default_rng(0).integers(2, 20, 40)
    lengths[-1] = 25
    module = Countdown()
    module.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)))
    model = LanguageModel(module, head=None, tokenizer=Spoken())
    # A prompt of token n is answered by n - 1, ..., 1 and the end: n tokens.
    generation.generate(model, [f"63 {n}" for n in lengths], max_new_tokens=25)
    assert answers.decoded(lengths, 25) == (25, sum(module.rows))


def test_groups_are_those_of_generation() -> None:
    rng = np.random.default_rng(1)
    prompts = rng.integers(5, 400, 700)
    work = Workload(Work(1, 1, 1), 1, 1, Work(1, 1, 1), 700, prompts, np.full(700, 9), 100, 1)
    ours = [len(own) for own, _ in answers.groups(work)]
    assert ours == [len(rows) for rows in generation._groups(sorted(prompts.tolist()), 100)]
    assert sum(ours) == 700 and len(ours) > 3


def test_updates_read_and_write_weights_and_state() -> None:
    assert update_bytes(optimizer("adamw"), 10.0, 10.0) == 20 * (12 + 16)
    assert update_bytes(optimizer("gd"), 10.0, 0.0) == 120


def test_records_keep_the_weights_of_small_models_alone() -> None:
    spec = cell()
    work = workload_of(spec.model, spec.task)
    small = record_bytes(spec.model, spec.training, [], work)
    assert small > 4 * spec.model.dimensions().matrix_parameters
    large = spec.model.model_copy(update={"width": 256})
    assert record_bytes(large, spec.training, [], work) > 3 * small
