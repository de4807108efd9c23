"""A trainer's callback that records the loss of every training example along training.

It goes with any `Trainer`, with or without an optimizer of optbench, and needs nothing of the data: it looks at the
rows of the trainer's own training set, in their order, through the trainer's own collator. So no column of ids has to
survive preparation, `remove_unused_columns` and collation, and all examples are judged by the same weights.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import TrainerCallback

from optbench.errors import UserError
from optbench.models.language_model import cross_entropy
from optbench.trainers.batches import part_of

LOSSES, META = "losses.npy", "losses.json"


class LossRecorder(TrainerCallback):  # type: ignore[misc]
    """Looks at every example's loss after each epoch, or after every `every` steps: forward only, without dropout.

    A look costs 1/3 of a pass over the training set. Into `folder` go, after each look, `losses.npy`, float64
    [examples, looks], the mean nats per supervised position, rows in the order of the training set; and `losses.json`,
    the step and epoch of each look, and its seconds. Training that is resumed goes on with what the folder holds. Of
    several processes the first one looks, and the others wait.
    `optbench.later_learned(recorder.losses)` says which examples are learned late.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, every: int | Literal["epoch"] = "epoch", batch_size: int = 8
    ) -> None:
        """Raises UserError for steps or a batch size below 1."""
        if (every != "epoch" and every < 1) or batch_size < 1:
            raise UserError(f"every={every!r}, batch_size={batch_size}: allowed: 'epoch' or at least 1, and at least 1")
        self.folder = Path(folder)
        self.every, self.batch_size = every, batch_size
        self.steps: list[int] = []
        self.epochs: list[float] = []
        self.seconds: list[float] = []
        self._looks: list[np.ndarray] = []

    @property
    def losses(self) -> np.ndarray:
        """What was seen so far, float64 [examples, looks]."""
        return np.stack(self._looks, axis=1) if self._looks else np.zeros((0, 0))

    def on_train_begin(self, args: Any, state: Any, control: Any, *, train_dataloader: Any, **_: Any) -> None:
        """Starts anew, or where the checkpoint is from that training goes on with."""
        self._looks, self.steps, self.epochs, self.seconds = [], [], [], []
        if args.fsdp or args.deepspeed:
            raise UserError("LossRecorder runs the model in one process, and FSDP or DeepSpeed spreads it over several")
        dataset = train_dataloader.dataset
        if isinstance(dataset, torch.utils.data.IterableDataset):
            raise UserError("LossRecorder needs a training set with an order and a length, and this one is a stream")
        if state.global_step and (self.folder / META).is_file():
            self._load(upto=state.global_step, examples=len(dataset))

    def on_step_end(
        self, args: Any, state: Any, control: Any, *, model: Any, train_dataloader: Any, optimizer: Any, **_: Any
    ) -> None:
        """A look after every `every` steps."""
        if self.every != "epoch" and state.global_step % self.every == 0:
            self._look(state, model, train_dataloader, optimizer)

    def on_epoch_end(
        self, args: Any, state: Any, control: Any, *, model: Any, train_dataloader: Any, optimizer: Any, **_: Any
    ) -> None:
        """A look after each epoch."""
        if self.every == "epoch":
            self._look(state, model, train_dataloader, optimizer)

    def _look(self, state: Any, model: Any, loader: Any, optimizer: Any) -> None:
        if not state.is_world_process_zero:
            return
        start = time.perf_counter()
        with _evaluating(model, optimizer), torch.no_grad():
            self._looks.append(np.asarray(list(_losses(model, loader.dataset, loader.collate_fn, self.batch_size))))
        self.seconds.append(time.perf_counter() - start)
        self.steps.append(state.global_step)
        self.epochs.append(state.epoch)
        self._save()

    def _save(self) -> None:
        meta = {
            "unit": "mean nats per supervised position",
            "steps": self.steps,
            "epochs": self.epochs,
            "seconds": self.seconds,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        # The numbers before the words: a reader who finds a look in the words finds it in the numbers.
        with _whole(self.folder / LOSSES) as file:
            np.save(file, self.losses, allow_pickle=False)
        with _whole(self.folder / META) as file:
            file.write((json.dumps(meta, indent=1) + "\n").encode())

    def _load(self, *, upto: int, examples: int) -> None:
        meta = json.loads((self.folder / META).read_text(encoding="utf-8"))
        losses = np.load(self.folder / LOSSES, allow_pickle=False)
        if len(losses) != examples:
            raise UserError(
                f"{self.folder} holds losses of {len(losses)} examples, and the training set has {examples}: they are "
                "not those of this training; give LossRecorder another folder"
            )
        kept = sum(step <= upto for step in meta["steps"])
        self._looks = list(losses.T[:kept])
        self.steps, self.epochs, self.seconds = (meta[name][:kept] for name in ("steps", "epochs", "seconds"))


def _losses(model: Any, dataset: Any, collate: Any, size: int) -> Iterator[float]:
    """The mean loss over the supervised positions of each row, in order."""
    device = next(model.parameters()).device
    for start in range(0, len(dataset), size):
        rows = [dataset[row] for row in range(start, min(start + size, len(dataset)))]
        inputs = {
            name: value.to(device) if isinstance(value, Tensor) else value for name, value in collate(rows).items()
        }
        part = part_of(inputs)
        if len(inputs["input_ids"]) != len(rows):
            raise UserError(
                "LossRecorder tells examples apart by row, and this collator joins them in one: train without packing "
                "and with padding_free=False, or record from a training set of the same examples that is not packed"
            )
        logits_BTV = model(**part.inputs, use_cache=False).logits
        if logits_BTV.shape[:2] != inputs["input_ids"].shape:
            raise UserError(
                f"the model gives {logits_BTV.shape[1]} outputs for {inputs['input_ids'].shape[1]} tokens, which labels"
                " cannot be compared with: adapters that add tokens (learned prompts) are not recorded"
            )
        of_row = part.positions // inputs["input_ids"].shape[1]
        found = cross_entropy(logits_BTV.flatten(0, 1)[part.positions].float(), part.targets).double()
        sums = found.new_zeros(len(rows)).index_add_(0, of_row, found)
        counts = torch.bincount(of_row, minlength=len(rows))
        if not bool(counts.all()):
            empty = (start + (counts == 0).nonzero().flatten()).tolist()
            raise UserError(f"examples {empty[:5]} of the training set have no supervised position, and so no loss")
        yield from (sums / counts).tolist()


@contextmanager
def _evaluating(model: Any, optimizer: Any) -> Iterator[None]:
    """The weights that the optimizer would be judged by, dropout off; both as before afterwards.

    Optimizers that average offer eval and train; accelerate passes both on, and takes none amiss.
    """
    was_training = model.training
    model.eval()
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()
        model.train(was_training)


@contextmanager
def _whole(path: Path) -> Iterator[Any]:
    """A file that is there whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
