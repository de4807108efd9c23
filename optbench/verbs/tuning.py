"""The verb that chooses hyper-parameters."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from optbench.verbs.options import (
    RESULTS,
    Checkpoint,
    NoStepCheck,
    Only,
    Overrides,
    Results,
    SuiteFile,
    Text,
    Workers,
    folder_of,
    json_text,
    refuse_torchrun,
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
    overrides: Overrides,
    model: Checkpoint = "",
    results: Results = RESULTS,
    workers: Workers = None,
    to: Annotated[
        str, typer.Option(metavar="FILE", help="The overrides file to write; by default results/tuned/SUITE.yaml.")
    ] = "",
    no_step_check: NoStepCheck = False,
    format: Text = "table",
) -> None:
    """Choose hyper-parameters on validation, by the same number of trials for every optimizer.

    Writes a file for `optbench run SUITE --overrides FILE`, and every trial beside it.
    """
    refuse_torchrun("tune")
    try:
        from optbench.commands.tune import tune_suite

        loaded = suite_of(suite, overrides, only, model)
        count = loaded.tuning.trials if trials is None else trials
        target = Path(to or f"results/tuned/{suite.stem}.yaml")
        if overrides:
            files = " and ".join(overrides)
            are = "are" if len(overrides) > 1 else "is"
            print(
                f"{files} {are} put over the suite for the trials, and not written with them: runs take both",
                file=sys.stderr,
            )
        unchecked = ["--no-step-check"] if no_step_check else []
        outcome = tune_suite(
            loaded,
            folder_of(results),
            target,
            trials=count,
            workers=workers,
            step_check=not no_step_check,
            # What is written names no folder of this machine.
            command=loaded.asked.shown(_without_folder).command(
                "tune", _without_folder(str(suite)), "--trials", str(count), *unchecked
            ),
            then=replace(loaded.asked, overrides=[*overrides, str(target)]).command(
                "run", suite, *(["--results", str(results)] if results != RESULTS else []), *unchecked
            ),
        )
    except KeyboardInterrupt:
        print("interrupted before the first trial; the same command again continues", file=sys.stderr)
        raise typer.Exit(130) from None
    if outcome.content:
        say(json_text(outcome.content) if format == "json" else outcome.table)
    print(outcome.text, file=sys.stderr)
    raise typer.Exit(outcome.code)


def _without_folder(path: str) -> str:
    return Path(path).name if Path(path).is_absolute() else path
