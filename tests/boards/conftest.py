"""Suites and records made of numbers alone, and boards made of text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from reports.conftest import Bench, Cell, Suite

from optbench.boards.board import Board, load_board
from optbench.boards.comparison import Comparison, compare
from optbench.store import Store

HEAD = """\
title: A board
source: {paper: arXiv 0000.00000, where: table 1}
grade: published
metric: loss
unit: nats
direction: lower
"""
BOARD = (
    HEAD
    + """\
settings:
  small: {about: 10 M parameters, scale: {parameters: 10e6, tokens: 2e9, data: C4, hardware: TPU}}
rows:
  - {method: AdamW, figures: {small: 3.0}}
  - {method: Muon, figures: {small: 2.7}}
"""
)


def rows(**values: Any) -> str:
    """A board with one setting and these rows; a value is a number or the text of a mapping."""
    lines = [f"  - {{method: {name}, figures: {{small: {value}}}}}\n" for name, value in values.items()]
    return BOARD.partition("rows:\n")[0] + "rows:\n" + "".join(lines)


@dataclass
class Stand:
    """A suite, its records and boards, in one folder."""

    root: Path
    bench: Bench
    made: int = field(default=0)

    @property
    def store(self) -> Store:
        return self.bench.store

    def suite(
        self, values: Mapping[str, Any], *, metric: str = "test_loss", models: Sequence[str] = ("m",), **more: Any
    ) -> Suite:
        """A suite with records: for each optimizer one value per seed, or one such list for each model. The value None
        is a cell without a record, and infinity one that diverged."""
        by_model = {name: given if isinstance(given, dict) else {models[0]: given} for name, given in values.items()}
        seeds = max(len(numbers) for given in by_model.values() for numbers in given.values())
        suite = self.bench.suite(tuple(values), models=models, seeds=seeds, **more)
        suite = replace(suite, ranked_by=metric)
        for cell in suite.cells():
            value = by_model[cell.arm.optimizer][cell.arm.model][cell.seed]
            if value is not None:
                self.record(cell, value, metric)
        return suite

    def record(self, cell: Cell, value: float, metric: str = "test_loss", **more: Any) -> None:
        result = {"tokens": 1e6, "steps_done": 100.0}
        if value == float("inf"):
            self.bench.write(cell, None, outcome="diverged", result=result, **more)
        else:
            self.bench.write(cell, None, result={metric: value, **result}, **more)

    def board(self, text: str = BOARD, name: str = "toy") -> Board:
        return load_board(self.file(text, name))

    def file(self, text: str = BOARD, name: str = "toy") -> Path:
        path = self.root / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def compare(self, suite: Suite, board: str = BOARD, **more: Any) -> Comparison:
        return compare(suite, self.store, self.board(board), **more)

    def change(self, cell: Cell, store: Store, fields: dict[str, Any]) -> None:
        """Writes other content into a record, by top-level name."""
        path = store.folder(cell.key) / "record.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}), encoding="utf-8")


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path, Bench(Store(tmp_path / "runs")))
