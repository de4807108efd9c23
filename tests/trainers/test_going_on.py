"""Checkpoints of a trainer, averages, and what is evaluated and saved."""

import pytest
import torch
from safetensors.torch import load_file
from trainer_cases import arguments, llama, logged, rows, same, weights
from transformers import Trainer, TrainerCallback

from optbench.trainers import OptbenchTrainer

AVERAGES = {"rule": {"kind": "torch", "target": "pytorch_optimizer:ScheduleFreeAdamW", "lr": 0.02, "averages": True}}
SPECS = {
    "muon": "muon",
    "preconditioned": "preconditioned_functional_sam",
    "refreshed": {"estimator": {"kind": "sharpness_aware", "refresh_every": 4}, "rule": {"kind": "adamw"}},
    "averages": AVERAGES,
}


def trainer(folder, spec, *, dropout=0.2, **given):
    return OptbenchTrainer(
        llama(dropout=dropout), arguments(folder, **given), train_dataset=rows(), optimizer_spec=spec
    )


@pytest.mark.parametrize("name", SPECS)
def test_a_resumed_training_ends_with_the_same_bits(name, tmp_path):
    """From a checkpoint in the middle of an epoch, with dropout, and in the middle of a shift's age."""
    settings = {"save_strategy": "steps", "save_steps": 2}
    whole = trainer(tmp_path, SPECS[name], **settings)
    whole.train()
    resumed = trainer(tmp_path, SPECS[name], **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.steps == 4 and whole.steps == 6
    assert logged(resumed, "loss") == logged(whole, "loss")
    assert logged(resumed, "learning_rate") == logged(whole, "learning_rate")
    assert same(weights(whole.model), weights(resumed.model))


def test_averages_are_what_is_evaluated_and_saved(tmp_path):
    made = trainer(tmp_path, AVERAGES, dropout=0.0, lr_scheduler_type="constant")
    made.train()
    averages = weights(made.model)
    before = made.evaluate(rows())["eval_loss"]
    made.save_model(str(tmp_path / "saved"))
    rule = made.optimizer.optimizer
    rule.train()
    trained = weights(made.model)
    assert not same(averages, trained)
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    names = [name for name, _ in made.model.named_parameters()]
    assert all(torch.equal(saved[name], p) for name, p in zip(names, averages, strict=True))
    assert made.evaluate(rows())["eval_loss"] == before, "evaluation turns to the averages by itself"


def test_a_checkpoint_holds_averages_for_readers_and_weights_for_going_on(tmp_path):
    settings = {"dropout": 0.0, "lr_scheduler_type": "constant"}
    trainer(tmp_path, AVERAGES, save_strategy="steps", save_steps=2, **settings).train()
    short = trainer(tmp_path, AVERAGES, max_steps=2, **settings)
    short.train()
    saved = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    assert all(torch.equal(saved[name], p) for name, p in short.model.named_parameters())
    kept = torch.load(tmp_path / "checkpoint-2" / "optimizer.pt", weights_only=True)["weights"]
    assert not same(kept, weights(short.model))


def test_the_best_averages_are_not_averaged_again(tmp_path):
    made = OptbenchTrainer(
        llama(),
        arguments(
            tmp_path, save_strategy="epoch", eval_strategy="epoch", load_best_model_at_end=True, num_train_epochs=3
        ),
        train_dataset=rows(),
        eval_dataset=rows(seed=2),
        optimizer_spec=AVERAGES,
    )
    made.train()
    best = load_file(f"{made.state.best_model_checkpoint}/model.safetensors")
    assert all(torch.equal(best[name], p) for name, p in made.model.named_parameters())
    assert made.evaluate()["eval_loss"] == pytest.approx(min(logged(made, "eval_loss")), rel=1e-6)


def test_training_twice_goes_on_with_the_same_rule(tmp_path):
    made = trainer(tmp_path, "sam")
    made.train()
    rule = made.optimizer
    made.train()
    assert made.optimizer is rule and made.steps == 12
    assert logged(made, "learning_rate")[0] == 0.01, "the schedule starts again at the base rate"


class StopWithin(TrainerCallback):
    """Ends a training between two micro-batches of a step."""

    stopped = False

    def on_substep_end(self, args, state, control, **kwargs):
        if not self.stopped and state.global_step == 1:
            self.stopped = control.should_training_stop = True


def test_micro_batches_of_a_training_that_was_stopped_are_not_left_over(tmp_path):
    made = OptbenchTrainer(
        llama(), arguments(tmp_path), train_dataset=rows(16), optimizer_spec="adamw", callbacks=[StopWithin()]
    )
    made.train()
    assert made.steps == 1
    made.train()
    assert made.steps == 5 and made.tokens == 5 * 8 * 9


def test_a_model_is_made_anew_for_each_training(tmp_path):
    made = OptbenchTrainer(
        args=arguments(tmp_path), train_dataset=rows(), model_init=lambda: llama(), optimizer_spec="functional_sam"
    )
    made.train()
    first = weights(made.model)
    made.train()
    assert same(first, weights(made.model))


def test_a_model_that_another_trainer_has_wrapped_in_autocast(tmp_path):
    """How the output layer is found may not depend on it."""
    model = llama()
    Trainer(model, arguments(tmp_path, bf16=True)).evaluate(rows())
    made = OptbenchTrainer(model, arguments(tmp_path, bf16=True), train_dataset=rows(), optimizer_spec="functional_sam")
    again = trainer(tmp_path, "functional_sam", dropout=0.0, bf16=True)
    made.evaluate(rows())
    made.train()
    again.train()
    assert made._view.head is not None
    assert logged(made, "loss") == logged(again, "loss")
