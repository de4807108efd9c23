"""Makes the records of the study: `python tests/planted/record.py RUNS`, from the root of the repository.

Trains all arms at all seeds into the folder RUNS, which may hold a part of them already, and packs them for
results/reference/planted/. With 1/2 as a second word it trains every second cell alone, so that two processes
share them, and packs nothing.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from planted.repetitions import FIRST, RECORDS, REPETITIONS, SEEDS, planted_suite

from optbench.archive import write_archive
from optbench.runner import run_cell
from optbench.store import Store
from optbench.suite import Cell


def cells() -> list[Cell]:
    """All cells, seed by seed, so that repetitions are whole one after another."""
    seeds = list(range(FIRST, FIRST + REPETITIONS * SEEDS))
    return sorted(replace(planted_suite(), seeds=seeds).cells(), key=lambda cell: cell.seed)


def train(store: Store, part: int, parts: int) -> None:
    """Trains the cells of this part that have no record."""
    import torch

    torch.set_num_threads(1)
    for place, cell in enumerate(cells()):
        if place % parts == part and not store.has(cell.key):
            run_cell(cell.spec, store, contended=True)  # Nobody is to take its times for measurements.


def pack(store: Store, target: Path = RECORDS) -> int:
    """Writes the records that are there, and says how many."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "records.jsonl"
        count = write_archive([cell.key for cell in cells()], store, plain)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=9, mtime=0))
    return count


if __name__ == "__main__":
    runs = Store(sys.argv[1])
    own, of = map(int, sys.argv[2].split("/")) if len(sys.argv) > 2 else (1, 1)
    train(runs, own - 1, of)
    if of == 1:
        print(f"{pack(runs)} records in {RECORDS.relative_to(Path.cwd())}")
