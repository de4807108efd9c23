"""A challenge from beginning to end: examine, plan, tune, add seeds, then look, measure and write (`closing`).

Whatever is trained is a record, so that the same command goes on after an interruption. Each stage gets what the others
leave it, less a reserve for what comes after it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optbench.challenge.allowance import Allowance, Clock, Tell
from optbench.challenge.budget import FEWEST_SEEDS, FEWEST_TRIALS, Division, Prices, cost_seconds, divided, spelled
from optbench.challenge.closing import Closing
from optbench.challenge.finished import Finished
from optbench.challenge.folder import Folder
from optbench.challenge.progress import Progress, progress_in
from optbench.challenge.reading import Challenge
from optbench.challenge.tools import Tools
from optbench.commands.tables import duration
from optbench.conformance.finding import is_fit
from optbench.errors import UserError
from optbench.executors.events import failure
from optbench.store import Store
from optbench.tuning.edges import edges_of
from optbench.tuning.engine import Unfinished

if TYPE_CHECKING:
    from optbench.conformance.finding import Finding
    from optbench.sequential.engine import Resolved
    from optbench.suite import Suite
    from optbench.tuning.record import Tuned

LEAST_SECONDS = 0.001
"""What adding seeds is given where nothing is left: it reads what is there."""


def run(
    challenge: Challenge, tools: Tools, *, tell: Tell, clock: Clock = time.monotonic, reading: float = 0.0
) -> Finished:
    """Runs it; `reading` it took so many seconds of the budget. Raises UserError, before anything is trained, where a
    package is missing or the budget is too small, and KeyboardInterrupt, after which the same command goes on."""
    tools.check()
    request, there = challenge.request, progress_in(challenge.folder, challenge.of)
    allowance = Allowance(request.budget, tell, spent=there.seconds, clock=clock)
    if there.seconds:
        tell(f"going on: {duration(allowance.used)} of the budget were spent before")
    allowance.spent["reading"] = allowance.spent.get("reading", 0.0) + reading
    for line in challenge.said:
        tell(line)
    with allowance.stage("conformance", f"examining {challenge.entrant.name}"):
        findings = tools.examine(challenge.spec)
    if not is_fit(findings):
        return Finished("not conforming", findings, spent=allowance.spent)
    with allowance.stage("plan", "estimating times"):
        prices = tools.prices(
            challenge.suite,
            Store(request.results),
            budget=request.budget,
            workers=request.workers,
            panels=challenge.panels,
            seeds=len(challenge.suite.seeds),
        )
        division = _planned(challenge, there, prices, allowance)
    folder = Folder(challenge)
    try:
        return _Training(folder, tools, allowance, findings, prices, division).run()
    except Unfinished as reason:
        return Finished("failed", findings, spent=allowance.spent, failed={"tuning": str(reason)})
    finally:
        folder.save(spent=dict(allowance.spent))


def _planned(challenge: Challenge, there: Progress, prices: Prices, allowance: Allowance) -> Division:
    """The division of the budget. Where trials were run before, no lack of time is a reason to refuse: nobody knows how
    many of them are left, and what is there is shown."""
    asked = challenge.request.trials
    if there.has_begun and asked in (None, there.trials):
        reserve = prices.page + cost_seconds(allowance.budget)
        seeds = math.floor(max(0.0, allowance.left - reserve) / max(prices.seed, 1e-9))
        return Division(there.trials, seeds, FEWEST_SEEDS, 0.0, reserve)
    return divided(prices, allowance.budget, allowance.used, trials=asked or there.trials or None)


@dataclass
class _Training:
    """Trials and seeds, once the folder is there."""

    folder: Folder
    tools: Tools
    allowance: Allowance
    findings: Sequence[Finding]
    prices: Prices
    division: Division

    def run(self) -> Finished:
        challenge, allowance = self.folder.challenge, self.allowance
        suite = self.folder.write_suite()
        planned = self.division.sentence(allowance.budget, len(suite.arms))
        allowance.tell(planned)
        if planned not in self.folder.progress.plan and not self.folder.is_tuned:
            self.folder.save(plan=(*self.folder.progress.plan, planned))
        if not self.folder.is_tuned:
            with allowance.stage("tuning", f"the same number of trials for each of {len(suite.arms)} arms"):
                self._tune(suite)
            self.folder.save(spent=dict(allowance.spent))
        suite = self.folder.write_suite(tuned=True)
        with allowance.stage("seeds", f"fresh seeds, {suite.seeds[0]:,} and on"):
            resolved = self._resolved(suite)
        self.folder.save(spent=dict(allowance.spent))
        if resolved.ended == "interrupted":
            raise KeyboardInterrupt
        if resolved.ended == "failed":
            failed = {name: failure(reason, log) for name, (reason, log) in resolved.failed.items()}
            return Finished("failed", self.findings, spent=allowance.spent, failed=failed)
        self._check_any(resolved)
        closing = Closing(self.folder, self.tools, allowance, self.findings, self.prices, resolved)
        # What was said before the first trial, also where a later call of the same command writes the page.
        closing.plan = [*self.folder.progress.plan, *resolved.foresight]
        left = resolved.sentences[len(resolved.foresight) :] if resolved.ended != "resolved" else []
        closing.limits = [*left, *self._edges(suite), *challenge.said, *self._limits()]
        return closing.run(panel_seeds=self.division.panel_seeds)

    def _tune(self, suite: Suite) -> None:
        """Tunes all arms and writes what was chosen. The first trial, of the suite's own values, says what a trial
        takes; by that the number of trials is fixed, once."""
        before = self.allowance.used
        first = self._trials(suite, 1, math.inf)
        took, cells = self.allowance.used - before, _seconds_of(first) / self.prices.workers
        self.prices = self.prices.measured(cells, max(self.prices.startup, took - cells))
        if not self.folder.progress.has_begun:
            self.division = self._divided_again(before)
        trials = self.division.trials
        self.folder.save(trials=trials, spent=dict(self.allowance.spent))
        self.allowance.tell(f"{trials} trials of each arm: a trial of all takes about {duration(self.prices.trial)}")
        reserve = self.division.reserve + self.prices.startup + FEWEST_SEEDS * self.prices.seed
        # Trials that are there take no time, and are found whatever is left.
        tuned = self._trials(suite, trials, max(self.prices.trial, self.allowance.left - reserve))
        self.folder.write_tuned(tuned)
        self.division = replace(self.division, trials=self.folder.progress.trials)

    def _divided_again(self, used: float) -> Division:
        """The division at measured prices. The start of workers is measured once and on a machine that may be busy: for
        its sake alone nothing is given up that was begun, for trials and seeds end by themselves when the time does."""
        asked, budget = self.folder.progress.trials or None, self.allowance.budget
        try:
            return divided(self.prices, budget, used, trials=asked)
        except UserError:
            return divided(replace(self.prices, startup=0.0), budget, used, trials=asked or FEWEST_TRIALS)

    def _trials(self, suite: Suite, trials: int, seconds: float) -> Tuned:
        request = self.folder.challenge.request
        return self.tools.tune(
            suite, request.results, trials=trials, workers=request.workers, tell=self.allowance.tell, seconds=seconds
        )

    def _resolved(self, suite: Suite) -> Resolved:
        request = self.folder.challenge.request
        return self.tools.resolve(
            suite,
            request.results,
            margin=self.folder.challenge.margin,
            seconds=max(LEAST_SECONDS, self.allowance.left - self.division.reserve),
            workers=request.workers,
            tell=self.allowance.tell,
            cell_seconds=self.prices.seed / len(suite.arms),
        )

    def _check_any(self, resolved: Resolved) -> None:
        """Raises UserError where there was no time for a single seed: there is nothing to show yet."""
        request, prices = self.folder.challenge.request, self.prices
        store = Store(request.results)
        if not any(store.has(cell.key) for cell in resolved.suite.cells()):
            least = self.allowance.used + FEWEST_SEEDS * prices.seed + self.division.reserve
            raise UserError(
                f"--budget {spelled(request.budget)}: is spent, and no seed was run yet; the trials are kept, and the "
                f"same command with --budget {spelled(60.0 * math.ceil(least / 54.0))} goes on"
            )

    def _edges(self, suite: Suite) -> list[str]:
        """Which best values lie at the edge of what was tried, in a sentence."""
        studies = [] if suite.tuned is None else suite.tuned.studies
        found = [f"{path} of {study.optimizer} ({end})" for study in studies for path, end in edges_of(study).items()]
        if not found:
            return []
        return [
            f"At the edge of the range that was tried: {', '.join(found)}. A wider range may do better and change the "
            "verdict: widen `search_space` beside the code, or `tuning.spaces` in the suite, and repeat it."
        ]

    def _limits(self) -> list[str]:
        found = []
        if (versions := len(self.folder.progress.versions)) > 1:
            found.append(
                f"This is challenge {versions} in this folder (other code, values, baselines, seeds, trials or "
                "margins came before). The intervals do not allow for a choice among several. Challenges from one "
                "first seed on have the same seeds and the same runs of the baselines, so that a later one does not "
                "confirm an earlier one; --seeds-from takes others."
            )
        if self.division.trials < FEWEST_TRIALS:
            found.append(
                f"So few trials as {self.division.trials} leave tuning to chance: what is found better may be what was "
                f"tuned more luckily. Take at least {FEWEST_TRIALS}."
            )
        if self.division.trials < self.folder.challenge.suite.tuning.trials:
            found.append(
                f"{self.division.trials} trials of each arm; a suite that is tuned without a budget takes "
                f"{self.folder.challenge.suite.tuning.trials}."
            )
        return found


def _seconds_of(tuned: Tuned) -> float:
    """The seconds of all cells of the first trial."""
    return math.fsum(study.trials[0].seconds for study in tuned.studies)
