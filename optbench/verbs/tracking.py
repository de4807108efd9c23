"""The verb that shows records elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from optbench.reading import reads
from optbench.verbs.options import RESULTS, Checkpoint, Only, Overrides, Records, SuiteFile, say, suite_at

Push = Annotated[
    Literal["online", "offline"],
    typer.Option("--wandb", help="Straight to the server, or into a folder to be uploaded later."),
]


@reads("results")
def wandb(
    suite: SuiteFile,
    *,
    results: Records = RESULTS,
    only: Only,
    overrides: Overrides,
    model: Checkpoint = "",
    mode: Push = "offline",
) -> None:
    """Push the records of a suite to Weights & Biases: a run per cell, and one for the report; pushed again, nothing
    is doubled."""
    from optbench.archive import open_store
    from optbench.commands.wandb import wandb as pushed

    try:
        loaded = suite_at(suite, overrides, only, model, open_store(results))
        text, complete = pushed(loaded, results, mode, whole=not only)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command again continues", err=True)
        raise typer.Exit(130) from None
    say(text)
    raise typer.Exit(0 if complete else 1)
