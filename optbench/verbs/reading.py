"""Verbs that read records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from optbench.errors import UserError
from optbench.reading import reads
from optbench.verbs.options import (
    CLAIMS,
    RESULTS,
    Checkpoint,
    ClaimsText,
    Only,
    Overrides,
    Records,
    ReportText,
    SuiteFile,
    report_text,
    say,
    suite_at,
    width,
)


@reads("results")
def report(
    suite: SuiteFile,
    *,
    results: Records = RESULTS,
    only: Only,
    overrides: Overrides,
    model: Checkpoint = "",
    format: ReportText = "table",
    html: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write one page that needs no network, DIR/index.html, instead.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the figures into DIR instead, as PNG and SVG.")
    ] = None,
    context: typer.Context,
) -> None:
    """Report what the records of a suite say: the answer and the contrasts in sentences, then tables."""
    from optbench.archive import open_store

    if html is None and figures is None:
        if results != RESULTS and not os.path.lexists(results):
            raise UserError(
                f"--results {results}: is not there; it is a folder of runs, an archive (*.jsonl) or a bundle (*.zip)"
            )
        say(report_text(suite_at(suite, overrides, only, model, open_store(results)), results, format))
        return
    source = context.get_parameter_source("format")
    if source is not None and source.name != "DEFAULT":
        raise UserError(f"--format {format}: prints the report; --html and --figures write files: ask for one of them")
    from optbench.commands.report import report_files

    loaded = suite_at(suite, overrides, only, model, open_store(results))
    for line in report_files(loaded, results, html=html, figures=figures):
        say(line)


@reads("results")
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


@reads("results")
def archive(
    suites: Annotated[list[Path], typer.Argument(metavar="SUITE...", help="Suite files.")],
    *,
    results: Records = RESULTS,
    to: Annotated[Path, typer.Option(metavar="FILE", help="The archive to write, such as results/reference/x.jsonl.")],
    overrides: Overrides,
    model: Checkpoint = "",
) -> None:
    """Write the records of suites into one small file, to be committed and read with --results."""
    from optbench.commands.archive import archive as archived

    say(archived(suites, results, to, overrides=overrides, model=model))
