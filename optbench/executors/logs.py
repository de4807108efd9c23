"""What a job that failed leaves to read."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from optbench.executors.events import NO_LOG
from optbench.executors.jobs import Job


def write_log(root: Path, job: Job, trace: str) -> Path:
    """Writes what is known of a failure below the results folder or, where that is full or read-only, below the
    system's folder for temporary files. Returns the path, or `NO_LOG` where neither can be written."""
    content = f"{job.kind} {job.name}\n\n{trace.rstrip()}\n"
    for folder in (root / "logs", Path(tempfile.gettempdir()) / "optbench-logs"):
        path = folder / f"{job.key}.log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        except OSError:
            with suppress(OSError):
                path.unlink()  # Half a log is none.
            continue
        return path
    return NO_LOG
