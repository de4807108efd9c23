"""Seeds where they help most, one look after another, until every declared contrast is resolved or the time is over.

The suite's own seeds come first: they are the pilot, of three seeds at least. Then, as long as a contrast is
unresolved: look, choose where the next seeds go (`allocation`), write them into the journal, run them. The intervals
hold at any number of looks and under any rule of stopping (`optbench.reports.sequential`), so that nothing here has to
be told to the statistics but that there were looks.

Time. No cell is begun after the end of the budget, and no block of which a cell would have to be; what was begun is
finished. So a budget is overrun by at most one cell on each worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from optbench.added import Added
from optbench.errors import UserError
from optbench.metrics.columns import column
from optbench.reports.pairs import pairs_of
from optbench.reports.sequential import joint_level
from optbench.reports.verdicts import Judged
from optbench.sequential.allocation import Open, cost, expected_seeds, next_levels, wall_of
from optbench.sequential.bench import Bench, Seen, StoreBench, View, unseen
from optbench.sequential.foresight import foresee
from optbench.sequential.journal import Journal, first_keys
from optbench.sequential.pilot import SMALLEST, least_hours
from optbench.sequential.words import foresight_line, left_line, look_line, missing_line, pilot_line

if TYPE_CHECKING:
    from optbench.suite import Cell, Contrast, Suite

Ended = Literal["resolved", "budget", "exhausted", "interrupted", "failed"]
Tell = Callable[[str], None]
ALIKE = 8
"""Seeds that all gave the very same difference, after which no more are added: two sides that answer nothing right, or
an optimizer beside itself, would cost the whole budget and still have no interval."""
CAUTIOUS = 0.1
"""The share of the budget up to which a planned pilot is run at once; a longer one is timed by one cell of each arm."""


@dataclass(frozen=True)
class Resolved:
    """What became of it: the suite with all its seeds, the contrasts at the last look (none where it ended before one),
    how many looks there were, why it ended, and the words for that: first the `foresight` after the pilot, then how it
    ended and what is missing. `failed` maps cells to a reason and a log file."""

    suite: Suite
    contrasts: list[Judged]
    looks: int
    ended: Ended
    sentences: list[str]
    margin: float
    foresight: Sequence[str] = ()
    failed: Mapping[str, tuple[str, Path]] = field(default_factory=dict)


def resolve(
    suite: Suite, results: Path, *, margin: float, seconds: float, workers: int | None = None, tell: Tell
) -> Resolved:
    """Runs the suite in processes of this machine until its contrasts are resolved to `margin`, for `seconds` at most.

    `margin` is in the unit of the contrasts' columns (0.02 is 2 points of accuracy): a difference no larger is none
    that matters. `workers` as for `run`. `tell` hears a line for each look. Called again it goes on, with `seconds`
    anew.

    Raises UserError, before anything is written or run, where nothing can be resolved (`check_resolvable`), where the
    seeds of the suite alone are planned to take longer than `seconds`, and for a damaged journal.
    """
    bench = local_bench(suite, results, workers=workers)
    return pursue(suite, Journal.of(suite, results), bench, margin=margin, seconds=seconds, tell=tell)


def local_bench(suite: Suite, results: Path, *, workers: int | None, view: View = unseen) -> StoreBench:
    """Processes of this machine."""
    from functools import partial

    from optbench.executors.devices import visible_gpus, worker_count
    from optbench.executors.local import execute

    said = suite.execution
    number = worker_count(workers, said.workers, visible_gpus())
    run = partial(execute, workers=number)
    return StoreBench(results, number, run, said.threads, said.checkpoint_minutes, view)


def check_resolvable(suite: Suite, *, margin: float, seconds: float) -> None:
    """Raises UserError where there is nothing to resolve, or nothing that added seeds could."""
    if not (0 < margin < math.inf):
        raise UserError(f"--until-resolved {margin:g}: a difference above 0 is needed, such as 0.02 for 2 points")
    if not seconds > 0:
        raise UserError(f"--max-hours {seconds / 3600:g}: a time above 0 is needed")
    if not suite.contrasts:
        raise UserError(
            f"{suite.path}: declares no contrasts, and only declared ones are resolved: add a block `contrasts:`, each "
            "with `of` and `minus`"
        )
    for contrast in suite.contrasts:
        if column(contrast.metric).direction == "neither":
            raise UserError(
                f"{suite.path}: the contrast {contrast.name!r} is of {contrast.metric}, of which neither more nor less "
                "is better: there is no verdict to come to"
            )
        if column(contrast.metric).measured:
            raise UserError(
                f"{suite.path}: the contrast {contrast.name!r} is of {contrast.metric}, which is measured: it depends "
                "on what runs beside, and more seeds do not rank it"
            )
    if not any(len(pairs_of(suite, own.of, own.minus).of) for own in suite.contrasts):
        raise UserError(f"{suite.path}: no contrast has two arms that differ in it alone")


def pursue(suite: Suite, journal: Journal, bench: Bench, *, margin: float, seconds: float, tell: Tell) -> Resolved:
    """As `resolve`, with another bench, or with the journal of the whole suite where `suite` was narrowed."""
    check_resolvable(suite, margin=margin, seconds=seconds)
    return _Pursuit(suite, journal, bench, margin, seconds, tell).run()


def seed_numbers(suite: Suite) -> Iterator[int]:
    """The seeds that are added, in their order: above those of the suite, without those that it is tuned on."""
    return (seed for seed in count(max(suite.seeds) + 1) if seed not in suite.tuning.seeds)


class _Pursuit:
    def __init__(self, suite: Suite, journal: Journal, bench: Bench, margin: float, seconds: float, tell: Tell) -> None:
        self._journal, self._bench, self._margin, self._tell = journal, bench, margin, tell
        self._budget, self._deadline = seconds, bench.now() + seconds
        keys = first_keys(suite)
        names = {key: name for name, key in reversed(keys.items())}
        self._run_of = {name: names[key] for name, key in keys.items()}
        """Arms of the same content are one run, called after the first of them."""
        self._blocks = [self._block(suite, own) for own in suite.contrasts]
        self._same = {own.name for own in suite.contrasts if self._is_one_run(suite, own)}
        there = journal.read()
        self._suite = replace(suite, added=Added(margin, {} if there is None else there.seeds))
        self._seen: list[Seen] = []
        self._looks, self._planned = 0, 0.0
        self._failed: dict[str, tuple[str, Path]] = {}
        self._stuck: set[str] = set()
        """Contrasts that got seeds and have no more of them than before: cells that ran out of memory."""
        self._before: dict[str, tuple[int, int]] = {}
        self._foresight: list[str] = []

    def run(self) -> Resolved:
        """The pilot, then round after round."""
        missing = max(0, SMALLEST - len(self._suite.seeds))
        in_contrasts = frozenset[str]().union(*self._blocks)
        pilot = self._seeds_up_to({run: missing for run in in_contrasts})
        self._suite = replace(self._suite, added=_union(self._suite.added, pilot))
        self._check_pilot()
        self._add(pilot)
        try:
            self._pilot()
            ended = self._rounds()
        except KeyboardInterrupt:
            return self._result("interrupted")
        return self._result(ended)

    # The pilot

    def _check_pilot(self) -> None:
        owed = self._bench.left(self._suite)
        if not owed:
            return
        planned = self._bench.planned(self._suite, owed)
        self._planned = planned
        if planned > self._budget:
            raise UserError(
                f"--max-hours {self._budget / 3600:.3g}: the {len(owed)} cells that have to be run before a first look "
                f"are planned to take {planned / 3600:.2g} hours; --max-hours {least_hours(planned):g} would do"
            )
        self._tell(pilot_line(len(owed), planned, self._budget))

    def _pilot(self) -> None:
        """The cells that are missing, seed by seed as long as there is time."""
        timed = self._bench.seconds(self._suite)
        owed = self._bench.left(self._suite)
        first = list({cell.arm.name: cell for cell in reversed(owed) if cell.arm.name not in timed}.values())
        if first and self._planned > CAUTIOUS * self._budget:
            self._ran(first)
        while not self._failed:
            # Cells may turn out shorter than those that were timed: then more of them fit than it seemed.
            owed, timed = self._bench.left(self._suite), self._bench.seconds(self._suite)
            fitting = _that_fit(owed, timed, workers=self._bench.workers, left=self._time_left)
            if not fitting:
                return
            self._ran(fitting)

    # Rounds

    def _rounds(self) -> Ended:
        while True:
            self._look()
            if self._failed:
                return "failed"
            if not self._unresolved():
                return "resolved"
            if self._bench.left(self._suite):
                return "budget"  # There was no time for all that was chosen.
            levels, seconds = self._levels(), self._seconds()
            contrasts = self._open()
            if not contrasts:
                return "exhausted"
            if self._looks == 1:
                self._foresee(contrasts, seconds)
            chosen = next_levels(contrasts, levels, seconds, workers=self._bench.workers, left=self._time_left)
            if not chosen:
                return "budget"
            self._add(self._seeds_up_to(chosen))
            self._ran(self._bench.left(self._suite))

    def _look(self) -> None:
        self._seen = self._bench.look(self._suite)
        self._looks += 1
        levels, owed = self._levels(), {self._run_of[cell.arm.name] for cell in self._bench.left(self._suite)}
        for seen, block in zip(self._seen, self._blocks, strict=True):
            now = min((levels[run] for run in block), default=0), seen.judged.n
            level, n = self._before.get(seen.judged.name, now)
            if now[0] > level and now[1] <= n and not block & owed:
                self._stuck.add(seen.judged.name)
            self._before[seen.judged.name] = now
        self._tell(look_line(self._looks, [seen.judged for seen in self._seen], self._time_left))

    def _foresee(self, contrasts: Sequence[Open], seconds: Mapping[str, float]) -> None:
        deviations = {seen.judged.name: seen.sd for seen in self._seen}
        metrics = {seen.judged.name: seen.judged.metric for seen in self._seen}
        found = foresee(
            contrasts,
            deviations,
            seconds,
            workers=self._bench.workers,
            left=self._time_left,
            level=self._level,
        )
        for own in found:
            self._foresight.append(foresight_line(own, metrics[own.name], self._time_left))
            self._tell(self._foresight[-1])

    def _unresolved(self) -> list[Judged]:
        return [seen.judged for seen in self._seen if seen.judged.verdict == "unresolved"]

    def _open(self) -> list[Open]:
        """The contrasts without a verdict that seeds can bring to one."""
        found = []
        for seen, block in zip(self._seen, self._blocks, strict=True):
            own = seen.judged
            if own.verdict == "unresolved" and not self._hopeless(seen, block):
                needed = expected_seeds(own.estimate, seen.sd, own.n, self._margin, level=self._level)
                found.append(Open(own.name, block, own.n, needed))
        return found

    def _hopeless(self, seen: Seen, block: frozenset[str]) -> str:
        """Why more seeds would not help, or nothing."""
        own = seen.judged
        if not block:
            return "the suite has no two arms that differ in it alone"
        if own.name in self._same:
            return "both of its sides are the very same runs"
        if own.name in self._stuck:
            return "cells of the seeds that were added ran out of memory"
        if own.n >= ALIKE and math.isfinite(own.estimate) and math.isnan(seen.sd):
            return "all of them gave the same difference, so more would not tell"
        return ""

    @property
    def _level(self) -> float:
        """Of each contrast's interval."""
        return joint_level(self._suite.family)

    @property
    def _time_left(self) -> float:
        return self._deadline - self._bench.now()

    def _ran(self, cells: Sequence[Cell]) -> None:
        if cells:
            summary = self._bench.run(cells, lambda: self._time_left > 0)
            self._failed |= summary.failed

    # Seeds and runs

    def _block(self, suite: Suite, contrast: Contrast) -> frozenset[str]:
        pairs = pairs_of(suite, contrast.of, contrast.minus)
        places = {int(place) for place in (*pairs.of, *pairs.minus)}
        return frozenset(self._run_of[suite.arms[place].name] for place in places)

    def _is_one_run(self, suite: Suite, contrast: Contrast) -> bool:
        """Whether each pair is one run under two names, so that no seed can tell its sides apart."""
        pairs = pairs_of(suite, contrast.of, contrast.minus)
        sides = [[self._run_of[suite.arms[int(place)].name] for place in side] for side in (pairs.of, pairs.minus)]
        return bool(sides[0]) and sides[0] == sides[1]

    def _seeds_up_to(self, levels: Mapping[str, int]) -> dict[str, list[int]]:
        """The first added seeds, so many, of each run, by the names of all arms that are that run."""
        return {
            arm: list(islice(seed_numbers(self._suite), levels[run]))
            for arm, run in self._run_of.items()
            if levels.get(run, 0)
        }

    def _levels(self) -> dict[str, int]:
        """How many of the seeds that are added in order each run has."""
        assert self._suite.added is not None
        found: dict[str, int] = {}
        for arm, run in self._run_of.items():
            there = set(self._suite.added.seeds.get(arm, ()))
            level = next(level for level, seed in enumerate(seed_numbers(self._suite)) if seed not in there)
            found[run] = max(found.get(run, 0), level)
        return found

    def _seconds(self) -> dict[str, float]:
        """Of one cell by run; of a run that has no record, the mean of the others."""
        timed = self._bench.seconds(self._suite)
        mean = math.fsum(timed.values()) / len(timed) if timed else 0.0
        return {run: timed.get(run, mean) for run in self._run_of.values()}

    def _add(self, seeds: Mapping[str, Sequence[int]]) -> None:
        self._suite = replace(self._suite, added=self._journal.add(self._margin, seeds))

    # The end

    def _result(self, ended: Ended) -> Resolved:
        contrasts = [seen.judged for seen in self._seen]
        sentences = list(self._foresight)
        if ended in ("resolved", "budget", "exhausted"):
            levels, seconds = self._levels(), self._seconds()
            wanted = {own.name: own for own in self._open()}
            why = {
                seen.judged.name: self._hopeless(seen, block)
                for seen, block in zip(self._seen, self._blocks, strict=True)
            }
            more = []
            for own in self._unresolved():
                found = wanted.get(own.name)
                spent = math.inf if found is None else cost(found, levels, seconds) / self._bench.workers
                needed = math.inf if found is None else found.needed
                more.append(missing_line(own, needed, spent, why[own.name]))
            sentences += [left_line(ended, len(contrasts), len(more), self._looks), *more]
        return Resolved(
            self._suite, contrasts, self._looks, ended, sentences, self._margin, self._foresight, self._failed
        )


def _that_fit(cells: Sequence[Cell], seconds: Mapping[str, float], *, workers: int, left: float) -> list[Cell]:
    """The cells of as many seeds, in their order, as can be begun in time; all of them where nobody knows how long."""
    if left <= 0:
        return []
    if any(cell.arm.name not in seconds for cell in cells):
        return list(cells)
    chosen: list[Cell] = []
    for seed in dict.fromkeys(cell.seed for cell in cells):
        more = [*chosen, *(cell for cell in cells if cell.seed == seed)]
        if wall_of([seconds[cell.arm.name] for cell in more], workers)[0] >= left:
            break
        chosen = more
    return chosen


def _union(added: Added | None, seeds: Mapping[str, Sequence[int]]) -> Added:
    assert added is not None
    names = {*added.seeds, *seeds}
    return Added(added.margin, {name: sorted({*added.seeds.get(name, ()), *seeds.get(name, ())}) for name in names})
