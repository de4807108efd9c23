"""Verbs that keep records trustworthy: verifying, publishing and merging them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from optbench.reading import reads
from optbench.verbs.options import RESULTS, Checkpoint, Overrides, Records, Results, Text, json_text, say


def verify(
    target: Annotated[
        Path, typer.Argument(metavar="SUITE|DIR", help="A suite file, or a folder of records, archive or bundle.")
    ],
    *,
    results: Records = RESULTS,
    replay: Annotated[
        str, typer.Option(metavar="KEY|ARM|N", help="Train a cell again: by key, by arm, or so many of them.")
    ] = "",
    device: Annotated[str, typer.Option(help="Where replays train: cpu, cuda; auto is as it was recorded.")] = "auto",
    overrides: Overrides,
    model: Checkpoint = "",
    format: Text = "table",
) -> None:
    """Verify records: whole, unedited, in agreement with all that lies beside them, and the tables made of them."""
    from optbench.commands.verify import content_of, text_of
    from optbench.commands.verify import verify as verified

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    outcome = verified(target, results, replay=replay, device=device, overrides=overrides, model=model, say=tell)
    say(text_of(outcome) if format == "table" else json_text(content_of(outcome)))
    if not outcome.is_well:
        raise typer.Exit(1)


@reads("results")
def export(
    suites: Annotated[list[Path], typer.Argument(metavar="SUITE...", help="Suite files.")],
    *,
    to: Annotated[Path, typer.Option(metavar="FILE", help="The bundle to write, such as results/quick.zip.")],
    results: Records = RESULTS,
    without: Annotated[
        str,
        typer.Option(metavar="PARTS", help="Leave out some of: questions,curves,panels,tables (of panels),probes."),
    ] = "",
    weights: Annotated[bool, typer.Option("--weights", help="With the final weights of small models.")] = False,
    overrides: Overrides,
    model: Checkpoint = "",
) -> None:
    """Write the records of suites into one zip, to be published, read in place with --results, and merged."""
    from optbench.commands.export import export as exported

    parts = [part.strip() for part in without.split(",") if part.strip()]
    text = exported(suites, results, to, without=parts, weights=weights, overrides=overrides, model=model)
    say(text)


def merge(
    source: Annotated[Path, typer.Argument(metavar="FILE.zip|DIR", help="A bundle, or another folder of records.")],
    *,
    results: Results = RESULTS,
) -> None:
    """Add the records of a bundle or folder that are not there; conflicts are named, and what is there stays."""
    from optbench.commands.merge import merged_into
    from optbench.verbs.options import folder_of

    text, is_well = merged_into(source, folder_of(results))
    say(text)
    if not is_well:
        raise typer.Exit(1)
