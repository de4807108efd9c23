"""Tuning: every study gets the same number of trials, a round at a time, through the executors and into the store."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from optbench.executors.devices import visible_gpus, worker_count
from optbench.executors.events import Event, failure
from optbench.executors.local import execute
from optbench.metrics.columns import COLUMNS
from optbench.store import Store
from optbench.tuning.importance import importance_of
from optbench.tuning.record import Study, Trial, Tuned
from optbench.tuning.sampling import check_installed, proposed, rounds_of
from optbench.tuning.study import Planned, studies_of
from optbench.tuning.trials import cells_of, check_records, trial_of

if TYPE_CHECKING:
    from optbench.suite import Cell, Suite

OnEvent = Callable[[Event], None]
View = Callable[[int, int], AbstractContextManager[OnEvent]]
"""What shows a round: from its number of cells, and how many have records, to whom events are told."""


class Unfinished(Exception):
    """Cells of a trial have no record, so that it cannot be counted. The words say which ones, and why."""


def _unseen(total: int, already: int) -> AbstractContextManager[OnEvent]:
    return nullcontext(lambda event: None)


def tune(
    suite: Suite,
    results: Path,
    *,
    trials: int,
    workers: int | None = None,
    tell: Callable[[str], None],
    seconds: float = math.inf,
    view: View = _unseen,
) -> Tuned:
    """Tunes every optimizer of the suite's arms, `trials` sets of values each; see `request.Tuning` for what is asked.

    Trials are cells in the store at `results`: what has a record is not run again, so that the same call continues one
    that was interrupted, and finds the same values. No study gets a trial more than another: where the next round would
    end after `seconds`, judged by the slowest so far, it ends with those that all have; the suite's own values are
    always tried.

    Raises UserError for what cannot be tuned, before anything runs; Unfinished where cells fail; KeyboardInterrupt.
    """
    check_installed()
    planned, store, tuning = studies_of(suite), Store(results), suite.tuning
    direction = _direction(tuning.score)
    done: list[list[Trial]] = [[] for _ in planned]
    count = worker_count(workers, suite.execution.workers, visible_gpus())
    start, slowest = time.monotonic(), 0.0
    rounds = rounds_of(trials)
    for number, places in enumerate(rounds, start=1):
        begun = time.monotonic()
        if number > 1 and begun - start + slowest * len(places) > seconds:
            tell(f"the time is up: all have {places.start} of {trials} trials")
            break
        asked = [proposed(study, places, trials, own, direction) for study, own in zip(planned, done, strict=True)]
        cells = [
            [cells_of(study, values, sampler, tuning.seeds) for values, sampler in found]
            for study, found in zip(planned, asked, strict=True)
        ]
        together = [cell for found in cells for trial in found for cell in trial]
        tell(f"round {number} of {len(rounds)}: {_counted(places, planned)}, {len(together)} cells")
        _run(together, store, suite, count, view)
        for own, found, run in zip(done, asked, cells, strict=True):
            own += [
                trial_of(values, sampler, each, store, tuning.score)
                for (values, sampler), each in zip(found, run, strict=True)
            ]
        if number == 1:
            done = [_with_defaults(study, own) for study, own in zip(planned, done, strict=True)]
        slowest = max(slowest, (time.monotonic() - begun) / len(places))
    return Tuned(
        suite=suite.name,
        score=tuning.score,
        direction=direction,
        seeds=tuning.seeds,
        seed=tuning.seed,
        studies=[_study(study, own, direction) for study, own in zip(planned, done, strict=True)],
    )


def _run(cells: Sequence[Cell], store: Store, suite: Suite, workers: int, view: View) -> None:
    check_records(cells, store)
    runs = {cell.key: cell for cell in cells}
    already = sum(store.has(key) for key in runs)
    if already == len(runs):
        return
    said = suite.execution
    with view(len(runs), already) as on_event:
        summary = execute(
            list(runs.values()),
            store.root,
            workers=workers,
            threads=said.threads,
            checkpoint_minutes=said.checkpoint_minutes,
            on_event=on_event,
        )
    if not summary.complete:
        lines = [f"{len(summary.failed)} cells of the trials failed, and without them no trial can be compared:"]
        lines += [f"  {name}: {failure(reason, log)}" for name, (reason, log) in summary.failed.items()]
        raise Unfinished("\n".join(lines))


def _with_defaults(planned: Planned, trials: Sequence[Trial]) -> list[Trial]:
    """The trials of the suite's own values, which also say what nobody set."""
    return [trial.model_copy(update={"defaults": planned.defaults}) for trial in trials]


def _study(planned: Planned, trials: list[Trial], direction: Literal["higher", "lower"]) -> Study:
    space = dict(planned.space)
    return Study(
        optimizer=planned.optimizer,
        where=dict(planned.where),
        arms=[arm.name for arm in planned.arms],
        space=space,
        declared_by=planned.declared_by,
        trials=trials,
        best=_best(trials, direction),
        importance=importance_of(space, trials, direction),
    )


def _best(trials: Sequence[Trial], direction: Literal["higher", "lower"]) -> int:
    """The place of the best trial, of equals the first; the suite's own values where none has a score."""
    sign = 1.0 if direction == "lower" else -1.0
    scored = [(sign * trial.score, place) for place, trial in enumerate(trials) if trial.score is not None]
    return min(scored)[1] if scored else 0


def _direction(score: str) -> Literal["higher", "lower"]:
    return "higher" if COLUMNS[score].direction == "higher" else "lower"


def _counted(places: range, planned: Sequence[Planned]) -> str:
    which = f"trial {places[0]}" if len(places) == 1 else f"trials {places[0]} and {places[-1]}"
    return f"{which} of {len(planned)} {'studies' if len(planned) > 1 else 'study'}"
