"""Losses of every example along training, recorded by a callback."""

import json
import os

import numpy as np
import pytest
import torch
from trainer_cases import LENGTH, arguments, llama, rows, same, weights
from transformers import Trainer

import optbench
from optbench.trainers import LossRecorder, OptbenchTrainer


def by_hand(model, data):
    """One example at a time, from the definition."""
    model.eval()
    found = []
    for row in data:
        with torch.no_grad():
            logits = model(row["input_ids"][None]).logits[0]
        wanted = [t for t in range(LENGTH - 1) if row["labels"][t + 1] != -100]
        found.append(-np.mean([logits[t].log_softmax(-1)[row["labels"][t + 1]].item() for t in wanted]))
    return found


def trained(folder, recorder, data, *, spec=None, **given):
    settings = {**given, "callbacks": [recorder] if recorder else []}
    callbacks = settings.pop("callbacks")
    kind, more = (Trainer, {}) if spec is None else (OptbenchTrainer, {"optimizer_spec": spec})
    model = llama(dropout=0.2)
    trainer = kind(model, arguments(folder, **settings), train_dataset=data, callbacks=callbacks, **more)
    trainer.train()
    return trainer


@pytest.mark.parametrize("spec", [None, "functional_sam"])
def test_losses_are_those_of_each_example_in_the_order_of_the_data(spec, tmp_path):
    """Also where the trainer drops columns and shuffles; and the training does not notice."""
    data = rows(13)
    recorder = LossRecorder(tmp_path / "losses", batch_size=4)
    watched = trained(tmp_path / "a", recorder, data, spec=spec)
    alone = trained(tmp_path / "b", None, data, spec=spec)
    assert same(weights(watched.model), weights(alone.model))
    assert recorder.losses.shape == (13, 2) and recorder.losses.dtype == np.float64
    assert recorder.losses[:, -1] == pytest.approx(by_hand(watched.model, data), rel=1e-5)
    assert recorder.losses[:, 0] != pytest.approx(recorder.losses[:, 1], rel=1e-3)
    saved = np.load(tmp_path / "losses" / "losses.npy", allow_pickle=False)
    assert np.array_equal(saved, recorder.losses)
    meta = json.loads((tmp_path / "losses" / "losses.json").read_text())
    assert meta["steps"] == [2, 4] and meta["epochs"] == [1, 2] and len(meta["seconds"]) == 2


def test_rows_of_uneven_length_and_looks_after_steps(tmp_path):
    """The collator pads; the rows are cut to other lengths after it has been chosen."""
    from transformers import DataCollatorForSeq2Seq

    data = [{name: value[: 6 + i % 4].tolist() for name, value in row.items()} for i, row in enumerate(rows(10))]
    for row in data:
        row["labels"][-1] = row["input_ids"][-1]
    model, recorder = llama(), LossRecorder(tmp_path / "losses", every=1, batch_size=3)
    trainer = OptbenchTrainer(
        model,
        arguments(tmp_path),
        train_dataset=data,
        data_collator=DataCollatorForSeq2Seq(_Padding()),
        callbacks=[recorder],
        optimizer_spec="adamw",
    )
    trainer.train()
    assert recorder.steps == [1, 2, 3, 4] and recorder.losses.shape == (10, 4)
    alone = [model(torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss.item() for row in data]
    assert recorder.losses[:, -1] == pytest.approx(alone, rel=1e-5)


class _Padding:
    """The little of a tokenizer that a collator of transformers pads with."""

    padding_side = "right"

    def pad(self, features, **_):
        longest = max(len(row["input_ids"]) for row in features)
        return {
            name: torch.tensor([row[name] + [0] * (longest - len(row[name])) for row in features])
            for name in ("input_ids", "attention_mask")
        }


def test_a_resumed_training_goes_on_with_its_looks(tmp_path):
    whole, first, again = (LossRecorder(tmp_path / name, every=2) for name in ("whole", "cut", "cut"))
    settings = {"save_strategy": "steps", "save_steps": 3, "spec": "adamw"}
    trained(tmp_path / "run", whole, rows(), **settings)
    trained(tmp_path / "run", first, rows(), **settings)
    assert whole.steps == [2, 4, 6]
    resumed = OptbenchTrainer(
        llama(dropout=0.2),
        arguments(tmp_path / "run"),
        train_dataset=rows(),
        callbacks=[again],
        optimizer_spec="adamw",
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert again.steps == [2, 4, 6]
    assert np.array_equal(again.losses, whole.losses)
    other = OptbenchTrainer(
        llama(dropout=0.2), arguments(tmp_path / "run"), train_dataset=rows(21), callbacks=[again], optimizer_spec="gd"
    )
    with pytest.raises(optbench.UserError, match="holds losses of 22 examples, and the training set has 21"):
        other.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))


def test_the_averages_are_looked_at(tmp_path):
    spec = {"rule": {"kind": "torch", "target": "pytorch_optimizer:ScheduleFreeAdamW", "lr": 0.02, "averages": True}}
    data, recorder = rows(8), LossRecorder(tmp_path / "losses")
    trainer = trained(tmp_path, recorder, data, spec=spec, lr_scheduler_type="constant")
    assert recorder.losses[:, -1] == pytest.approx(by_hand(trainer.model, data), rel=1e-5)


def test_what_has_no_loss_of_its_own_is_refused(tmp_path):
    masked = rows(5)
    masked[3]["labels"] = torch.full_like(masked[3]["labels"], -100)
    with pytest.raises(optbench.UserError, match=r"examples \[3\] of the training set have no supervised position"):
        trained(tmp_path, LossRecorder(tmp_path / "losses"), masked, spec="adamw")
    with pytest.raises(optbench.UserError, match="allowed: 'epoch' or at least 1"):
        LossRecorder(tmp_path, every=0)

    def joined(chosen):
        flat = {name: torch.cat([row[name] for row in chosen])[None] for name in ("input_ids", "labels")}
        return flat | {"position_ids": torch.arange(LENGTH).repeat(len(chosen))[None]}

    trainer = OptbenchTrainer(
        llama(),
        arguments(tmp_path),
        train_dataset=rows(8),
        data_collator=joined,
        callbacks=[LossRecorder(tmp_path / "losses")],
        optimizer_spec="adamw",
    )
    with pytest.raises(optbench.UserError, match="tells examples apart by row"):
        trainer.train()


def test_an_interrupted_look_leaves_the_last_one_whole(tmp_path, monkeypatch):
    recorder = LossRecorder(tmp_path / "losses")
    trained(tmp_path, recorder, rows(8), spec="adamw")
    before = (tmp_path / "losses" / "losses.npy").read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    recorder._looks.append(recorder._looks[-1])
    for place, name in ((np, "save"), (os, "fsync"), (os, "replace")):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(place, name, full)
            recorder._save()
    assert (tmp_path / "losses" / "losses.npy").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "losses").iterdir()) == ["losses.json", "losses.npy"]
