"""Suites and records made of numbers alone, for reports to read."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from optbench.added import Added
from optbench.store import QUESTIONS, RECORD, Record, Store
from optbench.suite_command import Asked
from optbench.suitefile import Execution
from optbench.tuning.record import Tuned


@dataclass(frozen=True)
class Model:
    """A model whose size is known; None stands for one that a plug-in brought, without sizes."""

    matrix_parameters: int

    def dimensions(self) -> "Model":
        return self


@dataclass(frozen=True)
class Arm:
    model: str
    task: str
    strategy: str
    optimizer: str
    budget: Mapping[str, float]
    model_spec: Any = field(default=Model(100_000), repr=False)
    optimizer_spec: Any = field(default=None, repr=False, compare=False)
    training: Any = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        return "/".join(self.axes().values())

    def axes(self) -> dict[str, str]:
        names = {"model": self.model, "task": self.task, "strategy": self.strategy, "optimizer": self.optimizer}
        return {**names, "budget": " ".join(f"{amount} {unit}" for unit, amount in self.budget.items())}


@dataclass(frozen=True)
class Cell:
    arm: Arm
    seed: int
    panels: tuple[Any, ...] = ()

    @cached_property
    def key(self) -> str:
        return sha256(f"{self.arm} {self.seed}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Contrast:
    name: str
    of: Mapping[str, str]
    minus: Mapping[str, str]
    metric: str = "accuracy"


@dataclass
class Suite:
    arms: list[Arm]
    seeds: list[int]
    contrasts: list[Contrast]
    name: str = "toy"
    question: str = "Which one wins?"
    path: Path = Path("suites/toy.yaml")
    ranked_by: str = "accuracy"
    panels: Sequence[Any] = ()
    execution: Execution = field(default_factory=Execution)
    tuned: Tuned | None = None
    added: Added | None = None
    asked: Asked = Asked()
    left_out: int = 0

    @property
    def family(self) -> int:
        return len(self.contrasts) + self.left_out

    def cells(self) -> list[Cell]:
        own = [Cell(arm, seed) for arm, seed in itertools.product(self.arms, self.seeds)]
        more = {} if self.added is None else self.added.seeds
        return own + [Cell(arm, seed) for arm in self.arms for seed in more.get(arm.name, ())]


def versus(of: str, minus: str, axis: str = "optimizer", metric: str = "accuracy") -> Contrast:
    return Contrast(f"{of} minus {minus}", {axis: of}, {axis: minus}, metric)


@dataclass
class Bench:
    """A folder of records and the suites over it."""

    store: Store
    contrast: Callable[..., Contrast] = field(default=versus)

    def suite(
        self,
        optimizers: Iterable[str] = ("adamw", "muon"),
        *,
        models: Iterable[str] = ("m",),
        tasks: Iterable[str] = ("sums",),
        strategies: Iterable[str] = ("uniform",),
        budgets: Iterable[Mapping[str, float]] = ({"steps": 300},),
        seeds: int = 1,
        contrasts: Iterable[Contrast] = (),
    ) -> Suite:
        arms = [Arm(*point) for point in itertools.product(models, tasks, strategies, optimizers, budgets)]
        return Suite(arms, list(range(seeds)), list(contrasts))

    def write(
        self,
        cell: Cell,
        accuracy: float | None = 0.5,
        *,
        outcome: str = "completed",
        result: Mapping[str, float] | None = None,
        measured: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        plan: Mapping[str, Any] | None = None,
        correct: Iterable[bool] | None = None,
    ) -> None:
        made = {"device_type": "cpu", "device": "a processor", "precision": "float32", **(provenance or {})}
        own = {} if accuracy is None else {"accuracy": accuracy}
        record = Record(
            key=cell.key,
            cell={},
            outcome=outcome,
            result={**own, **(result or {})},
            plan=plan or {},
            optimizer={},
            measured={"step_seconds": 0.1, "contended": False, **(measured or {}), "provenance": made},
        )
        # Straight to the file: the store's own way flushes the disk, too slow for thousands of records.
        folder = self.store.folder(cell.key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_text(json.dumps(record.content(), allow_nan=False))
        if correct is not None:
            verdicts = list(correct)
            table = pd.DataFrame({"id": [f"q{i}" for i in range(len(verdicts))], "text": "x", "correct": verdicts})
            table.to_parquet(folder / QUESTIONS, index=False)

    def fill(self, suite: Suite, accuracy: Callable[[Cell], float | None], **more: Any) -> None:
        """A record for each cell; where `accuracy` says None, there is none."""
        for cell in suite.cells():
            value = accuracy(cell)
            if value is not None:
                self.write(cell, value, **more)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Store(tmp_path / "runs"))
