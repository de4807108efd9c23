"""Cells in processes of this machine: probes first, a crash costs one cell, Ctrl-C only the cells that are running."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from optbench.executors.jobs import Job, jobs_for
from optbench.executors.worker import work
from optbench.store import Store, remove_leftovers

if TYPE_CHECKING:
    from optbench.suite import Cell
    from optbench.tracking.live import Tracked


PATIENCE_SECONDS = 10.0
"""For an idle worker to end by itself."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a job: `started`, `progress` (steps done of total), `done` (with its outcome),
    `failed` (with a one-line reason and the log file), or `untracked`: it goes on, but W&B failed for this reason, and
    no further cell is tracked."""

    kind: str
    job: Job
    done: int = 0
    total: int = 0
    outcome: str = ""
    reason: str = ""
    log: Path = Path()


@dataclass
class Summary:
    """What became of the cells. `failed` maps the names of cells without a record, or without the findings of a panel,
    to a reason and a log file."""

    total: int
    already: int
    outcomes: dict[str, int] = field(default_factory=dict)
    failed: dict[str, tuple[str, Path]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every cell has a record, and what its panels found."""
        return not self.failed


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    ready: bool = False


def execute(
    cells: Sequence[Cell],
    results: Path | str,
    *,
    workers: int,
    threads: int,
    device: str = "auto",
    on_event: Callable[[Event], None] = lambda event: None,
    tracked: Mapping[str, Tracked] = MappingProxyType({}),
) -> Summary:
    """Runs every cell that has no record or lacks what a panel finds, `workers` at a time with `threads` threads each.

    The number of workers changes no number, the number of threads may (sums are split differently). `tracked` says, by
    the keys of cells, which ones are shown to W&B while they train.
    """
    store = Store(results)
    remove_leftovers(store.root)
    jobs = jobs_for(cells, store)
    by_key = {cell.key: cell for cell in cells}
    summary = Summary(total=len(by_key), already=sum(cell.is_done(store) for cell in by_key.values()))
    if jobs:
        pool = _Pool(
            min(workers, len(jobs)), results=str(results), threads=threads, device=device, patient=bool(tracked)
        )
        try:
            _drive(pool, jobs, store, summary, on_event, dict(tracked))
        finally:
            pool.close()
    return summary


def _drive(
    pool: _Pool,
    jobs: list[Job],
    store: Store,
    summary: Summary,
    on_event: Callable[[Event], None],
    tracked: dict[str, Tracked],
) -> None:
    waiting = list(jobs)
    pending_probes = {job.key for job in jobs if job.kind == "probe"}
    while waiting or pool.busy:
        for worker in pool.idle:
            job = next((job for job in waiting if pending_probes.isdisjoint(job.after)), None)
            if job is None:
                break
            waiting.remove(job)
            of_job = tracked.get(job.key) if job.kind == "cell" else None
            pool.give(worker, job, contended=len(pool.workers) > 1, tracked=of_job)
            on_event(Event("started", job, total=job.steps))
        for worker, message in pool.messages():
            job = worker.job
            if message["event"] == "ready" or job is None:
                continue
            if message["event"] == "progress":
                on_event(Event("progress", job, done=message["done"], total=message["total"]))
                continue
            if message["event"] == "untracked":
                tracked.clear()
                on_event(Event("untracked", job, reason=message["reason"]))
                continue
            worker.job = None
            pending_probes.discard(job.key)
            if message["event"] == "done":
                if job.kind != "probe":
                    summary.outcomes[message["outcome"]] = summary.outcomes.get(message["outcome"], 0) + 1
                on_event(Event("done", job, outcome=message["outcome"]))
                continue
            log = _write_log(store.root, job, message["trace"])
            if job.kind != "probe":
                summary.failed[job.name] = (message["reason"], log)
            # A cell whose probe failed runs it again and fails with the same reason, under its own name.
            on_event(Event("failed", job, reason=message["reason"], log=log))


class _Pool:
    """Worker processes; one that dies is replaced, and its job counts as failed."""

    def __init__(self, size: int, *, results: str, threads: int, device: str, patient: bool) -> None:
        """`patient`: workers without a job are left to end by themselves, for wandb then takes its files with it."""
        self._patient = patient
        self._context = multiprocessing.get_context("spawn")
        self._arguments = {"results": results, "threads": threads, "device": device}
        self.workers = [self._start(index) for index in range(size)]

    @property
    def busy(self) -> bool:
        return any(worker.job is not None for worker in self.workers)

    @property
    def idle(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.ready and worker.job is None]

    def give(self, worker: _Worker, job: Job, *, contended: bool, tracked: Tracked | None) -> None:
        worker.job = job
        try:
            worker.connection.send({"job": asdict(job), "contended": contended, "tracked": tracked})
        except BrokenPipeError:
            return  # The worker has just died; `messages` finds that out and says so.

    def messages(self) -> list[tuple[_Worker, dict[str, Any]]]:
        """Waits for a word from any worker; a dead one says `failed` once and is replaced."""
        found: list[tuple[_Worker, dict[str, Any]]] = []
        for connection in wait([worker.connection for worker in self.workers]):
            index = next(i for i, worker in enumerate(self.workers) if worker.connection is connection)
            worker = self.workers[index]
            try:
                message = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                worker.process.join()
                reason = f"the worker process died (exit code {worker.process.exitcode})"
                if not worker.ready:
                    raise RuntimeError(f"{reason} before its first job") from None
                found.append((worker, {"event": "failed", "reason": reason, "trace": reason + "\n"}))
                self.workers[index] = self._start(index)
                continue
            worker.ready = True
            found.append((worker, message))
        return found

    def close(self) -> None:
        """Ends all workers, whatever they are doing."""
        if self._patient and not self.busy:
            for worker in self.workers:
                worker.connection.close()
            for worker in self.workers:
                worker.process.join(PATIENCE_SECONDS)
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join()
            worker.connection.close()

    def _start(self, index: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        arguments = {**self._arguments, "index": index}
        # Thread pools read this when torch is imported, which is before the worker's own first line. Threads that wait
        # asleep leave the cores to the other workers.
        wanted = {"OMP_NUM_THREADS": str(self._arguments["threads"]), "OMP_WAIT_POLICY": "PASSIVE"}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
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
        return _Worker(process, ours)


def _write_log(root: Path, job: Job, trace: str) -> Path:
    path = root / "logs" / f"{job.key}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{job.kind} {job.name}\n\n{trace}", encoding="utf-8")
    return path
