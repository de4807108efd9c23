"""A few real steps and answers of each model and optimizer of a suite, timed in a process of its own.

`python -m optbench.planning.measuring` reads a request as JSON from standard input and writes the answer as JSON to
standard output. Nothing is recorded, and no weight moves by more than a ten-thousandth of its update.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from optbench.cell import CellSpec
from optbench.cost import Work, forward_flops, training_flops
from optbench.optim.specs import OptimizerSpec
from optbench.order import rows_of_batches
from optbench.planning.answers import groups
from optbench.planning.phases import cost_signature
from optbench.planning.workload import workload_of
from optbench.tasks.grouping import grouped, part_cost
from optbench.tasks.text import TextTask

if TYPE_CHECKING:
    from optbench.models.language_model import LanguageModel
    from optbench.oracle import Batch
    from optbench.tasks.base import Prepared, Task

LR_SCALE = 1e-4
STEPS, ENOUGH_SECONDS = (2, 24), 0.5
"""Timed steps of an optimizer at least and at most, and the seconds after which they are enough."""
SOLUTIONS = 8
"""Test examples whose loss is timed before it is decided whether all are."""
PROMPT_CHARACTERS, TOKENS = 24, 6
"""Of a prompt that is answered for the clock, and the tokens that are timed after its first."""
PATIENCE = 4.0
BIG = 50_000_000
"""Parameters from which on a model is built once only."""


@dataclass
class Timer:
    """How long pieces of work take: by the processor's time where one thread does all, which other processes do not
    stretch, else by the clock on the wall. `walls` and `own` add up both."""

    device: str
    threads: int
    walls: float = 0.0
    own: float = 0.0

    def __call__(self, work: Callable[[], Any]) -> float:
        """Seconds of a piece of work, to its end on the device."""
        begun, own = time.perf_counter(), time.process_time()
        work()
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()
        wall, own = time.perf_counter() - begun, time.process_time() - own
        self.walls += wall
        self.own += own
        return own if self.threads == 1 and self.device == "cpu" else wall

    @property
    def busy(self) -> float:
        """How much longer work took than its own time: above one where other processes were served as well. One where
        that cannot be told."""
        if self.threads != 1 or self.device != "cpu" or not self.own:
            return 1.0
        return max(1.0, self.walls / self.own)


class Deadline:
    """When nothing further is begun: after so many seconds of this process, or, where others keep the machine busy,
    after `PATIENCE` times as many on the wall."""

    def __init__(self, budget: float) -> None:
        self._own = time.process_time() + budget
        self._wall = time.monotonic() + PATIENCE * budget

    def passed(self, ahead: float) -> bool:
        """Whether it will have passed after so many seconds more."""
        return time.process_time() + ahead > self._own or time.monotonic() + ahead > self._wall


@dataclass
class Subject:
    """A model on its task, ready to be timed."""

    cell: CellSpec
    device: str
    seconds: Timer
    task: Task
    model: LanguageModel
    prepared: Prepared

    @classmethod
    def of(cls, cell: CellSpec, device: str, timer: Timer) -> Subject:
        """Builds task, model and data as a cell does."""
        training = cell.training
        task: Task = cell.task.build()
        model: LanguageModel = cell.model.build(
            seed=0, device=device, precision=training.precision, attention=training.attention
        )
        return cls(cell, device, timer, task, model, task.prepare(task.train, model))

    def batch(self, rows: np.ndarray) -> Batch:
        """A batch, cut into parts as the loop cuts it."""
        training = self.cell.training
        by_length = training.parts == "by_length"
        cost = part_cost(self.cell.model.dimensions(), self.device) if by_length else None
        if cost is None:
            return self.prepared.batch(rows, micro_batch=training.micro_batch)
        return grouped(self.prepared, rows, cost, micro_batch=training.micro_batch)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """For each subject of the request: seconds of setup, per operation of each optimizer's steps, of the loss of the
    test examples, and of tokens of answers. `startup` is what a worker takes before its first cell, `busy` see `Timer`.

    `budget` are the seconds after which nothing further is begun.
    """
    import torch

    torch.set_num_threads(int(request["threads"]))
    device = str(request["device"])
    timer, deadline = Timer(device, int(request["threads"])), Deadline(float(request["budget"]))
    found: list[dict[str, Any] | None] = []
    made: list[Subject] = []

    def build(cell: CellSpec) -> None:
        made[:] = [Subject.of(cell, device, timer)]

    startup = 0.0
    for content in request["subjects"]:
        if found and deadline.passed(0.0):
            found.append(None)
            continue
        cell = CellSpec.model_validate(content["cell"])
        setup = timer(partial(build, cell))
        if not found:
            startup = time.process_time()
            if cell.model.dimensions().matrix_parameters < BIG:
                # The first one also imports the architecture, which a worker does once.
                setup = timer(partial(build, cell))
            else:
                startup -= setup
        optimizers = [OptimizerSpec.model_validate(spec) for spec in content["optimizers"]]
        found.append({"setup": setup, "steps": _steps(made[0], optimizers, deadline), **_evaluation(made[0])})
    return {"startup": startup, "busy": timer.busy, "subjects": found}


def _steps(subject: Subject, optimizers: list[OptimizerSpec], deadline: Deadline) -> dict[str, float]:
    """Seconds per operation of the steps of each optimizer, cheap ones first, as far as time allows; by what tells
    apart optimizers of different cost."""
    from optbench.models.roles import parameters_of

    training, dimensions = subject.cell.training, subject.cell.model.dimensions()
    found: dict[str, float] = {}
    slowest = 0.0
    for spec in sorted(optimizers, key=lambda spec: spec.estimator.passes_per_step):
        passes = float(spec.estimator.passes_per_step)
        if found and deadline.passed((1 + STEPS[0]) * slowest * passes):
            continue
        optimizer = spec.build(parameters_of(subject.model.module))
        rows = rows_of_batches(np.ones(len(subject.prepared), dtype=int), training.batch_size, seed=0)
        first = next(rows)
        # State is allocated by the first step, which one part of a batch is enough for.
        _step(subject, optimizer, first[: max(1, min(len(first), training.micro_batch))], [])
        seconds = flops = 0.0
        asked: list[float] = []
        for count in range(STEPS[1]):
            if count >= STEPS[0] and seconds > ENOUGH_SECONDS:
                break
            chosen = next(rows)
            seconds += subject.seconds(partial(_step, subject, optimizer, chosen, asked))
            flops += training_flops(dimensions, spec, Work.of(subject.prepared, chosen), steps=1)
        slowest = max(slowest, seconds / (count or 1) / passes)
        # Of an optimizer that asks for more at every tenth step, these may have been the others.
        found[cost_signature(spec)] = seconds / flops * passes * len(asked) / math.fsum(asked)
        for p in subject.model.module.parameters():
            p.grad = None
    return found


def _step(subject: Subject, optimizer: Any, rows: np.ndarray, asked: list[float]) -> None:
    """One step; the passes that it asked for are added to the list."""
    from optbench.oracle import Oracle

    oracle = Oracle(subject.model, subject.task.losses, subject.batch(rows))
    optimizer.step(oracle, LR_SCALE)
    asked.append(oracle.passes)


def _evaluation(subject: Subject) -> dict[str, float]:
    """Seconds of the loss of all test examples, and of generation: for a token of a whole group (`fixed`), for each row
    in it (`per_row`), for a token of a prompt."""
    from optbench.evaluation import example_losses

    test, micro_batch = subject.task.test, subject.cell.training.micro_batch
    dimensions = subject.cell.model.dimensions()
    every = np.linspace(0, len(test) - 1, min(SOLUTIONS, len(test))).round().astype(int).tolist()

    def timed(rows: list[int]) -> tuple[float, Work]:
        prepared = subject.task.prepare([test[row] for row in rows], subject.model)

        def look() -> Any:
            return example_losses(subject.model, subject.task, prepared, micro_batch=micro_batch)

        return subject.seconds(look), Work.of(prepared, np.arange(len(rows)))

    seconds, work = timed(every)
    if seconds * len(test) / len(every) < 2 * ENOUGH_SECONDS:
        seconds, work = timed(list(range(len(test))))
    pace = seconds / forward_flops(dimensions, work)
    sizes = workload_of(subject.cell.model, subject.cell.task)
    found = {"loss": pace * forward_flops(dimensions, sizes.test)}
    if not isinstance(subject.task, TextTask) or not len(sizes.prompts):
        return found
    largest = max(len(prompts) for prompts, _ in groups(sizes))
    few = max(1, largest // 8)
    prompts = [subject.task.prompt_of(example)[:PROMPT_CHARACTERS] for example in test[:largest]]
    many_seconds, few_seconds = _token(subject, prompts), _token(subject, prompts[:few])
    per_row = max(0.0, (many_seconds - few_seconds) / max(1, largest - few))
    return {
        **found,
        "fixed": max(0.0, few_seconds - few * per_row),
        "per_row": per_row,
        "per_prompt_token": seconds / max(1.0, work.tokens),
    }


def _token(subject: Subject, prompts: list[str]) -> float:
    """Seconds of one more token for all of these prompts."""
    from optbench.models.generation import generate

    def answered(tokens: int) -> float:
        return subject.seconds(lambda: generate(subject.model, prompts, max_new_tokens=tokens))

    answered(1)
    return max(0.0, answered(1 + TOKENS) - answered(1)) / TOKENS


def main() -> None:
    """Reads the request, measures, and answers."""
    request = json.load(sys.stdin)
    # Libraries print to standard output; the answer is its last line.
    print(json.dumps(answer(request)))


if __name__ == "__main__":
    main()
