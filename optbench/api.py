"""What a suite does, for programs and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from optbench.executors.events import Summary
    from optbench.store import Store
    from optbench.suite import Suite


def run(
    suite: Suite, results: Path | str = "results/runs", *, workers: int | None = None, threads: int | None = None
) -> Summary:
    """Runs every cell of the suite that has no record below `results`, and says what became of them.

    `workers` cells run at a time, with `threads` threads each; by default as many as the suite says, or where there are
    GPUs one cell on each. Called from a script, it needs the guard `if __name__ == "__main__":`, for workers are fresh
    processes that import the script. `optbench.executors.cluster.execute` does the same on Ray.
    """
    from optbench.executors.devices import visible_gpus, worker_count
    from optbench.executors.local import execute

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

    return arms_table(suite, open_results(results))


def cells(suite: Suite, results: Path | str = "results/runs") -> pd.DataFrame:
    """One row per cell of the suite, recorded or not: see `optbench.reports.frame.cells_table` for the columns."""
    from optbench.reports.frame import cells_table

    return cells_table(suite, open_results(results))


def contrasts(suite: Suite, results: Path | str = "results/runs") -> pd.DataFrame:
    """One row per declared contrast: see `optbench.reports.contrasts.contrasts_of` for the columns."""
    from optbench.reports.contrasts import contrasts_of
    from optbench.reports.frame import cells_table

    store = open_results(results)
    return contrasts_of(suite, store, cells_table(suite, store))


def open_results(results: Path | str = "results/runs") -> Store:
    """The records at a path, to be read: a folder of runs, an archive, or a folder of archives.

    `record(key)`, `questions(key)`, `curves(key)` and `panel(key, panel)` give what a cell left behind. Raises
    UserError for what is neither.
    """
    from optbench.archive import open_store

    return open_store(Path(results))
