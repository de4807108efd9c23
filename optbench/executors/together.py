"""Cells one after another, each trained by all processes that torchrun has started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.checkpoint import remove_finished
from optbench.distributed.alarm import INTERRUPTED, Ended
from optbench.errors import UserError, is_out_of_memory
from optbench.executors.events import Event, Summary
from optbench.executors.jobs import Job, cell_of, jobs_for, panels_of, probe_of_job
from optbench.executors.locks import Locks
from optbench.store import Store, remove_leftovers

if TYPE_CHECKING:
    from optbench.distributed.group import Group
    from optbench.suite import Cell

OnEvent = Callable[[Event], None]


def execute(
    cells: Sequence[Cell],
    results: Path | str,
    *,
    threads: int,
    group: Group,
    device: str,
    checkpoint_minutes: float = 0.0,
    on_event: OnEvent = lambda event: None,
) -> Summary:
    """Runs every cell that has no record or lacks what a panel finds; called by all ranks of the `group` alike.

    The first rank decides which these are, reads and writes the records, runs probes and panels, and evaluates; the
    others take their share of the training, and wait. Raises whatever keeps a cell from being run: nobody knows then
    where the other ranks are, and all of them have to end.
    """
    import torch

    torch.set_num_threads(threads)
    store, locks = Store(results), Locks(Path(results))
    by_key = {cell.key: cell for cell in cells}
    mine: list[dict[str, object]] = []
    if group.rank == 0:
        remove_leftovers(store.root)
        mine = [asdict(job) for job in jobs_for(cells, store)]
        remove_finished(store, {str(job["key"]) for job in mine})
    jobs = [Job(**content) for content in group.agreed(mine)]
    already = group.agreed(sum(cell.is_done(store) for cell in by_key.values()))
    summary = Summary(total=len(by_key), already=already)
    try:
        for job in jobs:
            if group.rank == 0 and not locks.take(job.key):
                raise UserError(f"{job.name}: another run into {results} has begun it; let that one end first")
            on_event(Event("started", job, total=job.steps))
            outcome = group.agreed(_done(job, store, group, device, checkpoint_minutes, on_event))
            if group.rank == 0:
                locks.release(job.key)
            if job.kind != "probe":
                summary.outcomes[outcome] = summary.outcomes.get(outcome, 0) + 1
            on_event(Event("done", job, outcome=outcome))
    except KeyboardInterrupt as error:
        raise Ended(INTERRUPTED, 130) from error
    finally:
        if group.rank == 0:
            locks.close()
    return summary


def _done(job: Job, store: Store, group: Group, device: str, checkpoint_minutes: float, on_event: OnEvent) -> str:
    """This rank's part in the job. The outcome that the first rank returns is the one that counts."""

    from optbench.runner import accompany, has_to_train, run_cell

    if job.kind == "probe":
        if group.rank == 0:
            probe = probe_of_job(job)
            probe.run(cell_of(job).task.build(), store.root, device=device, checkpoint_minutes=checkpoint_minutes)
        return "probe"
    cell, panels = cell_of(job), panels_of(job)
    if group.rank > 0:
        if job.kind == "cell" or group.agreed(None):
            try:
                accompany(cell, store, panels, device=device, ranks=group)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise _ran_out(job) from error
        return ""
    if job.kind == "panels":
        recorded = store.record(job.key)
        group.agreed(recorded is not None and has_to_train(cell, recorded, store, panels))
    record = run_cell(
        cell,
        store,
        panels,
        device=device,
        progress=lambda done, total: on_event(Event("progress", job, done=done, total=total)),
        checkpoint_minutes=checkpoint_minutes,
        ranks=group,
    )
    if record.outcome == "out_of_memory":
        raise _ran_out(job)
    return record.outcome


def _ran_out(job: Job) -> Ended:
    return Ended(f"{job.name}: out of memory, and its record says so; the same command again runs the other cells")
