"""Verbs that set records beside what others found, or beside a repetition."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from optbench.errors import UserError
from optbench.reading import reads
from optbench.verbs.options import RESULTS, Only, Overrides, Records, say, suite_at, width

CompareText = Literal["table", "markdown", "json", "csv"]


@reads("results", "with_")
def compare(
    suite: Annotated[
        Path | None, typer.Argument(metavar="SUITE", help="A suite file, such as suites/quick.yaml.")
    ] = None,
    *,
    board: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="A published board: a file, or a name that --list shows.")
    ] = "",
    with_: Annotated[
        Path | None,
        typer.Option("--with", metavar="DIR", help="Other records of the same suite, paired cell by cell."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the boards: source, grade, settings, rows.")] = False,
    results: Records = RESULTS,
    metric: Annotated[str, typer.Option(help="Our column; what the suite is ranked by unless said.")] = "",
    column: Annotated[str, typer.Option(help="The setting of the board; by default where most names are shared.")] = "",
    strategy: Annotated[str, typer.Option(help="Our data strategy; uniform unless said.")] = "",
    model: Annotated[str, typer.Option(help="One of our models; by default the mean over all.")] = "",
    reference: Annotated[str, typer.Option(help="The optimizer that gains are over.")] = "adamw",
    pair: Annotated[
        list[str],
        typer.Option(
            default_factory=list,
            show_default=False,
            metavar="OURS=THEIRS",
            help="Compare an optimizer of the suite with a method of the board of another name.",
        ),
    ],
    only: Only,
    overrides: Overrides,
    format: CompareText = "table",
) -> None:
    """Set a suite beside a published board, or beside other records of the same suite."""
    from optbench.archive import open_store
    from optbench.commands import compare as comparing

    if [bool(board), with_ is not None, list_].count(True) != 1:
        raise UserError("compare needs one of --board NAME, --with DIR and --list")
    if list_:
        say(comparing.listed(format, width=width()))
        return
    if suite is None:
        raise UserError("compare needs a suite, as in `optbench compare suites/quick.yaml --board NAME`")
    loaded = suite_at(suite, overrides, only, "", open_store(results))
    if with_ is not None:
        given = {"--column": column, "--strategy": strategy, "--model": model, "--pair": pair}
        for option in (name for name, value in given.items() if value):
            raise UserError(f"{option} belongs to --board; with --with, narrow the suite with --only")
        say(comparing.beside_repetition(loaded, results, with_, format, metric=metric, width=width()))
        return
    text = comparing.beside_board(
        loaded,
        board,
        results,
        format,
        metric=metric,
        column=column,
        strategy=strategy,
        model=model,
        reference=reference,
        pairs=pair,
        width=width(),
    )
    say(text)
