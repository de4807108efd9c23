"""A trainer with the mixin takes the very steps of optbench's own loop."""

import math

import pytest
import torch
from trainer_cases import arguments, llama, logged, rows, same, weights
from transformers import Trainer, TrainerCallback

import optbench
from optbench.models.language_model import LanguageModel, batch_of_labels, cross_entropy
from optbench.oracle import Batch
from optbench.train import train
from optbench.trainers import OptbenchTrainer

SPECS = {
    "adamw": ("adamw", {}),
    "muon": ("muon", {}),
    "sam": ("sam", {}),
    "functional_sam": ("functional_sam", {"rho": 0.1}),
    "preconditioned": ("preconditioned_functional_sam", {}),
    "momentum ascent": ("sam", {"ascent": "momentum"}),
    "fraction": ("functional_sam", {"ascent_fraction": 0.5}),
    "refreshed": ("functional_sam", {"refresh_every": 2}),
}
SCHEDULES = {"constant": lambda progress: 1.0, "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress))}


def collated(chosen):
    return {name: torch.stack([row[name] for row in chosen]) for name in chosen[0]}


def batches_of(data, *, size, accumulation, epochs, seeds=False):
    """The accumulated batches of sequential epochs, the last of each with what is left."""
    step = 0
    for _ in range(epochs):
        micro = [batch_of_labels(collated(data[at : at + size])) for at in range(0, len(data), size)]
        for at in range(0, len(micro), accumulation):
            chosen = micro[at : at + accumulation]
            if seeds:
                torch.manual_seed(step)
            step += 1
            yield Batch(
                [batch.parts[0] for batch in chosen],
                sum(batch.num_tokens for batch in chosen),
                sum(batch.num_supervised for batch in chosen),
            )


def by_our_loop(model, spec, fields, data, *, accumulation, schedule, seeds=False):
    rates = {"lr": 1e-2} | ({"adamw_lr": 1e-2} if spec == "muon" else {})
    optimizer = optbench.make_optimizer(spec, model, max_norm=0.5, **rates, **fields)
    batches = list(range(0, len(data), 2))
    steps = 2 * math.ceil(len(batches) / accumulation)
    model.train()
    view = LanguageModel.of(model)
    found = batches_of(data, size=2, accumulation=accumulation, epochs=2, seeds=seeds)
    return train(view, cross_entropy, optimizer, found, steps=steps, schedule=SCHEDULES[schedule])


class SeededSteps(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        torch.manual_seed(state.global_step)


def by_trainer(model, spec, fields, data, folder, *, callbacks=(), **given):
    trainer = OptbenchTrainer(
        model,
        arguments(folder, train_sampling_strategy="sequential", **given),
        train_dataset=data,
        callbacks=list(callbacks),
        optimizer_spec=spec,
        optimizer_fields=fields,
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    ("name", "accumulation", "schedule"),
    [*((name, 4, "cosine") for name in SPECS), *((name, 1, "constant") for name in ("adamw", "functional_sam"))],
)
def test_losses_norms_and_weights_are_those_of_our_loop(name, accumulation, schedule, tmp_path):
    spec, fields = SPECS[name]
    ours, theirs, data = llama(), llama(), rows()
    history = by_our_loop(ours, spec, fields, data, accumulation=accumulation, schedule=schedule)
    trainer = by_trainer(
        theirs, spec, fields, data, tmp_path, gradient_accumulation_steps=accumulation, lr_scheduler_type=schedule
    )
    assert trainer.state.global_step == len(history.losses) == (22 if accumulation == 1 else 6)
    assert logged(trainer, "loss") == history.losses
    assert logged(trainer, "grad_norm") == history.gradient_norms
    assert max(history.gradient_norms) > 0.5, "clipping has to have something to do"
    assert same(weights(ours), weights(theirs))
    assert trainer.passes == pytest.approx(sum(history.passes))
    assert trainer.tokens == sum(history.tokens)


def test_both_passes_draw_the_same_dropout_masks(tmp_path):
    ours, theirs, data = llama(dropout=0.4), llama(dropout=0.4), rows()
    history = by_our_loop(ours, "functional_sam", {"rho": 0.5}, data, accumulation=4, schedule="constant", seeds=True)
    trainer = by_trainer(
        theirs,
        "functional_sam",
        {"rho": 0.5},
        data,
        tmp_path,
        callbacks=[SeededSteps()],
        lr_scheduler_type="constant",
    )
    assert logged(trainer, "loss") == history.losses
    assert same(weights(ours), weights(theirs))
    dry = by_our_loop(llama(), "functional_sam", {"rho": 0.5}, data, accumulation=4, schedule="constant")
    assert dry.losses != history.losses, "dropout has to have done something"


def test_adamw_is_that_of_the_trainer_itself(tmp_path):
    """Its accumulation, clipping, schedule and logging are the yardstick here."""
    data, ours, stock = rows(), llama(), llama()
    trainer = by_trainer(ours, "adamw", {}, data, tmp_path)
    reference = Trainer(stock, arguments(tmp_path, train_sampling_strategy="sequential"), train_dataset=data)
    reference.train()
    for name in ("loss", "grad_norm", "learning_rate", "epoch"):
        assert logged(trainer, name) == pytest.approx(logged(reference, name), rel=1e-5), name
    for left, right in zip(weights(ours), weights(stock), strict=True):
        assert torch.allclose(left, right, atol=1e-5)


@pytest.mark.parametrize("spec", ["adamw", "functional_sam"])
def test_how_a_batch_is_cut_moves_rounding_only(spec, tmp_path):
    data = rows(24)
    cut = by_trainer(llama(), spec, {}, data, tmp_path)
    whole = by_trainer(llama(), spec, {}, data, tmp_path, per_device_train_batch_size=8, gradient_accumulation_steps=1)
    assert logged(cut, "loss") == pytest.approx(logged(whole, "loss"), rel=1e-5)


def test_a_micro_batch_without_labels_takes_part_in_nothing(tmp_path):
    data = rows(8)
    for row in data[2:4]:
        row["labels"] = torch.full_like(row["labels"], -100)
    masked = by_trainer(llama(), "sam", {}, data, tmp_path)
    without = by_trainer(llama(), "sam", {}, data[:2] + data[4:], tmp_path, gradient_accumulation_steps=3)
    assert logged(masked, "loss") == pytest.approx(logged(without, "loss"), rel=1e-6)


@pytest.mark.parametrize(("spec", "passes"), [("adamw", 1), ("sam", 2)])
def test_no_forward_is_wasted(spec, passes, tmp_path):
    """Beside those of the passes there are two, once: the loss of one example, the model's own and ours."""
    model, data = llama(), rows()
    trainer = OptbenchTrainer(model, arguments(tmp_path), train_dataset=data, optimizer_spec=spec)
    seen = []
    model.model.register_forward_hook(lambda module, args, output: seen.append(module.training))
    trainer.train()
    assert (seen.count(True), seen.count(False)) == (passes * 11 * 2, 2)
    assert trainer.passes / trainer.steps == passes


def test_operations_are_those_of_all_passes(tmp_path):
    plain, twice = (
        by_trainer(llama(), spec, {}, rows(4), tmp_path, gradient_accumulation_steps=1) for spec in ("adamw", "sam")
    )
    assert twice.state.total_flos == 2 * plain.state.total_flos > 0


def test_activation_checkpointing_changes_no_number(tmp_path):
    data, plain, again = rows(), llama(), llama()
    kept = by_trainer(plain, "functional_sam", {}, data, tmp_path)
    made_twice = by_trainer(again, "functional_sam", {}, data, tmp_path, activation_checkpointing=True)
    assert logged(made_twice, "loss") == pytest.approx(logged(kept, "loss"), rel=1e-6)
    assert again.is_activation_checkpointing


def test_a_shifted_loss_is_called_one(tmp_path):
    trainer = by_trainer(llama(), "sam", {"ascent": "momentum"}, rows(), tmp_path)
    assert logged(trainer, "loss_at_shifted_weights") == logged(trainer, "loss")
    assert trainer.passes == trainer.steps
    assert not logged(by_trainer(llama(), "sam", {}, rows(), tmp_path), "loss_at_shifted_weights")
