"""`tune`: values for every optimizer by the same number of trials, and a file that `run` takes them from."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.commands.progress import progress
from optbench.commands.run import check_inputs, check_writable
from optbench.commands.tables import duration, table
from optbench.executors.devices import visible_gpus, worker_count
from optbench.executors.first_step import check_first_steps
from optbench.planning.fits import check_fits
from optbench.suite import Suite
from optbench.tuning.edges import edges_of
from optbench.tuning.engine import Unfinished, tune
from optbench.tuning.overrides_file import check_target, write_tuned
from optbench.tuning.study import studies_of
from optbench.tuning.trials import cells_of

if TYPE_CHECKING:
    from optbench.tuning.record import Study, Trial, Tuned


@dataclass(frozen=True)
class Outcome:
    """How tuning ended: the exit code, what was found as JSON data (empty where nothing was written), and the words."""

    code: int
    content: Mapping[str, Any]
    table: str
    text: str


def tune_suite(
    suite: Suite,
    results: Path,
    target: Path,
    *,
    trials: int,
    workers: int | None,
    command: str,
    then: str,
    step_check: bool = True,
) -> Outcome:
    """Tunes the suite and writes `target` with the trials beside it, or nothing. `command` is what was called, and
    `then` the one that uses the file.

    Raises UserError, before anything runs, for bad input, for cells that clearly do not fit and, with `step_check`, for
    a foreign optimizer that seems to take no step.
    """
    start = time.monotonic()
    check_target(target)
    check_writable(results)
    planned = studies_of(suite)
    cells = [cell for study in planned for cell in cells_of(study, {}, "suite", suite.tuning.seeds)]
    check_inputs(cells)
    count = worker_count(workers, suite.execution.workers, visible_gpus())
    check_fits([cell.arm for cell in cells], workers=count)
    if step_check:
        check_first_steps(cell.arm for cell in cells)

    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    try:
        tuned = tune(suite, results, trials=trials, workers=workers, tell=tell, view=progress)
    except KeyboardInterrupt:
        return Outcome(130, {}, "", "interrupted: nothing was written; the same command again continues")
    except Unfinished as error:
        return Outcome(1, {}, "", f"{error}\nnothing was written; the same command again tries them once more")
    write_tuned(tuned, target, command)
    spent = f"{len(tuned.studies) * trials} trials after {duration(time.monotonic() - start)}"
    lines = [*_advice(tuned), f"{spent}; {target} and its trials, {target.with_suffix('.json')}, are written.", then]
    content = {"file": str(target), "edges": [edges_of(study) for study in tuned.studies], "tuned": tuned.dump()}
    return Outcome(0, content, table_of(tuned), "\n".join(lines))


def table_of(tuned: Tuned) -> str:
    """A row for each value of each study: before and after, with the scores of both and what the trials cost."""
    header = ["study", "value", "before", "after", f"{tuned.score} before", "after", "trials", "diverged", "time"]
    rows = []
    for study in tuned.studies:
        first, best = study.trials[0], study.trials[study.best]
        diverged = sum(trial.score is None for trial in study.trials)
        seconds = duration(sum(trial.seconds for trial in study.trials))
        said = [_scored(first), _scored(best), str(len(study.trials)), str(diverged), seconds]
        edges = edges_of(study)
        for index, path in enumerate(study.space or [""]):
            mark = " (edge)" if path in edges else ""
            values = [_shown(first.used, path), _shown(best.used, path) + mark]
            rows.append([_name(study) if not index else "", path, *values, *(said if not index else [""] * len(said))])
    return table(header, rows)


def _advice(tuned: Tuned) -> list[str]:
    """A line for each value at the edge of its range, and for studies that no trial could be scored in."""
    lines = []
    for study in tuned.studies:
        for path, end in edges_of(study).items():
            value = _shown(study.trials[study.best].used, path)
            lines.append(
                f"{_name(study)}: {path} = {value} is at the {end} end of what was searched: "
                "widen the range in tuning.spaces, and tune again."
            )
        if study.trials[study.best].score is None:
            lines.append(f"{_name(study)}: no trial could be scored; the suite's own values stay.")
    return lines


def _name(study: Study) -> str:
    return "/".join(name for names in study.where.values() for name in names)


def _scored(trial: Trial) -> str:
    return "-" if trial.score is None else f"{trial.score:.4f}"


def _shown(values: Mapping[str, Any], path: str) -> str:
    if path not in values:
        return "-"
    value = values[path]
    return f"{value:g}" if isinstance(value, float) else str(value)
