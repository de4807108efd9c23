"""A worker on a machine of a Ray cluster: an actor with one worker process, the same as on this machine.

The process is the actor's child, so that a cell that crashes takes neither the actor nor what is known about the crash
with it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.executors.attempts import Attempt
from optbench.executors.jobs import Job, cell_of
from optbench.executors.local import ProcessPool
from optbench.executors.parcels import Parcel, results_of, unpack
from optbench.store import remove_leftovers, temporary_for

if TYPE_CHECKING:
    from optbench.tracking.live import Tracked

GOES_ON = ("progress", "untracked")


class Remote:
    """The actor's class. `results` is the results folder as the driver calls it, `mark` a file that the driver has put
    there: where it can be seen the folder is shared, and jobs run in it; elsewhere they run in a folder of this
    machine, and what they leave behind is handed back."""

    def __init__(self, results: str, mark: str, *, threads: int, checkpoint_minutes: float) -> None:
        import ray

        context = ray.get_runtime_context()
        gpus = context.get_accelerator_ids()["GPU"]
        self._place = f"{context.get_node_id()}:{gpus[0] if gpus else 'cpu'}"
        self._shared = os.path.isfile(mark) and os.access(results, os.W_OK)
        scratch = Path(tempfile.gettempdir()) / "optbench-ray" / "runs"
        remove_leftovers(scratch.parent)
        self._root = Path(results) if self._shared else temporary_for(scratch)
        self._pool = ProcessPool(
            ["cuda:0" if gpus else "cpu"],
            results=str(self._root),
            threads=threads,
            patient=False,
            checkpoint_minutes=checkpoint_minutes,
        )

    def begin(self) -> dict[str, Any]:
        """Waits for the process to be ready. Raises RuntimeError where it cannot start."""
        while not any(worker.ready for worker in self._pool.workers):
            if not self._pool.workers:
                raise RuntimeError(self._pool.lost)
            self._pool.messages(None)
        return {"event": "ready", "device": self._place, "shared": self._shared}

    def run(
        self, job: Job, sent: Parcel, *, contended: bool, last: bool, tracked: Tracked | None
    ) -> Iterator[dict[str, Any]]:
        """Does a job, after unpacking what was `sent` along, and yields the messages about it. Where the folder is not
        shared, the message of a job that is done comes with `results`."""
        if job.kind != "probe" and cell_of(job).key != job.key:
            reason = "data, a checkpoint or an optimizer's file is another one on the machine that was to run it"
            yield {"event": "failed", "reason": reason}
            return
        unpack({} if self._shared else sent, self._root)
        worker = self._pool.workers[0]
        worker.attempt = Attempt(job)
        self._pool.give(worker, job, contended=contended, last=last, tracked=tracked)
        while True:
            for _, message in self._pool.messages(None):
                if message["event"] in GOES_ON:
                    yield message
                elif message["event"] != "ready":
                    yield self._ended(message, sent)
                    return

    def _ended(self, message: dict[str, Any], sent: Parcel) -> dict[str, Any]:
        for worker in self._pool.workers:
            worker.attempt = None
        if message["event"] != "done" or self._shared:
            return message
        results = results_of(self._root, sent)
        shutil.rmtree(self._root)
        return {**message, "results": results}
