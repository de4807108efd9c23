"""Cells in processes of this machine: a crash costs one cell, Ctrl-C only the cells that are running."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from optbench.executors.attempts import death
from optbench.executors.devices import devices_of, visible_gpus
from optbench.executors.dispatch import Message, OnEvent, Worker, run_jobs
from optbench.executors.events import Summary
from optbench.executors.interrupts import interrupts_held
from optbench.executors.jobs import Job
from optbench.executors.worker import work

if TYPE_CHECKING:
    from optbench.suite import Cell
    from optbench.tracking.live import Tracked


PATIENCE_SECONDS = 10.0
"""For an idle worker to end by itself."""
STARTS = 2
"""Processes in a row that may die without having ended a job, before a worker is given up."""


def execute(
    cells: Sequence[Cell],
    results: Path | str,
    *,
    workers: int,
    threads: int,
    device: str = "auto",
    on_event: OnEvent = lambda event: None,
    tracked: Mapping[str, Tracked] = MappingProxyType({}),
    checkpoint_minutes: float = 0.0,
    may_begin: Callable[[], bool] = lambda: True,
) -> Summary:
    """Runs every cell that has no record or lacks what a panel finds, `workers` at a time with `threads` threads each.

    The number of workers changes no number, the number of threads may (sums are split differently). On a machine with
    GPUs the workers take them in turn. A cell writes a checkpoint after every `checkpoint_minutes` of work, 0 for
    never. See `run_jobs` for the rest.
    """

    def pool(jobs: int) -> ProcessPool:
        devices = devices_of(min(workers, jobs), visible_gpus(), device)
        return ProcessPool(
            devices,
            results=str(results),
            threads=threads,
            patient=bool(tracked),
            checkpoint_minutes=checkpoint_minutes,
        )

    return run_jobs(cells, results, pool, on_event=on_event, tracked=tracked, may_begin=may_begin)


@dataclass
class _Process(Worker):
    process: BaseProcess = field(kw_only=True)
    connection: Connection = field(kw_only=True)
    starts: int = field(kw_only=True, default=1)
    """Processes at this place since one ended a job."""
    broken: str = field(kw_only=True, default="")
    """Why it could not start, if it said so."""


class ProcessPool:
    """A worker process on each of the devices: see `dispatch.Pool`."""

    deaths = 1

    def __init__(
        self, devices: Sequence[str], *, results: str, threads: int, patient: bool, checkpoint_minutes: float
    ) -> None:
        """`patient`: workers without a job are left to end by themselves, for wandb then takes its files with it."""
        self._patient = patient
        self._context = multiprocessing.get_context("spawn")
        self._arguments = {"results": results, "threads": threads, "checkpoint_minutes": checkpoint_minutes}
        self.workers = [self._start(device) for device in devices]
        self.lost = ""

    def give(self, worker: _Process, job: Job, *, contended: bool, last: bool, tracked: Tracked | None) -> None:
        """See `dispatch.Pool`."""
        try:
            worker.connection.send({"job": asdict(job), "contended": contended, "last": last, "tracked": tracked})
        except BrokenPipeError:
            return  # The worker has just died; `messages` finds that out and says so.

    def messages(self, timeout: float | None) -> list[tuple[Worker, Message]]:
        """See `dispatch.Pool`."""
        found: list[tuple[Worker, Message]] = []
        for connection in wait([worker.connection for worker in self.workers], timeout):
            worker = next(worker for worker in self.workers if worker.connection is connection)
            try:
                message: Message = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                found.append((worker, self._replaced(worker)))
                continue
            if message["event"] == "broken":
                worker.broken = message["reason"]
                continue
            worker.ready = True
            if message["event"] in ("done", "failed", "memory"):
                worker.starts = 1
            found.append((worker, message))
        return found

    def close(self) -> None:
        """See `dispatch.Pool`."""
        if self._patient and not any(worker.attempt is not None for worker in self.workers):
            for worker in self.workers:
                worker.connection.close()
            for worker in self.workers:
                worker.process.join(PATIENCE_SECONDS)
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join()
            worker.connection.close()

    def _replaced(self, worker: _Process) -> Message:
        """A dead worker's last message. Another process takes its place, on the same device, unless too many have died
        there."""
        worker.process.join()
        worker.connection.close()
        message = death(worker.process.exitcode)
        place = self.workers.index(worker)
        if worker.starts < STARTS or worker.attempt is not None:
            self.workers[place] = self._start(worker.device, starts=worker.starts + (worker.attempt is None))
        else:
            del self.workers[place]
            self.lost = worker.broken or f"{message['reason']} without a job, and so did the next one"
        return message

    def _start(self, device: str, *, starts: int = 1) -> _Process:
        ours, theirs = self._context.Pipe()
        arguments = {**self._arguments, "device": device}
        # Thread pools read this when torch is imported, which is before the worker's own first line. Threads that wait
        # asleep leave the cores to the other workers.
        wanted = {"OMP_NUM_THREADS": str(self._arguments["threads"]), "OMP_WAIT_POLICY": "PASSIVE"}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        with interrupts_held():  # The worker ignores Ctrl-C from its first line on.
            try:
                process = self._context.Process(target=work, args=(theirs,), kwargs=arguments, daemon=True)
                process.start()
            finally:
                for name, value in before.items():
                    if value is None:
                        del os.environ[name]
                    else:
                        os.environ[name] = value
        theirs.close()
        return _Process(device, process=process, connection=ours)
