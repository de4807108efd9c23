"""Verbs that plan and train."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from optbench.verbs.options import (
    RESULTS,
    Only,
    Overrides,
    ReportText,
    Results,
    SuiteFile,
    Text,
    Workers,
    folder_of,
    json_text,
    report_text,
    say,
    suite_of,
)

Tracked = Annotated[
    Literal["online", "offline", "off"],
    typer.Option(help="Show the cells to Weights & Biases as they train; offline runs are uploaded later."),
]


def plan(
    suite: SuiteFile, *, results: Results = RESULTS, only: Only, overrides: Overrides = "", format: Text = "table"
) -> None:
    """Show the cells of a suite, what is done already, and what the rest will cost."""
    from optbench.commands.plan import plan as planned
    from optbench.commands.plan import plan_text
    from optbench.store import Store

    content = planned(suite_of(suite, overrides, only), Store(folder_of(results)))
    say(json_text(content) if format == "json" else plan_text(content))


def run(
    suite: SuiteFile,
    *,
    results: Results = RESULTS,
    workers: Workers = None,
    only: Only,
    overrides: Overrides = "",
    format: ReportText = "table",
    wandb: Tracked = "off",
) -> None:
    """Run the cells of a suite that have no record yet, then report."""
    try:
        from optbench.commands.run import run as ran

        loaded, records = suite_of(suite, overrides, only), folder_of(results)
        tracking = None
        if wandb != "off":
            from optbench.commands.wandb import tracking_of

            tracking = tracking_of(loaded, records, wandb, whole=not only)
        count = loaded.execution.workers if workers is None else workers
        outcome = ran(loaded, records, workers=count, tracking=tracking)
    except KeyboardInterrupt:
        print("interrupted before the first cell; the same command again continues", file=sys.stderr)
        raise typer.Exit(130) from None
    if not outcome.interrupted:
        say(report_text(loaded, results, format, panels=False))
    print(outcome.text, file=sys.stderr)
    if outcome.interrupted:
        raise typer.Exit(130)
    raise typer.Exit(0 if outcome.complete else 1)


def status(
    suite: SuiteFile, *, results: Results = RESULTS, only: Only, overrides: Overrides = "", format: Text = "table"
) -> None:
    """Show how far a suite has come, arm by arm."""
    from optbench.commands.status import status as counted
    from optbench.commands.status import status_text
    from optbench.store import Store

    content = counted(suite_of(suite, overrides, only), Store(folder_of(results)))
    say(json_text(content) if format == "json" else status_text(content))
