"""Repetitions of a study from records: the engine as it is, on cells that have been run already.

Each repetition has seeds that no other has. Its clock is counted in cells instead of seconds, so that nothing depends
on a machine, and it shows a record only after the engine has run the cell.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import beta

from optbench.archive import Archive
from optbench.executors.events import Summary
from optbench.reports.contrasts import contrasts_of
from optbench.reports.frame import cells_table, records_of
from optbench.reports.sequential import half_width_anytime
from optbench.reports.verdicts import judged
from optbench.sequential.bench import Seen
from optbench.sequential.engine import Resolved, pursue
from optbench.sequential.journal import Journal
from optbench.store import Record, Store
from optbench.suite import Cell, Suite, load_suite

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "results" / "reference" / "planted" / "records.jsonl.gz"
MARGIN = 0.02
"""Nats: half of what was planted, less or more."""
PILOT, SEEDS, REPETITIONS = 5, 36, 20
"""Seeds of the pilot and at most, of each repetition."""
FIRST = 100


def recorded(folder: Path, source: Path = RECORDS) -> Archive:
    """The committed records, unpacked into `folder`."""
    target = folder / "records.jsonl"
    target.write_bytes(gzip.decompress(source.read_bytes()))
    return Archive(target, [target])


class Shown(Store):
    """Of a store, what has been run so far."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.root)
        self._store, self._keys = store, set[str]()

    def show(self, key: str) -> None:
        """The record of `key` is there from now on."""
        self._keys.add(key)

    def has(self, key: str) -> bool:
        return key in self._keys

    def record(self, key: str) -> Record | None:
        return self._store.record(key) if key in self._keys else None

    def records(self) -> Iterator[Record]:
        return (record for record in self._store.records() if record.key in self._keys)


class RecordedBench:
    """Runs a cell by showing its record, or as `train` says, and takes one unit of time for it. No cell has a seed
    above `last`: what is asked for beyond ends the budget."""

    workers = 1

    def __init__(self, store: Store, last: int, train: Callable[[Cell], object] = lambda cell: None) -> None:
        self._shown, self._last, self._train, self._clock = Shown(store), last, train, 0.0

    def now(self) -> float:
        return self._clock

    def left(self, suite: Suite) -> list[Cell]:
        return [cell for cell in suite.cells() if not self._shown.has(cell.key)]

    def planned(self, suite: Suite, cells: Sequence[Cell]) -> float:
        return float(len(cells))

    def run(self, cells: Sequence[Cell], may_begin: Callable[[], bool]) -> Summary:
        for cell in cells:
            if cell.seed <= self._last and may_begin():
                self._train(cell)
                self._shown.show(cell.key)
                self._clock += 1.0
        if any(cell.seed > self._last for cell in cells):
            self._clock = math.inf
        return Summary(len(cells), 0)

    def seconds(self, suite: Suite) -> dict[str, float]:
        return {arm.name: 1.0 for arm in suite.arms}

    def look(self, suite: Suite) -> list[Seen]:
        assert suite.added is not None
        table = contrasts_of(suite, self._shown, cells_table(suite, self._shown))
        rows = zip(judged(suite, table, suite.added.margin), records_of(table), strict=True)
        return [Seen(own, float(row["sd"])) for own, row in rows]


def planted_suite(path: Path = ROOT / "suites" / "planted.yaml") -> Suite:
    """The suite of the study. It names its plug-ins from the root of the repository."""
    return load_suite(path)


def repeated(
    suite: Suite,
    store: Store,
    folder: Path,
    first: int,
    *,
    seeds: int = SEEDS,
    train: Callable[[Cell], object] = lambda cell: None,
) -> Resolved:
    """One repetition with at most so many seeds from `first` on, by the engine; `folder` is for its journal."""
    own = replace(suite, seeds=list(range(first, first + PILOT)))
    bench = RecordedBench(store, first + seeds - 1, train)
    budget = float(seeds * len(suite.arms))
    journal = Journal.of(own, folder / str(first))
    return pursue(own, journal, bench, margin=MARGIN, seconds=budget, tell=lambda line: None)


@dataclass(frozen=True)
class Tally:
    """The verdicts on one contrast over repetitions, and the mean number of seeds that it was given."""

    verdicts: Counter[str]
    seeds: float

    def share(self, *verdicts: str) -> tuple[float, float, float]:
        """How often one of these was the verdict, with the 95% interval of Clopper and Pearson."""
        return with_interval(sum(self.verdicts[word] for word in verdicts), self.verdicts.total())


def tallied(found: Sequence[Resolved]) -> dict[str, Tally]:
    """The verdicts by contrast."""
    names = [own.name for own in found[0].contrasts]
    columns = {name: [own for one in found for own in one.contrasts if own.name == name] for name in names}
    return {
        name: Tally(Counter(own.verdict for own in judgements), float(np.mean([own.n for own in judgements])))
        for name, judgements in columns.items()
    }


def with_interval(count: int, of: int) -> tuple[float, float, float]:
    """A share and its 95% interval, exact for binomial counts (Clopper and Pearson, Biometrika 26 (1934) 404-413)."""
    low = float(beta.ppf(0.025, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, of - count)) if count < of else 1.0
    return count / of, low, high


def scores(suite: Suite, store: Store) -> pd.DataFrame:
    """test_nll by seed (rows) and optimizer (columns), NaN where there is no record."""
    seeds = list(range(FIRST, FIRST + REPETITIONS * SEEDS))
    return cells_table(replace(suite, seeds=seeds), store).pivot(index="seed", columns="optimizer", values="test_nll")


def whole_blocks(table: pd.DataFrame) -> list[int]:
    """The first seeds of the blocks of which nothing is missing."""
    firsts = range(FIRST, FIRST + REPETITIONS * SEEDS, SEEDS)
    return [first for first in firsts if table.loc[first : first + SEEDS - 1].notna().all(axis=None)]


def first_verdicts(numbers: np.ndarray, *, level: float, margin: float = MARGIN, pilot: int = PILOT) -> np.ndarray:
    """The verdict of each row of `numbers` [sequences, seeds] at the first look that has one, looking after every seed:
    1 where the interval is above 0, -1 below, 0 for no difference beyond the margin, NaN where none has one; and the
    number of seeds at that look, as [2, sequences]. Written down anew, without the package's verdicts."""
    counts = np.arange(1, numbers.shape[1] + 1)
    means = numbers.cumsum(axis=1) / counts
    squares = (numbers**2).cumsum(axis=1) - counts * means**2
    deviations = np.sqrt(np.maximum(squares, 0.0) / np.maximum(counts - 1, 1))
    widths = half_width_anytime(deviations, np.broadcast_to(counts, numbers.shape), level=level)
    low, high = means - widths, means + widths
    verdicts = np.where(low > 0, 1.0, np.where(high < 0, -1.0, math.nan))
    verdicts[np.isnan(verdicts) & (low >= -margin) & (high <= margin)] = 0.0
    verdicts[:, : pilot - 1] = math.nan
    known = ~np.isnan(verdicts)
    at = np.where(known.any(axis=1), known.argmax(axis=1), numbers.shape[1] - 1)
    return np.stack([np.take_along_axis(verdicts, at[:, None], axis=1)[:, 0], counts[at].astype(float)])
