"""Verbs that plan and train."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from optbench.verbs.options import (
    RESULTS,
    Checkpoint,
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
Executor = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Where cells run: processes of this machine, or Ray (pip install 'optbench[ray]')."),
]


def plan(
    suite: SuiteFile,
    *,
    results: Results = RESULTS,
    only: Only,
    overrides: Overrides = "",
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

    content = planned(suite_of(suite, overrides, only, model), Store(folder_of(results)), device=device, pace=pace)
    say(json_text(content) if format == "json" else plan_text(content))
    if content["refused"]:
        raise typer.Exit(1)


def run(
    suite: SuiteFile,
    *,
    results: Results = RESULTS,
    workers: Workers = None,
    only: Only,
    overrides: Overrides = "",
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
) -> None:
    """Run the cells of a suite that have no record yet, then report.

    Under torchrun all its processes train each cell together: torchrun --nproc-per-node 4 -m optbench run SUITE
    """
    from optbench.distributed.launch import ranks_of_this_run

    try:
        with ranks_of_this_run() as (ranks, device):
            from optbench.commands.run import run as ran

            loaded, records = suite_of(suite, overrides, only, model), folder_of(results)
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


def status(
    suite: SuiteFile,
    *,
    results: Results = RESULTS,
    only: Only,
    overrides: Overrides = "",
    model: Checkpoint = "",
    format: Text = "table",
) -> None:
    """Show how far a suite has come, arm by arm."""
    from optbench.commands.status import status as counted
    from optbench.commands.status import status_text
    from optbench.store import Store

    content = counted(suite_of(suite, overrides, only, model), Store(folder_of(results)))
    say(json_text(content) if format == "json" else status_text(content))
