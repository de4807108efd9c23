"""What comes after the seeds: panels, what a step costs, the bundle, the page and its row."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.bundling import write_bundle
from optbench.challenge import folder as names
from optbench.challenge.allowance import Allowance
from optbench.challenge.budget import SLACK, Prices, cost_seconds, panels_that_fit
from optbench.challenge.content import Content
from optbench.challenge.cost import NotProfiled, profile_text, read_profile
from optbench.challenge.finished import Finished, content_of
from optbench.challenge.folder import Folder
from optbench.challenge.tools import Tools
from optbench.commands.tables import duration
from optbench.reports.leaderboard import report_of
from optbench.reports.terminal import table
from optbench.sequential.journal import Journal
from optbench.store import Store

if TYPE_CHECKING:
    from optbench.conformance.finding import Finding
    from optbench.profiling.rows import Profile
    from optbench.sequential.engine import Resolved
    from optbench.suite import Suite

WIDTH = 100


@dataclass
class Closing:
    """The end of a challenge. `plan` and `limits` are sentences for the page."""

    folder: Folder
    tools: Tools
    allowance: Allowance
    findings: Sequence[Finding]
    prices: Prices
    resolved: Resolved
    plan: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def run(self, *, panel_seeds: int) -> Finished:
        """Does as much of it as there is time for, and writes the page whatever the time."""
        with self.allowance.stage("panels", "what panels find on the first seeds"):
            panels = self._panels(panel_seeds)
        self.folder.save(spent=dict(self.allowance.spent))
        with self.allowance.stage("cost", "what a step costs, one process at a time"):
            profiles = self._profiles()
        self.folder.save(spent=dict(self.allowance.spent))
        with self.allowance.stage("page", "report, bundle and page"):
            return self._written(panels, profiles)

    def _panels(self, seeds: int) -> list[Any]:
        """Has the panels look, as far as there is time; those to be shown."""
        challenge, suite = self.folder.challenge, self.resolved.suite
        panels = list(challenge.panels)
        if not panels:
            self.limits.append("No panel applies to these tasks.")
            return []
        closing = self.prices.page + cost_seconds(self.allowance.budget)
        fits = panels_that_fit(self.prices, self.allowance.left - closing)
        cell_seconds = self.prices.panels / len(suite.arms) * self.prices.workers
        looked = self.tools.look(
            suite,
            panels,
            challenge.request.results,
            seeds=suite.seeds[: max(1, min(seeds, fits)) if math.isfinite(self.prices.panels) else 1],
            workers=challenge.request.workers,
            left=lambda: self.allowance.left - closing if fits else -math.inf,
            cell_seconds=SLACK * cell_seconds,
        )
        self.failed |= looked.failed
        kinds = " and ".join(panel.kind for panel in panels)
        if looked.done < looked.total:
            self.limits.append(f"Panels ({kinds}): {looked.done} of {looked.total} cells; the time was too short.")
        return panels if looked.done else []

    def _profiles(self) -> list[Profile]:
        path = self.folder.path / names.PROFILE
        if (kept := read_profile(path)) is not None:
            return [kept]
        challenge = self.folder.challenge
        seconds = min(cost_seconds(self.allowance.budget), self.allowance.left - self.prices.page)
        order = [challenge.entrant.name, *challenge.request.against]
        store = Store(challenge.request.results)
        try:
            found = self.tools.profile(self.resolved.suite, store, order, seconds=seconds, tell=self.allowance.tell)
        except NotProfiled as reason:
            self.limits.append(f"What a step costs was not measured: {reason}.")
            return []
        self.folder.write(names.PROFILE, profile_text(found))
        return [found]

    def _written(self, panels: Sequence[Any], profiles: Sequence[Profile]) -> Finished:
        challenge, folder = self.folder.challenge, self.folder
        request, store = challenge.request, Store(challenge.request.results)
        suite = replace(folder.write_suite(tuned=True, panels=panels), added=self.resolved.suite.added)
        assert suite.tuned is not None, "the suite was read with its trials"
        report = report_of(suite, store)
        bundle = self._bundle(suite, store)
        files = {
            "bundle": bundle,
            "suite": folder.path / names.SUITE,
            "tuned values": folder.path / names.TUNED,
            "LaTeX row": folder.path / names.ROW,
            "JSON": folder.path / names.JSON,
        }
        content = Content(
            name=challenge.entrant.name,
            source=challenge.code,
            against=list(request.against),
            suite=suite,
            store=store,
            report=report,
            tuned=suite.tuned,
            contrasts=self.resolved.contrasts,
            findings=self.findings,
            profiles=profiles,
            margin=challenge.margin,
            budget_seconds=request.budget,
            spent=dict(self.allowance.spent),
            plan=self.plan,
            limits=self.limits,
            command=request.command,
            files=files,
            margins=self._margins(store),
            starts=challenge.starts,
        )
        folder.write(names.ROW, self.tools.latex_row(content))
        page = self.tools.write_page(content, folder.path)
        finished = Finished(
            "failed" if self.failed else "done",
            self.findings,
            contrasts=self.resolved.contrasts,
            plan=self.plan,
            limits=self.limits,
            files={"page": page, **files},
            spent=dict(self.allowance.spent),
            table=table(replace(report, panels=[]), width=WIDTH, color=False),
            failed=self.failed,
        )
        folder.write(names.JSON, json.dumps(content_of(finished), indent=1, allow_nan=False) + "\n")
        return finished

    def _margins(self, store: Store) -> list[float]:
        """All margins that were stated: in this folder, and for these arms by others who add seeds to them."""
        mine = self.folder.progress.margins
        journal = Journal.of(self.resolved.suite, store.root).read()
        others = [] if journal is None else journal.margins
        return [*(each for each in dict.fromkeys([*others, *mine]) if each != mine[-1]), mine[-1]]

    def _bundle(self, suite: Suite, store: Store) -> Path:
        assert suite.tuned is not None
        keys = {cell.key for cell in suite.cells()}
        keys |= {key for study in suite.tuned.studies for trial in study.trials for key in trial.keys}
        target = self.folder.path / names.BUNDLE
        source = self.folder.challenge.entrant.source
        written = write_bundle(keys, [suite.path], store, target, sources=[] if source is None else [source])
        self.allowance.tell(f"{written.records} records in {target}; {duration(self.allowance.used)} used")
        return target
