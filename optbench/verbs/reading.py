"""Verbs that read records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optbench.verbs.options import (
    CLAIMS,
    RESULTS,
    ClaimsText,
    Only,
    Overrides,
    Records,
    ReportText,
    SuiteFile,
    report_text,
    say,
    suite_of,
    width,
)


def report(
    suite: SuiteFile,
    *,
    results: Records = RESULTS,
    only: Only,
    overrides: Overrides = "",
    format: ReportText = "table",
) -> None:
    """Report what the records of a suite say: the contrasts in sentences, then a table."""
    say(report_text(suite_of(suite, overrides, only), results, format))


def claims(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[CLAIMS]...", help="Claim files and folders of them.")
    ] = None,
    *,
    results: Records = RESULTS,
    format: ClaimsText = "table",
    details: Annotated[
        bool, typer.Option("--details", help="Details of all claims, not of named files alone.")
    ] = False,
) -> None:
    """Say of each claim whether it holds at the scale that was run, fails, or is undecided."""
    from optbench.commands.claims import claims as judged

    say(judged(files or [CLAIMS], results, format, details=details, width=width()))


def archive(
    suites: Annotated[list[Path], typer.Argument(metavar="SUITE...", help="Suite files.")],
    *,
    results: Records = RESULTS,
    to: Annotated[Path, typer.Option(metavar="FILE", help="The archive to write, such as results/reference/x.jsonl.")],
) -> None:
    """Write the records of suites into one small file, to be committed and read with --results."""
    from optbench.commands.archive import archive as archived

    say(archived(suites, results, to))
