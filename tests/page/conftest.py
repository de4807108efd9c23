"""Pages from records made of numbers alone, and a real browser to look at them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from reports.conftest import Bench, Cell, Suite

from optbench.page.page import page_text, write_page
from optbench.reports.leaderboard import report_of
from optbench.store import CURVES, RECORD, Store

PANEL = "0123456789abcdef"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Store(tmp_path / "runs"))


def specs(cell: Cell) -> dict[str, Any]:
    """What a record says its cell is: enough of it to be recognised."""
    return {
        "model": {"kind": "nano", "width": 64},
        "optimizer": {"rule": {"kind": cell.arm.optimizer, "lr": 0.004, "betas": [0.9, 0.999]}},
        "strategy": {"kind": cell.arm.strategy},
        "seed": cell.seed,
        "training": {"steps": 300},
    }


def amend(bench: Bench, of: Cell, /, **parts: Any) -> None:
    """Puts other parts into a record that is there: mappings are merged, the rest replaced."""
    path = bench.store.folder(of.key) / RECORD
    content = json.loads(path.read_text())
    for name, value in parts.items():
        content[name] = {**content[name], **value} if isinstance(value, Mapping) else value
    path.write_text(json.dumps(content))


def fill(bench: Bench, suite: Suite, accuracy: Callable[[Cell], float | None]) -> None:
    """Records with specs, a curve, a plan, and what the optimizer claimed."""
    for cell in suite.cells():
        value = accuracy(cell)
        if value is None:
            continue
        bench.write(
            cell,
            value,
            result={"passes": 300.0, "flops": 1.23456789e11, "state_bytes": 8e5, "format_error": 0.05, "test_nll": 0.5},
            measured={"peak_bytes": 4.2e8, "total_seconds": 12.0},
            plan={"added": 7} if cell.arm.strategy == "upsample" else {},
        )
        claims = {"adamw": {"parameters": 97216, "tensors": 20}}
        amend(bench, cell, cell=specs(cell), optimizer={"claims": claims, "observed": [{"step": 7, "shift_norm": 0.1}]})
        curve = pd.DataFrame({"step": range(300), "loss": [4.0 - step / 100 for step in range(300)]})
        curve.to_parquet(bench.store.folder(cell.key) / CURVES, index=False)


def looked(bench: Bench, cell: Cell) -> None:
    """Findings of a panel beside the record of a cell."""
    folder = bench.store.folder(cell.key) / "panels" / PANEL
    folder.mkdir(parents=True)
    found = {"cell": cell.key, "panel": {"kind": "sharpness", "rho": 0.05}, "result": {"hessian_top": 47.5}}
    (folder / "panel.json").write_text(json.dumps({**found, "notes": {"mode": "exact"}}))


def page_of(bench: Bench, suite: Suite, **more: Any) -> Path:
    """The page of a suite as a file."""
    text = page_text(report_of(suite, bench.store), bench.store, panels=[PANEL], **more)
    return write_page(text, bench.store.root.parent / "page")


@dataclass(frozen=True)
class Made:
    """A page that several tests look at, and the suite behind it."""

    path: Path
    suite: Suite

    def key(self, optimizer: str, *, strategy: str = "uniform", model: str = "m1", seed: int = 0) -> str:
        """The key of one cell."""
        wanted = (optimizer, strategy, model, seed)
        return next(
            cell.key
            for cell in self.suite.cells()
            if (cell.arm.optimizer, cell.arm.strategy, cell.arm.model, cell.seed) == wanted
        )


ACCURACY = {"adamw": 0.30, "muon": 0.095, "sam": 0.20, "functional_sam": 1.0}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two models, two strategies, three seeds; four optimizers of known accuracy, lion, which diverged in every cell,
    and gd, which has no records yet."""
    bench = Bench(Store(tmp_path_factory.mktemp("made") / "runs"))
    suite = bench.suite(
        (*ACCURACY, "lion", "gd"),
        models=("m1", "m2"),
        strategies=("uniform", "upsample"),
        seeds=3,
        contrasts=[bench.contrast("muon", "adamw"), bench.contrast("gd", "adamw")],
    )
    fill(bench, suite, lambda cell: ACCURACY.get(cell.arm.optimizer, 0.5 if cell.arm.optimizer == "lion" else None))
    for cell in suite.cells():
        if cell.arm.optimizer == "lion":
            bench.write(cell, None, outcome="diverged")
        elif cell.arm.optimizer in ACCURACY:
            looked(bench, cell)
            amend(bench, cell, result={"hessian_top": 40.0 + len(cell.arm.optimizer)})
    return Made(page_of(bench, suite), suite)
