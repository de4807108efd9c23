"""The verb that chooses hyper-parameters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from optbench.verbs.options import (
    RESULTS,
    Checkpoint,
    Only,
    Overrides,
    Results,
    SuiteFile,
    Text,
    Workers,
    folder_of,
    json_text,
    say,
    suite_of,
)


def tune(
    suite: SuiteFile,
    *,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Sets of values for each optimizer; by default as the suite says.")
    ] = None,
    only: Only,
    overrides: Overrides = "",
    model: Checkpoint = "",
    results: Results = RESULTS,
    workers: Workers = None,
    to: Annotated[
        str, typer.Option(metavar="FILE", help="The overrides file to write; by default results/tuned/SUITE.yaml.")
    ] = "",
    format: Text = "table",
) -> None:
    """Choose hyper-parameters on validation, by the same number of trials for every optimizer.

    Writes a file for `optbench run SUITE --overrides FILE`, and every trial beside it.
    """
    try:
        from optbench.commands.tune import command_of, tune_suite

        loaded = suite_of(suite, overrides, only, model)
        count = loaded.tuning.trials if trials is None else trials
        target = Path(to or f"results/tuned/{suite.stem}.yaml")
        chosen = [word for each in only for word in ("--only", each)]
        arms = [*chosen, *(["--model", model] if model else [])]
        at = ["--results", str(results)] if results != RESULTS else []
        # What is written names no folder of this machine.
        shown = [path if not Path(path).is_absolute() else Path(path).name for path in (str(suite), model)]
        written = ["optbench", "tune", shown[0], "--trials", str(count), *chosen]
        written += ["--model", shown[1]] if model else []
        if overrides:
            print(f"{overrides} is put over the suite for the trials, and not written with them", file=sys.stderr)
        outcome = tune_suite(
            loaded,
            folder_of(results),
            target,
            trials=count,
            workers=workers,
            command=command_of(written),
            then=command_of(["optbench", "run", str(suite), "--overrides", str(target), *arms, *at]),
        )
    except KeyboardInterrupt:
        print("interrupted before the first trial; the same command again continues", file=sys.stderr)
        raise typer.Exit(130) from None
    if outcome.content:
        say(json_text(outcome.content) if format == "json" else outcome.table)
    print(outcome.text, file=sys.stderr)
    raise typer.Exit(outcome.code)
