"""What a suite does, for programs and notebooks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import pandas as pd

    from optbench.executors.events import Summary
    from optbench.sequential.engine import Resolved
    from optbench.store import Store
    from optbench.suite import Suite


@overload
def run(
    suite: Suite, results: Path | str = ..., *, workers: int | None = ..., threads: int | None = ...
) -> Summary: ...


@overload
def run(
    suite: Suite,
    results: Path | str = ...,
    *,
    workers: int | None = ...,
    threads: int | None = ...,
    until_resolved: float,
    max_hours: float = ...,
) -> Resolved: ...


def run(
    suite: Suite,
    results: Path | str = "results/runs",
    *,
    workers: int | None = None,
    threads: int | None = None,
    until_resolved: float | None = None,
    max_hours: float = math.inf,
) -> Summary | Resolved:
    """Runs every cell of the suite that has no record below `results`, and says what became of them.

    `workers` cells run at a time, with `threads` threads each; by default as many as the suite says, or where there are
    GPUs one cell on each. Called from a script, it needs the guard `if __name__ == "__main__":`, for workers are fresh
    processes that import the script. `optbench.executors.cluster.execute` does the same on Ray.

    With `until_resolved`, a margin in the unit of the declared contrasts, seeds are then added where they help most
    until all contrasts are resolved to it or `max_hours` are over: see `optbench.sequential.engine.resolve`, which also
    tells what happens while it does.
    """
    from dataclasses import replace

    from optbench.executors.devices import visible_gpus, worker_count
    from optbench.executors.local import execute

    if until_resolved is not None:
        from optbench.sequential.engine import resolve

        if threads is not None:
            suite = replace(suite, execution=suite.execution.model_copy(update={"threads": threads}))
        return resolve(
            suite,
            Path(results),
            margin=until_resolved,
            seconds=3600 * max_hours,
            workers=workers,
            tell=lambda line: None,
        )
    said = suite.execution
    return execute(
        suite.cells(),
        results,
        workers=worker_count(workers, said.workers, visible_gpus()),
        threads=said.threads if threads is None else threads,
        checkpoint_minutes=said.checkpoint_minutes,
    )


def report(suite: Suite, results: Path | str = "results/runs") -> pd.DataFrame:
    """One row per arm of the suite, from its records: see `optbench.reports.frame.arms_of` for the columns."""
    from optbench.reports.frame import arms_table

    with _read(suite, results) as (whole, store):
        return arms_table(whole, store)


def cells(suite: Suite, results: Path | str = "results/runs") -> pd.DataFrame:
    """One row per cell of the suite, recorded or not: see `optbench.reports.frame.cells_table` for the columns."""
    from optbench.reports.frame import cells_table

    with _read(suite, results) as (whole, store):
        return cells_table(whole, store)


def contrasts(suite: Suite, results: Path | str = "results/runs") -> pd.DataFrame:
    """One row per declared contrast: see `optbench.reports.contrasts.contrasts_of` for the columns."""
    from optbench.reports.contrasts import contrasts_of
    from optbench.reports.frame import cells_table

    with _read(suite, results) as (whole, store):
        return contrasts_of(whole, store, cells_table(whole, store))


def open_results(results: Path | str = "results/runs") -> Store:
    """The records at a path, to be read: a folder of runs, an archive, or a folder of archives.

    `record(key)`, `questions(key)`, `curves(key)` and `panel(key, panel)` give what a cell left behind. Raises
    UserError for what is neither.
    """
    from optbench.archive import open_store

    return open_store(Path(results))


@contextmanager
def _read(suite: Suite, results: Path | str) -> Iterator[tuple[Suite, Store]]:
    """The results, and the suite with the seeds that `until_resolved` added to it there. Its cells are made anew, for
    where a checkpoint is not here their keys are those of what these results state."""
    from dataclasses import replace

    from optbench.reading import stated_at
    from optbench.sequential.journal import with_added

    store = open_results(results)
    with stated_at(Path(results)):
        yield with_added(replace(suite), store), store
