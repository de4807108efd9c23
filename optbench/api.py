"""What a suite does, for programs and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from optbench.executors.local import Summary
    from optbench.suite import Suite


def run(
    suite: Suite, results: Path | str = "results/runs", *, workers: int | None = None, threads: int | None = None
) -> Summary:
    """Runs every cell of the suite that has no record below `results`, and says what became of them.

    `workers` cells run at a time, with `threads` threads each; by default as many as the suite says. Called from a
    script, it needs the guard `if __name__ == "__main__":`, for workers are fresh processes that import the script.
    """
    from optbench.executors.local import execute

    said = suite.execution
    return execute(
        suite.cells(),
        results,
        workers=said.workers if workers is None else workers,
        threads=said.threads if threads is None else threads,
    )


def report(suite: Suite, results: Path | str = "results/runs") -> pd.DataFrame:
    """One row per arm of the suite, from its records: see `optbench.reports.frame.arms_of` for the columns."""
    from optbench.reports.frame import arms_table
    from optbench.store import Store

    return arms_table(suite, Store(results))
