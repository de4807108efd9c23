"""How the engine runs, times and looks at cells; tests give it another one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from optbench.panels.base import panel_key
from optbench.reports.contrasts import contrasts_of
from optbench.reports.frame import cells_table, records_of
from optbench.reports.verdicts import Judged, judged
from optbench.sequential.pilot import planned_seconds
from optbench.store import Store

if TYPE_CHECKING:
    from optbench.executors.dispatch import OnEvent
    from optbench.executors.events import Summary
    from optbench.suite import Cell, Suite


@dataclass(frozen=True)
class Seen:
    """A contrast at a look, with the standard deviation of its differences per seed (NaN where it is not known)."""

    judged: Judged
    sd: float


class Bench(Protocol):
    """What the engine asks for."""

    @property
    def workers(self) -> int:
        """How many cells run at a time."""

    def now(self) -> float:
        """Seconds of a clock that only goes forward."""

    def left(self, suite: Suite) -> list[Cell]:
        """The cells of the suite that have no record or lack what a panel finds, each run once."""

    def planned(self, suite: Suite, cells: Sequence[Cell]) -> float:
        """The seconds that these cells are planned to take."""

    def run(self, cells: Sequence[Cell], may_begin: Callable[[], bool]) -> Summary:
        """Runs them; once `may_begin` says no, those that have begun end and no other begins."""

    def seconds(self, suite: Suite) -> dict[str, float]:
        """The mean measured seconds of a cell, by the name of the arm, for arms that have a record."""

    def look(self, suite: Suite) -> list[Seen]:
        """The declared contrasts, in their order."""


Execute = Callable[..., "Summary"]
View = Callable[[int, int], AbstractContextManager["OnEvent"]]


@contextmanager
def unseen(total: int, already: int) -> Iterator[OnEvent]:
    """A view of nothing."""
    yield lambda event: None


@dataclass(frozen=True)
class StoreBench:
    """Cells that are run by `execute` (`local.execute`, `cluster.execute`) into a results folder, and watched by a
    `view` of so many cells."""

    results: Path
    workers: int
    execute: Execute
    threads: int
    checkpoint_minutes: float
    view: View = unseen

    def now(self) -> float:
        """See `Bench`."""
        return time.monotonic()

    def left(self, suite: Suite) -> list[Cell]:
        """See `Bench`."""
        store = Store(self.results)
        runs = {cell.key: cell for cell in suite.cells()}
        return [cell for cell in runs.values() if not cell.is_done(store)]

    def planned(self, suite: Suite, cells: Sequence[Cell]) -> float:
        """See `Bench`."""
        return planned_seconds(suite, cells, Store(self.results), workers=self.workers)

    def run(self, cells: Sequence[Cell], may_begin: Callable[[], bool]) -> Summary:
        """See `Bench`."""
        with self.view(len(cells), 0) as on_event:
            return self.execute(
                cells,
                self.results,
                threads=self.threads,
                checkpoint_minutes=self.checkpoint_minutes,
                on_event=on_event,
                may_begin=may_begin,
            )

    def seconds(self, suite: Suite) -> dict[str, float]:
        """See `Bench`. With those of the panels that added seeds have; diverged cells, which end early, count only
        where an arm has no others."""
        store, panels = Store(self.results), suite.panels_of_added()
        whole: dict[str, list[float]] = {}
        short: dict[str, list[float]] = {}
        for cell in suite.cells():
            record = store.record(cell.key)
            if record is None or "total_seconds" not in record.measured:
                continue
            looked = [store.panel(cell.key, panel_key(panel)) for panel in panels]
            more = math.fsum(found["measured"].get("seconds", 0.0) for found in looked if found is not None)
            among = whole if record.outcome == "completed" else short
            among.setdefault(cell.arm.name, []).append(float(record.measured["total_seconds"]) + more)
        return {name: math.fsum(own) / len(own) for name, own in {**short, **whole}.items()}

    def look(self, suite: Suite) -> list[Seen]:
        """See `Bench`."""
        store = Store(self.results)
        table = contrasts_of(suite, store, cells_table(suite, store))
        rows = zip(judged(suite, table, _margin(suite)), records_of(table), strict=True)
        return [Seen(own, float(row["sd"])) for own, row in rows]


def _margin(suite: Suite) -> float:
    assert suite.added is not None, "the engine looks at suites that it has added to"
    return suite.added.margin
