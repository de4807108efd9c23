"""Running a probe: the ordinary loop on the un-enlarged training set, with the losses noted; cached by key."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optbench.checkpointing import Checkpoints, Part, Weights, circumstances
from optbench.errors import UserError
from optbench.models.specs import ModelSpec
from optbench.order import rows_of_batches
from optbench.rng import TorchState, seed_torch, stream_seed
from optbench.spec import key_of
from optbench.store import write_whole
from optbench.strategies.base import Trajectories
from optbench.strategies.probe_spec import ProbeSpec, SameModel
from optbench.tasks.base import Task

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.oracle import Batch
    from optbench.tasks.base import Prepared

PROTOCOL_REVISION = 1
META, LOSSES = "probe.json", "losses.npy"


@dataclass(frozen=True)
class ProbeRun:
    """One probe: its spec with what it depends on. `model` is the cell's own; a proxy in the spec goes before it."""

    spec: ProbeSpec
    model: ModelSpec
    task_identity: dict[str, Any]
    precision: str
    attention: str

    @property
    def subject(self) -> Any:
        """The spec of the model that is trained."""
        return self.model if isinstance(self.spec.model, SameModel) else self.spec.model

    @property
    def key(self) -> str:
        """16 hex digits of the content."""
        spec = {name: value for name, value in self.spec.identity().items() if name != "model"}
        settings = {"precision": self.precision, "attention": self.attention}
        content = {"probe": spec, "model": self.subject.identity(), "task": self.task_identity, **settings}
        return key_of({"protocol": PROTOCOL_REVISION, **content})

    def folder(self, root: Path) -> Path:
        """Where the probe is kept below a results folder."""
        return root / "probes" / self.key[:2] / self.key

    def cached(self, root: Path) -> Trajectories | None:
        """The probe as it was run before, or None."""
        folder = self.folder(root)
        if not (folder / META).is_file():
            return None
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        losses = np.load(folder / LOSSES, allow_pickle=False)
        return Trajectories(losses, np.asarray(meta["steps"]), self.key, meta["flops"], meta["measured"]["seconds"])

    def run(self, task: Task, root: Path, *, device: str, checkpoint_minutes: float = 0.0) -> Trajectories:
        """Trains, writes and returns the trajectories; goes on from a checkpoint where there is one, and writes one
        after every `checkpoint_minutes` of work, 0 for never."""
        found = self.cached(root)
        if found is not None:
            return found
        spec, made_with = self.spec, circumstances(device, PROTOCOL_REVISION)
        steps = -(-len(task.train) // spec.batch_size) * spec.epochs
        checkpoints = Checkpoints(root, self.key, steps, checkpoint_minutes, made_with, device)
        made = self._train(task, checkpoints, device=device)
        meta = {
            "key": self.key,
            "steps": made.steps.tolist(),
            "flops": made.flops,
            "measured": {"seconds": made.seconds},
        }

        def fill(folder: Path) -> None:
            np.save(folder / LOSSES, made.losses, allow_pickle=False)
            (folder / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")

        write_whole(self.folder(root), fill)
        checkpoints.remove()
        return made

    def _train(self, task: Task, checkpoints: Checkpoints, *, device: str) -> Trajectories:
        from optbench import cost
        from optbench.evaluation import example_losses
        from optbench.models.roles import parameters_of
        from optbench.optim.schedules import schedule_of
        from optbench.train import History, train

        spec = self.spec
        model = self.subject.build(
            seed=stream_seed(spec.seed, "init"), device=device, precision=self.precision, attention=self.attention
        )
        prepared = task.prepare(task.train, model)
        optimizer = spec.optimizer.build(parameters_of(model.module))
        steps, steps_per_epoch = checkpoints.steps, checkpoints.steps // spec.epochs
        recorder = _Recorder(task, prepared, spec.epochs, spec.micro_batch)
        seed_torch(stream_seed(spec.seed, "dropout"))
        rows = _whole_epochs(len(task.train), spec.batch_size, seed=spec.seed)

        def look(step: int) -> None:
            recorder.end_step()
            if spec.record != "online" and step % steps_per_epoch == 0:
                recorder.whole.append(example_losses(model, task, prepared, micro_batch=spec.micro_batch))

        history = History()
        parts: dict[str, Part] = {"weights": Weights(model.module), "optimizer": optimizer}
        done = checkpoints.resume(history, {**parts, "random": TorchState(device), "recorder": recorder})
        train(
            model,
            recorder.losses,
            optimizer,
            recorder.batches(itertools.islice(rows, done, None)),
            steps=steps,
            schedule=schedule_of("constant", warmup=0.05, final=0.0, steps=steps),
            observers=[look, checkpoints.observe],
            history=history,
        )
        if history.diverged_at is not None:
            raise UserError(
                f"the probe diverged at step {history.diverged_at} of {steps}: its losses tell nothing; give the "
                "strategy's probe another optimizer or a lower learning rate"
            )
        looks = recorder.whole
        losses = np.stack(looks, axis=1) if looks else recorder.looks
        if spec.record == "looks":
            losses = losses / losses.mean(axis=0)
        dimensions = self.subject.dimensions()
        everything = cost.Work.of(prepared, np.arange(len(prepared)))
        flops = spec.epochs * cost.training_flops(dimensions, spec.optimizer, everything, steps=steps_per_epoch)
        flops += len(looks) * cost.forward_flops(dimensions, everything)
        ends = np.arange(1, spec.epochs + 1) * steps_per_epoch
        return Trajectories(losses, ends, self.key, flops, checkpoints.seconds)


@dataclass
class _Recorder:
    """Notes the loss of every example as it passes by, in units of the mean loss of its batch: early and late in an
    epoch would not be comparable otherwise. `whole` are the looks at all examples at once, for those who want them."""

    task: Task
    prepared: Prepared
    epochs: int
    micro_batch: int
    looks: np.ndarray = field(init=False)
    whole: list[np.ndarray] = field(default_factory=list)
    _seen: np.ndarray = field(init=False)
    _rows: np.ndarray = field(init=False)
    _parts: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.looks = np.ones((len(self.prepared), self.epochs))
        self._seen = np.zeros(len(self.prepared), dtype=int)

    def state_dict(self) -> dict[str, Any]:
        """The losses noted so far; between two steps nothing else is kept."""
        return {"looks": self.looks, "seen": self._seen, "whole": self.whole}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on after those."""
        self.looks, self._seen, self.whole = state["looks"], state["seen"], state["whole"]

    def batches(self, rows: Iterator[np.ndarray]) -> Iterator[Batch]:
        """The batches of these rows, remembering which they are."""
        for chosen in rows:
            self._rows = chosen
            yield self.prepared.batch(chosen, micro_batch=self.micro_batch)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The task's losses, kept in the order of the evaluations in a step. The output layer may take a part in
        pieces, each evaluated by itself."""
        found = self.task.losses(outputs, targets)
        self._parts.append(found.detach())
        return found

    def end_step(self) -> None:
        """Turns what was kept into one look at each example of the batch."""
        import torch

        from optbench.evaluation import mean_by_example

        supervised = self.prepared.supervised[self._rows]
        # The first evaluation of the batch comes first; later ones, at shifted weights, follow.
        first = torch.cat(self._parts)[: int(supervised.sum())]
        own = mean_by_example([first], supervised)
        self.looks[self._rows, self._seen[self._rows]] = own / own.mean()
        self._seen[self._rows] += 1
        self._parts.clear()


def _whole_epochs(n: int, batch_size: int, *, seed: int) -> Iterator[np.ndarray]:
    """Batches that do not cross epochs, so that each epoch looks at every example exactly once.

    Their sizes differ by one at most: in a remainder of few examples each would be compared with itself.
    """
    round_number = 0
    while True:
        order = next(rows_of_batches(np.ones(n, dtype=int), n, seed=stream_seed(seed, "probe order", round_number)))
        yield from np.array_split(order, -(-n // batch_size))
        round_number += 1
