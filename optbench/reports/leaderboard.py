"""The report of a suite: computed once into tables, then written in one of five formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import pandas as pd

from optbench.errors import UserError, suggestion
from optbench.reports.answer import Answer, answer_of
from optbench.reports.compute import compute_of
from optbench.reports.contrasts import contrasts_of
from optbench.reports.frame import MISSING, OUTCOMES, arms_of, cells_table
from optbench.reports.inference import Inference, inference_of
from optbench.reports.panels import PanelTable, panels_of
from optbench.reports.pareto import front_columns
from optbench.reports.standings import Standings, standings_of
from optbench.reports.tuning import Tuning, tuning_of
from optbench.reports.tuning_text import UNTUNED, lines_of

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Suite
    from optbench.suite_command import Asked

Format = Literal["table", "markdown", "csv", "json", "latex"]


@dataclass(frozen=True)
class Report:
    """Everything a report says. The formats read this and nothing else.

    `arms` has the columns of `arms_of` and of `front_columns`. `tuning` is None where no trials are recorded; what is
    said of them stands at the end of the answer. `inference`: what intervals and marks go by, everywhere in it.
    `asked` are the options that the suite was read with: its commands carry them.
    """

    suite: str
    question: str
    ranked_by: str
    path: str
    results: str
    cells: pd.DataFrame
    arms: pd.DataFrame
    contrasts: pd.DataFrame
    standings: list[Standings]
    panels: list[PanelTable]
    compute: pd.DataFrame
    answer: Answer
    tuning: Tuning | None
    inference: Inference
    asked: Asked

    @property
    def missing(self) -> int:
        """How many cells of the suite have no record."""
        return int((self.cells["outcome"] == MISSING).sum())

    def state(self) -> str:
        """How much of the suite is there, in a sentence."""
        done = len(self.cells) - self.missing
        text = f"{done} of {len(self.cells)} cells have records"
        if self.missing:
            text += f", {self.missing} {'is' if self.missing == 1 else 'are'} missing"
        outcomes = self.cells["outcome"].value_counts()
        for outcome, words in zip(OUTCOMES[1:], ("diverged", "ran out of memory"), strict=True):
            if outcome in outcomes:
                text += f", {outcomes[outcome]} {words}"
        return text + "."

    def sentences(self) -> list[str]:
        """The declared contrasts in words, and what they leave out."""
        errors = self.contrasts["question_se"].dropna()
        # Zero is what a handful of questions answered alike gives, and would be false comfort.
        errors = errors[errors > 0]
        if not len(errors):
            return list(self.contrasts["sentence"])
        low, high = (f"{100 * error:.1f}" for error in (errors.min(), errors.max()))
        points = low if low == high else f"{low} to {high}"
        note = f"Test questions alone, trained models held fixed: standard error {points} points; new seeds add to it."
        return [*self.contrasts["sentence"], note]

    def untuned(self) -> str:
        """What is to be said of a suite without trials; nothing of one that was tuned."""
        return UNTUNED if self.tuning is None else ""

    def advice(self) -> str:
        """What to do where there is no record at all."""
        command = self.asked.run(self.path, self.results)
        return f"No records of the suite {self.suite} in {self.results}: run its {len(self.cells)} cells with {command}"


def report_of(suite: Suite, store: Store) -> Report:
    """Reads the records of the suite, once. Raises UserError where they must not be pooled, or one is damaged."""
    cells = cells_table(suite, store)
    arms = arms_of(suite, cells)
    compute = compute_of(suite, cells)
    standings = standings_of(suite, cells, arms.join(compute))
    answer, tuning = answer_of(suite, store, cells, standings), tuning_of(suite)
    if tuning is not None:
        answer = replace(answer, lines=(*answer.lines, *lines_of(tuning)))
    return Report(
        suite=suite.name,
        question=suite.question,
        ranked_by=suite.ranked_by,
        path=str(suite.path),
        results=str(store.root),
        cells=cells,
        arms=arms.join(_fronts(arms, standings)),
        contrasts=contrasts_of(suite, store, cells),
        standings=standings,
        panels=panels_of(suite, cells, arms, standings),
        compute=compute,
        answer=answer,
        tuning=tuning,
        inference=inference_of(suite),
        asked=suite.asked,
    )


def _fronts(arms: pd.DataFrame, standings: Sequence[Standings]) -> pd.DataFrame:
    parts = []
    for table in standings:
        mine = arms[(arms["task"] == table.task) & (arms["budget"].map(dict) == dict(table.given))]
        parts.append(front_columns(mine, table.fronts, table.mean.index))
    return pd.concat(parts).reindex(arms.index)


def render(
    suite: Suite, store: Store, format: Format = "table", *, width: int = 100, color: bool = False, panels: bool = True
) -> str:
    """The report as text, ending in a newline.

    `panels` False leaves their tables out of the format `table`, so that the standings are what a run ends with.
    `width` (columns) and `color` (ANSI codes; give False unless a terminal reads it) matter to the format `table`
    alone. Raises UserError for another format and for records that must not be pooled.
    """
    from optbench.reports import data, documents, terminal

    if format not in get_args(Format):
        raise UserError(f"unknown report format {format!r}; {suggestion(format, get_args(Format))}")
    report = report_of(suite, store)
    match format:
        case "table":
            if panels or not report.panels:
                return terminal.table(report, width=width, color=color)
            command = report.asked.command("report", report.path, "--results", report.results)
            rest = f"What panels found: {command}\n"
            return terminal.table(replace(report, panels=[]), width=width, color=color) + rest
        case "markdown":
            return documents.markdown_text(report)
        case "latex":
            return documents.latex_text(report)
        case "csv":
            return data.csv_text(report)
        case "json":
            return data.json_text(report)
