"""Verbs that plan and train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from optbench.errors import UserError
from optbench.reading import reads
from optbench.verbs.options import (
    RESULTS,
    Checkpoint,
    NoStepCheck,
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
    suite_at,
)

Tracked = Annotated[
    Literal["online", "offline", "off"],
    typer.Option(help="Show the cells to Weights & Biases as they train; offline runs are uploaded later."),
]
Executor = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Where cells run: processes of this machine, or Ray (pip install 'optbench[ray]')."),
]


def plan(
    suite: SuiteFile,
    *,
    results: Results = RESULTS,
    only: Only,
    overrides: Overrides,
    model: Checkpoint = "",
    device: Annotated[
        str, typer.Option(help="auto and cpu are at hand; or by data sheet: h100-80gb, a100-80gb, a100-40gb, ...")
    ] = "auto",
    pace: Annotated[
        Literal["auto", "measured", "nominal"],
        typer.Option(help="auto: records, else a few steps are measured where that pays, else nominal speeds."),
    ] = "auto",
    format: Text = "table",
) -> None:
    """Show the cells of a suite, what is done already, and what the rest will cost: hours, memory, disk.

    Exit code 1 says that an arm does not fit into the memory of the device.
    """
    from optbench.commands.plan import plan as planned
    from optbench.commands.plan import plan_text
    from optbench.store import Store

    store = Store(folder_of(results))
    content = planned(suite_at(suite, overrides, only, model, store), store, device=device, pace=pace)
    say(json_text(content) if format == "json" else plan_text(content))
    if content["refused"]:
        raise typer.Exit(1)


def run(
    suite: SuiteFile,
    *,
    results: Results = RESULTS,
    workers: Workers = None,
    only: Only,
    overrides: Overrides,
    model: Checkpoint = "",
    format: ReportText = "table",
    wandb: Tracked = "off",
    executor: Executor = "local",
    address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="A Ray cluster: auto, or host:port of its head.")
    ] = "",
    no_fit_check: Annotated[
        bool, typer.Option("--no-fit-check", help="Try cells that are estimated to need more memory than there is.")
    ] = False,
    no_step_check: NoStepCheck = False,
    until_resolved: Annotated[
        float | None,
        typer.Option(
            metavar="MARGIN",
            help="Then add seeds where they help most, until each declared contrast is resolved: there is a "
            "difference, or none larger than this (0.02: 2 points).",
        ),
    ] = None,
    max_hours: Annotated[
        float | None, typer.Option(metavar="HOURS", help="With --until-resolved: the time for all of it.")
    ] = None,
) -> None:
    """Run the cells of a suite that have no record yet, then report.

    Under torchrun all its processes train each cell together: torchrun --nproc-per-node 4 -m optbench run SUITE
    """
    if (until_resolved is None) != (max_hours is None):
        raise UserError("--until-resolved and --max-hours belong together: until what, and for how long at most")
    if until_resolved is not None and max_hours is not None:
        if wandb != "off":
            raise UserError(
                "--wandb: not with --until-resolved; push the records afterwards with `optbench wandb SUITE`"
            )
        _until_resolved(
            suite,
            overrides,
            only,
            model,
            folder_of(results),
            format,
            margin=until_resolved,
            hours=max_hours,
            workers=workers,
            executor=executor,
            address=address,
            fit_check=not no_fit_check,
            step_check=not no_step_check,
        )
    from optbench.distributed.launch import ranks_of_this_run

    try:
        with ranks_of_this_run() as (ranks, device):
            from optbench.commands.run import run as ran
            from optbench.store import Store

            records = folder_of(results)
            loaded = suite_at(suite, overrides, only, model, Store(records))
            tracking = None
            if wandb != "off":
                from optbench.commands.wandb import tracking_of

                tracking = tracking_of(loaded, records, wandb, whole=not only)
            outcome = ran(
                loaded,
                records,
                workers=workers,
                tracking=tracking,
                executor=executor,
                address=address,
                ranks=ranks,
                device=device,
                fit_check=not no_fit_check,
                step_check=not no_step_check,
            )
    except KeyboardInterrupt:
        print("interrupted before the first cell; the same command again continues", file=sys.stderr)
        raise typer.Exit(130) from None
    if not outcome.interrupted:
        say(report_text(loaded, results, format, panels=False))
    print(outcome.text, file=sys.stderr)
    if outcome.interrupted:
        raise typer.Exit(130)
    raise typer.Exit(0 if outcome.complete else 1)


def _until_resolved(
    path: Path,
    overrides: list[str],
    only: list[str],
    model: str,
    results: Path,
    format: ReportText,
    *,
    margin: float,
    hours: float,
    workers: int | None,
    executor: Literal["local", "ray"],
    address: str,
    fit_check: bool,
    step_check: bool,
) -> NoReturn:
    """`run` with --until-resolved, up to its exit code."""
    import json

    from optbench.commands.until_resolved import resolved_data, run_until_resolved
    from optbench.distributed.launch import ranks_of_this_run
    from optbench.selection import narrowed
    from optbench.sequential.journal import with_added
    from optbench.store import Store
    from optbench.suite import load_suite

    with ranks_of_this_run() as (ranks, _):
        if ranks.size > 1:
            raise UserError("--until-resolved: not under torchrun, for every process would have to see one clock")
        whole = with_added(load_suite(path, overrides, model), Store(results))
        try:
            outcome, ended = run_until_resolved(
                whole,
                narrowed(whole, only),
                results,
                margin=margin,
                hours=hours,
                workers=workers,
                executor=executor,
                address=address,
                fit_check=fit_check,
                step_check=step_check,
            )
        except KeyboardInterrupt:
            print("interrupted before the first cell; the same command again continues", file=sys.stderr)
            raise typer.Exit(130) from None
    if not outcome.interrupted:
        text = report_text(ended.suite, results, format, panels=False)
        if format == "json":
            text = json_text({**json.loads(text), "until_resolved": resolved_data(ended)})
        say(text)
    print(outcome.text, file=sys.stderr)
    if outcome.interrupted:
        raise typer.Exit(130)
    raise typer.Exit(0 if outcome.complete else 1)


@reads("results")
def status(
    suite: SuiteFile,
    *,
    results: Results = RESULTS,
    only: Only,
    overrides: Overrides,
    model: Checkpoint = "",
    format: Text = "table",
) -> None:
    """Show how far a suite has come, arm by arm."""
    from optbench.commands.status import status as counted
    from optbench.commands.status import status_text
    from optbench.store import Store

    store = Store(folder_of(results))
    content = counted(suite_at(suite, overrides, only, model, store), store)
    say(json_text(content) if format == "json" else status_text(content))
