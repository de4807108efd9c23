"""Jobs to workers: probes first, a cell at a time to each, what failed once more where it may work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from optbench.checkpoint import remove_finished
from optbench.executors.attempts import Attempt, again, where
from optbench.executors.devices import has_neighbours
from optbench.executors.events import Event, Kind, Summary
from optbench.executors.jobs import Job, is_done, jobs_for, outcome_of
from optbench.executors.locks import Locks
from optbench.executors.logs import write_log
from optbench.store import Store, remove_leftovers

if TYPE_CHECKING:
    from optbench.suite import Cell
    from optbench.tracking.live import Tracked

OnEvent = Callable[[Event], None]
Message = dict[str, Any]
POLL_SECONDS = 1.0
"""Between two looks at the jobs that another run has begun."""


@dataclass
class Worker:
    """What runs one job at a time, always on the same device."""

    device: str
    ready: bool = False
    attempt: Attempt | None = None


class Pool(Protocol):
    """The workers of a run. One that dies is replaced, on the same device or another, and `deaths` of them over one job
    are followed by another try. `workers` may shrink; `lost` says why the last one could not be replaced."""

    deaths: int
    lost: str

    @property
    def workers(self) -> Sequence[Worker]:
        """All workers, ready or not."""

    def give(self, worker: Any, job: Job, *, contended: bool, last: bool, tracked: Tracked | None) -> None:
        """Has a ready worker run a job. Not the `last` attempt: running out of memory is said and not recorded."""

    def messages(self, timeout: float | None) -> Sequence[tuple[Worker, Message]]:
        """Waits for a word from any worker, for so many seconds at most: see `worker.attempted`, and `attempts.death`
        for a worker that died over a job."""

    def close(self) -> None:
        """Ends all workers, whatever they are doing."""


def run_jobs(
    cells: Sequence[Cell],
    results: Path | str,
    pool_of: Callable[[int], Pool],
    *,
    on_event: OnEvent,
    tracked: Mapping[str, Tracked] = MappingProxyType({}),
    may_begin: Callable[[], bool] = lambda: True,
) -> Summary:
    """Runs every cell that has no record or lacks what a panel finds, on a pool that is made for so many jobs.

    Several runs into one folder share the work: what another one has begun is waited for, and taken over where that one
    ends without it. `tracked` says, by the keys of cells, which ones are shown to W&B while they train. `may_begin` is
    asked before each job; once it says no, those that were begun are ended and no other is (they are no failures).
    """
    store = Store(results)
    remove_leftovers(store.root)
    jobs = jobs_for(cells, store)
    remove_finished(store, {job.key for job in jobs})
    by_key = {cell.key: cell for cell in cells}
    summary = Summary(total=len(by_key), already=sum(cell.is_done(store) for cell in by_key.values()))
    locks = Locks(store.root)
    try:
        if jobs:
            pool = pool_of(len(jobs))
            try:
                _Dispatch(pool, jobs, store, locks, summary, on_event, dict(tracked), may_begin).run()
            finally:
                pool.close()
    finally:
        locks.close()  # With nothing to do as well: a run that was killed after its last cell left its lock.
    return summary


class _Dispatch:
    def __init__(
        self,
        pool: Pool,
        jobs: Sequence[Job],
        store: Store,
        locks: Locks,
        summary: Summary,
        on_event: OnEvent,
        tracked: dict[str, Tracked],
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        self._pool, self._store, self._locks = pool, store, locks
        self._summary, self._on_event, self._tracked = summary, on_event, tracked
        self._may_begin = may_begin
        self._waiting = [Attempt(job) for job in jobs]
        self._probes = {job.key for job in jobs if job.kind == "probe"}
        self._elsewhere: dict[str, float] = {}
        """The jobs that another run has, and when to look again."""
        self._told_waiting = False

    def run(self) -> None:
        """Until every job has ended."""
        while self._waiting or self._busy:
            if self._waiting and not self._may_begin():
                self._waiting.clear()
                self._elsewhere.clear()
            for worker in self._pool.workers:
                if worker.ready and worker.attempt is None:
                    self._hand_to(worker)
            if not self._pool.workers:
                for attempt in self._waiting:
                    self._failed(attempt.job, self._pool.lost, self._pool.lost)
                return
            self._tell_waiting()
            # What another run does may be done any moment, and nobody here will say so.
            for worker, message in self._pool.messages(None if self._busy and not self._elsewhere else POLL_SECONDS):
                self._heard(worker, message)

    @property
    def _busy(self) -> bool:
        return any(worker.attempt is not None for worker in self._pool.workers)

    @property
    def _devices(self) -> list[str]:
        return [worker.device for worker in self._pool.workers]

    def _hand_to(self, worker: Worker) -> None:
        attempt = self._next(worker.device)
        if attempt is None:
            return
        self._waiting.remove(attempt)
        worker.attempt = attempt
        job, devices = attempt.job, self._devices
        self._pool.give(
            worker,
            job,
            contended=has_neighbours(worker.device, devices),
            last=attempt.is_last(worker.device, devices),
            tracked=self._tracked.get(job.key) if job.kind == "cell" else None,
        )
        self._say("started", job, total=job.steps)

    def _next(self, device: str) -> Attempt | None:
        """The first attempt that may run on the device now and that no other run has; with nothing else to do for
        anybody, one that has to run alone."""
        open_now = [attempt for attempt in self._waiting if self._probes.isdisjoint(attempt.job.after)]
        together = [attempt for attempt in open_now if not attempt.alone]
        for attempt in together:
            if attempt.fits(device, self._devices) and self._take(attempt):
                return attempt
        left = any(attempt in self._waiting and attempt.job.key not in self._elsewhere for attempt in together)
        if left or any(worker.attempt is not None for worker in self._pool.workers):
            return None
        return next((attempt for attempt in open_now if attempt.alone), None)

    def _take(self, attempt: Attempt) -> bool:
        """Whether the job is ours to run; one that another run has done meanwhile is ticked off."""
        job = attempt.job
        if self._elsewhere.get(job.key, 0.0) > time.monotonic():
            return False
        if not self._locks.take(job.key):
            self._elsewhere[job.key] = time.monotonic() + POLL_SECONDS
            return False
        self._elsewhere.pop(job.key, None)
        if not is_done(job, self._store):
            return True
        self._waiting.remove(attempt)
        self._end(job)
        outcome = outcome_of(job, self._store)
        if job.kind != "probe":
            self._summary.shared += 1
            self._count(outcome)
        self._say("shared", job, outcome=outcome)
        return False

    def _tell_waiting(self) -> None:
        if not self._told_waiting and self._elsewhere and not self._busy:
            held = [attempt.job for attempt in self._waiting if attempt.job.key in self._elsewhere]
            if held:
                self._told_waiting = True
                self._say("waiting", held[0], total=len(held))

    def _heard(self, worker: Worker, message: Message) -> None:
        attempt, event = worker.attempt, message["event"]
        if event == "ready" or attempt is None:
            return
        job = attempt.job
        if event == "progress":
            self._say("progress", job, done=message["done"], total=message["total"])
            return
        if event == "untracked":
            self._tracked.clear()
            self._say("untracked", job, reason=message["reason"])
            return
        worker.attempt = None
        if event == "memory":
            self._again(replace(attempt, short=True), worker.device, message["reason"], memory=True)
        elif event == "died" and attempt.deaths < self._pool.deaths:
            dead = replace(attempt, deaths=attempt.deaths + 1)
            self._again(dead, worker.device, message["reason"], memory=message["memory"])
        elif event == "done":
            self._end(job)
            if job.kind != "probe":
                self._count(message["outcome"])
            self._say("done", job, outcome=message["outcome"])
        else:
            times = f", {attempt.deaths + 1} times" if event == "died" and attempt.deaths else ""
            reason = message["reason"] + times
            self._failed(job, reason, message.get("trace", reason))

    def _again(self, attempt: Attempt, device: str, reason: str, *, memory: bool) -> None:
        then = again(attempt, device, self._devices, memory=memory)
        self._waiting.append(then)
        self._say("retried", attempt.job, reason=f"{reason}; {where(then, attempt)}")

    def _failed(self, job: Job, reason: str, trace: str) -> None:
        self._end(job)
        log = write_log(self._store.root, job, trace)
        if job.kind != "probe":
            self._summary.failed[job.name] = (reason, log)
        # A cell whose probe failed runs it again and fails with the same reason, under its own name.
        self._say("failed", job, reason=reason, log=log)

    def _end(self, job: Job) -> None:
        self._probes.discard(job.key)
        self._locks.release(job.key)

    def _count(self, outcome: str) -> None:
        self._summary.outcomes[outcome] = self._summary.outcomes.get(outcome, 0) + 1

    def _say(self, kind: Kind, job: Job, **more: Any) -> None:
        self._on_event(Event(kind, job, **more))
