"""`run --until-resolved`: the suite, then seeds where they help most, with a line for each look."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.commands.progress import progress
from optbench.commands.run import Outcome, Where, check_ready, executor_of
from optbench.errors import UserError
from optbench.executors.devices import visible_gpus, worker_count
from optbench.executors.events import failure
from optbench.sequential.bench import StoreBench
from optbench.sequential.engine import Resolved, check_resolvable, pursue
from optbench.sequential.journal import Journal

if TYPE_CHECKING:
    from optbench.suite import Suite


def run_until_resolved(
    whole: Suite,
    suite: Suite,
    results: Path,
    *,
    margin: float,
    hours: float,
    workers: int | None = None,
    executor: Where = "local",
    address: str = "",
    fit_check: bool = True,
    step_check: bool = True,
) -> tuple[Outcome, Resolved]:
    """Runs `suite`, the `whole` one or some arms of it, until its contrasts are resolved or the hours are over.

    The seeds are kept as those of the whole suite. Ending with unresolved contrasts is a result and no failure. Raises
    UserError, before anything is written, as `run` and `optbench.sequential.engine.resolve` do.
    """
    check_resolvable(suite, margin=margin, seconds=3600 * hours)
    if executor == "ray" and workers is None:
        raise UserError("--executor ray: with --until-resolved say how many --workers there are, to share the hours")
    run = executor_of(executor, address, workers, suite)
    here = executor == "local"
    check_ready(suite, results, workers=workers, fit_check=fit_check and here, step_check=step_check and here)
    said = suite.execution
    count = worker_count(workers, said.workers, visible_gpus())
    bench = StoreBench(results, count, run, said.threads, said.checkpoint_minutes, progress)
    ended = pursue(suite, Journal.of(whole, results), bench, margin=margin, seconds=3600 * hours, tell=_told)
    return _outcome(ended), ended


def resolved_data(resolved: Resolved) -> dict[str, Any]:
    """What became of the contrasts, as JSON data; infinite ends are null."""
    from optbench.reports.answer_data import number

    return {
        "margin": resolved.margin,
        "looks": resolved.looks,
        "ended": resolved.ended,
        "contrasts": [
            {
                "name": own.name,
                "estimate": number(own.estimate),
                "interval": [number(own.low), number(own.high)],
                "n": own.n,
                "verdict": own.verdict,
            }
            for own in resolved.contrasts
        ],
    }


def _told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _outcome(ended: Resolved) -> Outcome:
    looks = f"{ended.looks} look{'' if ended.looks == 1 else 's'}"
    if ended.ended == "interrupted":
        text = f"interrupted after {looks}; the same command again continues"
        return Outcome(complete=False, interrupted=True, text=text)
    if ended.ended == "failed":
        lines = [f"{len(ended.failed)} cells failed after {looks}; the same command again tries them once more:"]
        lines += [f"  {name}: {failure(reason, log)}" for name, (reason, log) in ended.failed.items()]
        return Outcome(complete=False, interrupted=False, text="\n".join(lines))
    return Outcome(complete=True, interrupted=False, text="\n".join(ended.sentences[len(ended.foresight) :]))
