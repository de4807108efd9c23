"""What a trainer is asked for and would not get is refused, with what to do instead."""

import importlib
import sys

import pytest
import torch
from trainer_cases import arguments, llama, logged, rows
from transformers import LlamaForCausalLM, T5Config, T5ForConditionalGeneration, Trainer

import optbench
from optbench.trainers import OptbenchTrainer, OptimizerMixin

PLAIN = {"rule": {"kind": "gd"}}


def build(folder, *, model=None, kind=OptbenchTrainer, spec="sam", fields=None, given=None, **settings):
    return kind(
        llama() if model is None else model,
        arguments(folder, **settings),
        train_dataset=rows(),
        optimizer_spec=spec,
        optimizer_fields=fields or {},
        **(given or {}),
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spec": "functional_smo"}, "no optimizer is named 'functional_smo'; did you mean functional_sam"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor: .* plain cross entropy"),
        ({"weight_decay": 0.1}, "weight_decay: .* set weight_decay in the spec"),
        ({"torch_compile": True, "torch_compile_backend": "eager"}, "torch_compile: "),
        ({"spec": {**PLAIN, "max_norm": 1.0}}, r"max_norm: a trainer clips by TrainingArguments\(max_grad_norm"),
        ({"fields": {"max_norm": 1.0}}, "max_norm: a trainer clips"),
        ({"given": {"compute_loss_func": lambda *args, **kwargs: None}}, "compute_loss_func: .* not be asked"),
        (
            {"given": {"optimizer_cls_and_kwargs": (torch.optim.SGD, {"lr": 1.0})}},
            "optimizers: .* optimizer_spec says which",
        ),
        ({"model": llama(dtype=torch.bfloat16)}, "trainable weights are torch.bfloat16, .* dtype=torch.float32"),
    ],
)
def test_before_anything_is_trained(settings, message, tmp_path):
    with pytest.raises(optbench.UserError, match=message):
        build(tmp_path, **settings)


def test_a_scaled_loss(tmp_path, monkeypatch):
    """Half precision with a scaler exists on a GPU alone: the arguments are made as they would be there."""
    made = build(tmp_path)
    monkeypatch.setattr(made.args, "fp16", True)
    from optbench.trainers.checks import check_arguments

    with pytest.raises(optbench.UserError, match="fp16: .* use bf16=True"):
        check_arguments(made)


def test_several_devices(tmp_path, monkeypatch):
    from optbench.trainers.checks import check_devices
    from optbench.trainers.specs import wanted

    made = build(tmp_path)
    spec = wanted("sam", {"ascent_fraction": 0.5}, learning_rate=0.1)
    check_devices(made, spec)
    with monkeypatch.context() as patch:
        patch.setattr(made, "is_fsdp_enabled", True)
        with pytest.raises(optbench.UserError, match="FSDP: a step of optbench shifts whole weights"):
            check_devices(made, spec)
    with monkeypatch.context() as patch:
        patch.setattr(made.args, "_n_gpu", 2)
        with pytest.raises(optbench.UserError, match=r"2 GPUs in one process \(DataParallel\)"):
            check_devices(made, spec)
    monkeypatch.setattr(type(made.args), "world_size", 2)
    with pytest.raises(optbench.UserError, match="torchrun --nproc-per-node N -m optbench run SUITE"):
        check_devices(made, spec)


def test_a_loss_of_ones_own(tmp_path):
    class Weighted(Trainer):
        def compute_loss(self, *args, **kwargs):
            return 2 * super().compute_loss(*args, **kwargs)

    class Mine(OptimizerMixin, Weighted):
        pass

    with pytest.raises(optbench.UserError, match=r"Weighted.compute_loss would not be asked"):
        build(tmp_path, kind=Mine)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # Peft's own.
def test_prompts_that_are_learned(tmp_path):
    peft = pytest.importorskip("peft")
    prompts = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(optbench.UserError, match="prompts that are learned .* LoRA"):
        build(tmp_path, model=peft.get_peft_model(llama(), prompts))


def test_without_trl_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    monkeypatch.delitem(sys.modules, "optbench.trainers.sft", raising=False)
    with pytest.raises(optbench.UserError, match=r'pip install "optbench\[trl\]"'):
        importlib.import_module("optbench.trainers.sft")


def test_an_encoder_decoder(tmp_path):
    config = T5Config(vocab_size=23, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    with pytest.raises(optbench.UserError, match="T5ForConditionalGeneration is an encoder-decoder"):
        build(tmp_path, model=T5ForConditionalGeneration(config))


class Penalised(LlamaForCausalLM):
    """A model that adds something to its loss, as those with routers do."""

    def forward(self, *args, **kwargs):
        found = super().forward(*args, **kwargs)
        if found.loss is not None:
            found.loss = found.loss + 0.01 * found.logits.square().mean() + 0.1
        return found


def test_a_model_that_adds_to_its_loss(tmp_path):
    model = Penalised(llama().config)
    before = [p.clone() for p in model.parameters()]
    made = build(tmp_path, model=model, remove_unused_columns=False)
    with pytest.raises(optbench.UserError, match="Penalised reports a loss of .* mean cross entropy is"):
        made.train()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_step_without_labels(tmp_path):
    data = rows(8)
    for row in data:
        row["labels"] = torch.full_like(row["labels"], -100)
    made = OptbenchTrainer(llama(), arguments(tmp_path), train_dataset=data, optimizer_spec="adamw")
    with pytest.raises(optbench.UserError, match="none of the 4 micro-batches of this step has a supervised position"):
        made.train()


def test_data_without_labels(tmp_path):
    data = [{"input_ids": row["input_ids"]} for row in rows(8)]
    made = OptbenchTrainer(llama(), arguments(tmp_path), train_dataset=data, optimizer_spec="adamw")
    with pytest.raises(optbench.UserError, match="needs input_ids and labels; the collator gives"):
        made.train()


@pytest.mark.parametrize(
    ("spec", "fields", "first"),
    [
        ("adamw", {}, 0.01),
        ("adamw", {"lr": 0.003}, 0.003),
        ({"rule": {"kind": "muon", "lr": 0.02}}, {}, 0.02),
        ({"rule": {"kind": "torch", "target": "torch.optim:RMSprop", "lr": 0.004}}, {}, 0.004),
    ],
)
def test_the_base_rate_is_that_of_the_spec_or_of_the_arguments(spec, fields, first, tmp_path):
    made = build(tmp_path, spec=spec, fields=fields, max_steps=2)
    made.train()
    assert logged(made, "learning_rate")[0] == pytest.approx(first)
    groups = [group for engine in _engines(made) for group in engine.param_groups]
    rates = {round(group["lr"], 12) for group in groups}
    # Muon's AdamW part is not named: it has the rate of the arguments; after the last step the factor is that of it.
    base = 0.01 if "muon" in str(spec) else first
    assert rates == {round(base * 0.5, 12)}


def _engines(made):
    rule = made.optimizer.optimizer.optimizer.rule
    return [rule._adam] if "_adam" in vars(rule) else rule.engines
