"""`conform`: whether an optimizer is fit to be compared."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from optbench.verbs.options import Text, refuse_torchrun, say, width


def conform(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET",
            help="file.py:Class, package.module:Class, a preset, or an entry of a suite's optimizers in JSON.",
        ),
    ],
    *,
    lr: Annotated[float | None, typer.Option(help="The base rate; 0.001 for a class, unless said.")] = None,
    format: Text = "table",
) -> None:
    """Examine whether an optimizer is fit to be compared: what it updates, its rate, its state; takes seconds."""
    refuse_torchrun("conform")
    from optbench.commands import conform as conforming

    try:
        found = conforming.conform(targets, lr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(130) from None
    say(conforming.rendered(found, format, width=width()))
    if not conforming.all_fit(found):
        raise typer.Exit(1)
