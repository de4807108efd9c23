"""Cells on Ray: on this machine, or on the machines of a cluster."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from optbench.errors import UserError
from optbench.executors.devices import visible_gpus, worker_count
from optbench.executors.dispatch import POLL_SECONDS, Message, OnEvent, Worker, run_jobs
from optbench.executors.events import Summary
from optbench.executors.jobs import Job
from optbench.executors.locks import Locks
from optbench.executors.parcels import inputs_of, unpack
from optbench.executors.remote import GOES_ON, Remote
from optbench.store import Store

if TYPE_CHECKING:
    from optbench.suite import Cell
    from optbench.tracking.live import Tracked

OBJECT_STORE_BYTES = 200 << 20
"""Of Ray on this machine alone: records are small."""
CONNECT_SECONDS = 10.0
STARTS = 3
"""Actors in a row that may die without having ended a job, before a worker is given up."""
_LOCAL = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
"""For a cluster of our own, which nobody else can reach: it needs no token, and reports to nobody."""


def check_installed() -> None:
    """Raises UserError where Ray is not installed."""
    if find_spec("ray") is None:
        raise UserError('--executor ray: Ray is not installed; pip install "optbench[ray]"')


def execute(
    cells: Sequence[Cell],
    results: Path | str,
    *,
    workers: int | None = None,
    said: int = 1,
    threads: int,
    address: str = "",
    on_event: OnEvent = lambda event: None,
    tracked: Mapping[str, Tracked] = MappingProxyType({}),
    checkpoint_minutes: float = 0.0,
    may_begin: Callable[[], bool] = lambda: True,
) -> Summary:
    """As `local.execute`, on Ray: the cluster at `address` (`auto`, or host:port of its head), or processes of this
    machine where that is empty, or whatever Ray this process is connected to already.

    `workers` cells run at a time; by default one on each GPU of the cluster, or `said` where it has none. With GPUs
    each cell has one of its own. Raises UserError for a cluster that cannot be reached, or whose machines are too
    small.
    """
    check_installed()
    with _connected(address, worker_count(workers, said, visible_gpus()) * threads):
        import ray

        gpus = int(ray.cluster_resources().get("GPU", 0))
        count = worker_count(workers, said, gpus)
        _check_size(threads)

        def pool(jobs: int) -> RayPool:
            size = min(count, jobs, gpus or count)
            return RayPool(size, results, threads=threads, gpus=min(gpus, 1), checkpoint_minutes=checkpoint_minutes)

        return run_jobs(cells, results, pool, on_event=on_event, tracked=tracked, may_begin=may_begin)


@contextmanager
def _connected(address: str, cpus: int) -> Iterator[None]:
    """Ray, for as long as the context lasts. What it prints to the output stream is dropped, for that is the report's:
    of a worker that dies our own events tell."""
    import ray

    if address not in ("", "auto"):
        _check_reachable(address)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        ours = not ray.is_initialized()
        if ours:
            _start(address, cpus)
        try:
            yield
        finally:
            if ours:
                ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raises UserError where nobody listens at host:port; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise UserError(f"--address {address}: give host:port of the head, or auto; run it on a machine of the cluster")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--address {address}: no Ray cluster can be reached there ({error})") from error


def _start(address: str, cpus: int) -> None:
    import ray

    quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
    if not address:
        given = {name: value for name, value in _LOCAL.items() if name not in os.environ}
        os.environ.update(given)
        try:
            ray.init(num_cpus=cpus, object_store_memory=OBJECT_STORE_BYTES, **quiet)
        finally:
            for name in given:
                del os.environ[name]
        return
    del quiet["include_dashboard"]
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"--address {address}: no Ray cluster can be reached there ({first})") from error


def _check_size(threads: int) -> None:
    import ray

    sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    if max(sizes, default=0) < threads:
        raise UserError(
            f"--executor ray: a worker takes {threads} CPUs (execution.threads of the suite), and the machines of the "
            f"cluster have {', '.join(map(str, sizes)) or 'none'}"
        )


@dataclass
class _Actor(Worker):
    handle: Any = field(kw_only=True)
    begun: Any = field(kw_only=True)
    stream: Any = field(kw_only=True, default=None)
    """The messages about its job, while it has one."""
    shared: bool = field(kw_only=True, default=False)
    starts: int = field(kw_only=True, default=1)


class RayPool:
    """Actors that run jobs: see `dispatch.Pool`."""

    deaths = 2

    def __init__(self, size: int, results: Path | str, *, threads: int, gpus: int, checkpoint_minutes: float) -> None:
        import ray

        self._store = Store(Path(results).resolve())
        self._mark, self._presence = f"cluster-{uuid.uuid4().hex}", Locks(self._store.root)
        self._presence.take(self._mark)
        options = {"num_cpus": threads, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        self._class = ray.remote(Remote).options(**options)
        self._arguments = {"threads": threads, "checkpoint_minutes": checkpoint_minutes}
        # Where they are is known when they have begun; until then all are taken to be neighbours here.
        here = ray.get_runtime_context().get_node_id()
        self.workers = [self._start(f"{here}:{index if gpus else 'cpu'}") for index in range(size)]
        self.lost = ""

    def give(self, worker: _Actor, job: Job, *, contended: bool, last: bool, tracked: Tracked | None) -> None:
        """See `dispatch.Pool`. W&B keeps its files in the results folder: where that is not shared, cells are not
        tracked while they train."""
        sent = {} if worker.shared else inputs_of(job, self._store)
        how = {"contended": contended, "last": last, "tracked": tracked if worker.shared else None}
        worker.stream = worker.handle.run.options(num_returns="streaming").remote(job, sent, **how)

    def messages(self, timeout: float | None) -> list[tuple[Worker, Message]]:
        """See `dispatch.Pool`."""
        import ray

        open_now = {
            id(waited): (waited, worker) for worker in self.workers if (waited := _waited_for(worker)) is not None
        }
        if not open_now:
            time.sleep(POLL_SECONDS if timeout is None else timeout)
            return []
        ready, _ = ray.wait([waited for waited, _ in open_now.values()], timeout=timeout, fetch_local=False)
        return [self._message(open_now[id(waited)][1]) for waited in ready]

    def close(self) -> None:
        """See `dispatch.Pool`."""
        import ray

        for worker in self.workers:
            ray.kill(worker.handle)
        self._presence.release(self._mark)

    def _message(self, worker: _Actor) -> tuple[Worker, Message]:
        import ray

        try:
            message: Message = ray.get(worker.begun if not worker.ready else next(worker.stream))
        except ray.exceptions.RayTaskError as error:
            cause = str(error.cause).strip().splitlines()[0]
            message = {"event": "failed", "reason": f"{type(error.cause).__name__}: {cause}", "trace": str(error)}
            if not worker.ready:
                return worker, self._replaced(worker, cause)
        except ray.exceptions.RayError as error:
            short = isinstance(error, ray.exceptions.OutOfMemoryError)
            return worker, self._replaced(worker, str(error).strip().splitlines()[0], memory=short)
        if message["event"] == "ready":
            worker.ready, worker.device, worker.shared = True, message["device"], message["shared"]
        elif message["event"] not in GOES_ON:
            worker.stream, worker.starts = None, 1
            if "results" in message:
                message = self._kept(message)
        return worker, message

    def _kept(self, message: Message) -> Message:
        """The message of a job that is done, after what it brought was written."""
        try:
            unpack(message.pop("results"), self._store.root)
        except OSError as error:
            reason = f"the results folder cannot be written to: {error.strerror}"
            return {"event": "failed", "reason": reason}
        return message

    def _replaced(self, worker: _Actor, why: str, *, memory: bool = False) -> Message:
        """A dead actor's last message. Another one takes its place, wherever Ray finds room."""
        import ray

        ray.kill(worker.handle)
        place = self.workers.index(worker)
        if worker.starts < STARTS or worker.attempt is not None:
            starts = worker.starts + (worker.attempt is None)
            self.workers[place] = self._start(worker.device, starts=starts)
        else:
            del self.workers[place]
            self.lost = f"no worker of the cluster could start: {why}"
        return {"event": "died", "reason": f"the worker of the cluster died ({why})", "memory": memory}

    def _start(self, device: str, *, starts: int = 1) -> _Actor:
        mark = self._presence.path(self._mark)
        handle = self._class.remote(str(self._store.root), str(mark), **self._arguments)
        return _Actor(device, handle=handle, begun=handle.begin.remote(), starts=starts)


def _waited_for(worker: _Actor) -> Any:
    return worker.stream if worker.ready else worker.begun
