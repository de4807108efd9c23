"""Every benchmark reports rows of one table: what, against what, the target, what was measured.

The table ends the run; with BENCH_TABLE=file.md it is also written there.
"""

import os
from pathlib import Path

import pytest

ROWS: list[tuple[str, str, str, str]] = []


@pytest.fixture
def row(benchmark):
    """Adds a row to the table that ends the run, and to the extra information of pytest-benchmark."""

    def add(what, against, target, measured):
        ROWS.append((what, against, target, measured))
        benchmark.extra_info.setdefault("rows", []).append([what, against, target, measured])

    yield add
    if not benchmark._mode:  # What was timed in pairs has no timing of its own.
        benchmark.pedantic(lambda: None, rounds=1)


def pytest_terminal_summary(terminalreporter, config):
    if not ROWS:
        return
    lines = ["| what | against | target | measured |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in ROWS]
    terminalreporter.write_line("")
    for line in lines:
        terminalreporter.write_line(line)
    path = os.environ.get("BENCH_TABLE")
    if path:
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
