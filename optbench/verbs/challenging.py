"""`challenge`: is my optimizer better, and how sure is that?"""

from __future__ import annotations

import re
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from optbench.verbs.options import RESULTS, Checkpoint, Only, Results, Text, Workers, json_text, refuse_torchrun, say


def challenge(
    target: Annotated[
        str,
        typer.Argument(metavar="OPTIMIZER", help="file.py:Class, package.module:Class, a preset, or a JSON mapping."),
    ],
    *,
    suite: Annotated[str, typer.Option(help="quick, board_llm, smollm2, ...: a name of suites/, or a suite file.")],
    budget: Annotated[str, typer.Option(metavar="TIME", help="For everything: 90s, 20m, 2h, 1.5h.")],
    against: Annotated[str, typer.Option(help="Optimizers of the suite, or presets, between commas.")] = "adamw,muon",
    name: Annotated[str, typer.Option(help="What it is called; by default as its class or preset.")] = "",
    lr: Annotated[
        float | None,
        typer.Option(help="Its base rate before tuning; by default its class's, else AdamW's in the suite."),
    ] = None,
    options: Annotated[str, typer.Option(metavar="JSON", help="Further arguments of its class.")] = "",
    margin: Annotated[
        float | None,
        typer.Option(help="A difference that would not matter: 0.02 of questions or nats unless said."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials of every arm; by default 8 to 24, as the budget allows.")
    ] = None,
    seeds_from: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="The first fresh seed; 10000 unless the suite uses it.")
    ] = None,
    only: Only,
    model: Checkpoint = "",
    results: Results = RESULTS,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What comes out; by default results/challenges/NAME.")
    ] = None,
    workers: Workers = None,
    format: Text = "table",
) -> None:
    """Compare an optimizer of yours with others: equal tuning, fresh seeds until it is resolved, one page to show.

    The same command again continues. Exit code 1: it fails a test that every optimizer must pass, or cells failed.
    """
    refuse_torchrun("challenge")
    began = time.monotonic()  # Imports take seconds, and a budget is one of everything.
    from optbench.challenge.finished import content_of, text_of
    from optbench.challenge.request import CHALLENGES, Request, names_of, options_of, seconds_of, suite_path
    from optbench.commands.challenge import challenge as challenged

    called = re.sub(r"[^A-Za-z0-9_.\-]", "-", name or target.rpartition(":")[2]).strip("-.") or "challenge"
    request = Request(
        target=target,
        against=names_of(against),
        suite=suite_path(suite),
        budget=seconds_of(budget),
        to=to or CHALLENGES / f"{called}-{Path(suite).stem}",
        results=results,
        name=name,
        only=only,
        model=model,
        margin=margin,
        lr=lr,
        options=options_of(options),
        trials=trials,
        seeds_from=seeds_from,
        workers=workers,
        command=shlex.join(["optbench", *map(_without_machine, sys.argv[1:])]),
    )
    try:
        finished = challenged(request, began=began)
    except KeyboardInterrupt:
        print("interrupted; what was trained is kept, and the same command again continues", file=sys.stderr)
        raise typer.Exit(130) from None
    say(json_text(content_of(finished)) if format == "json" else text_of(finished))
    if finished.code:
        raise typer.Exit(finished.code)


def _without_machine(word: str) -> str:
    """A word of the command as anybody may read it: of a path of this machine its last part alone."""
    from optbench.bundling import is_path_of_machine

    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{Path(value).name}" if is_path_of_machine(value) else word
