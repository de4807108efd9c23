"""Suites, claims and records made of numbers alone."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from optbench.claims.claim import load_claims
from optbench.claims.evaluation import Judgement, judge
from optbench.store import RECORD, Record, Store
from optbench.suite import Cell, Suite, load_suite

SUITE = """\
name: toy
question: Which one?
models: [phi-nano, llama-nano]
tasks: [arithmetic]
strategies: [uniform]
optimizers: [adamw, sam, functional_sam]
budget: {{steps: 20}}
seeds: {seeds}
execution: {{workers: 2}}
"""

CLAIM = """\
name: {name}
source: arXiv 0000.00000
quotation: better
about: large models
criterion: Better by more than a point.
tests:
{tests}
"""

TEST = """\
  - suite: ../toy.yaml
    metric: {metric}
    of: {{optimizer: {of}}}
    {joint}
    {where}
    margin: {margin}
"""

Value = Callable[[Cell], float | Mapping[str, float] | None]


def text_of(
    metric: str = "accuracy",
    of: str = "sam",
    joint: str = "minus: {optimizer: adamw}",
    where: str = "above: 0",
    margin: float = 0.01,
) -> str:
    return TEST.format(metric=metric, of=of, joint=joint, where=where, margin=margin)


@dataclass
class Desk:
    """A folder with a suite, claims and records."""

    root: Path
    test: Callable[..., str] = field(default=text_of)

    @property
    def store(self) -> Store:
        return Store(self.root / "runs")

    def suite(self, seeds: int = 12, name: str = "toy") -> Suite:
        path = self.root / f"{name}.yaml"
        path.write_text(SUITE.format(seeds=seeds), encoding="utf-8")
        return load_suite(path)

    def claim(self, *tests: str, name: str = "claim", choices: str = "") -> Path:
        folder = self.root / "claims"
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.yaml"
        path.write_text(CLAIM.format(name=name, tests="".join(tests)) + choices, encoding="utf-8")
        return path

    def judged(self) -> Judgement:
        (judgement,) = judge(load_claims([self.root / "claims"]), self.store)
        return judgement

    def fill(self, suite: Suite, value: Value, **more: Any) -> None:
        for cell in suite.cells():
            found = value(cell)
            if found is not None:
                self.write(cell, {"accuracy": found} if isinstance(found, float) else found, **more)

    def write(
        self,
        cell: Cell,
        result: Mapping[str, float],
        *,
        outcome: str = "completed",
        contended: bool = False,
        measured: Mapping[str, float] | None = None,
    ) -> None:
        made = {"device_type": "cpu", "device": "a processor", "precision": "float32"}
        record = Record(
            key=cell.key,
            cell=cell.spec.dump(),
            outcome=outcome,
            result=result,
            plan={},
            optimizer={},
            measured={"total_seconds": 60.0, "contended": contended, **(measured or {}), "provenance": made},
        )
        folder = self.store.folder(cell.key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_text(json.dumps(record.content(), allow_nan=False), encoding="utf-8")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
