"""The command line. Exit codes: 0 all is well, 1 some cells have no record, 2 bad input, 130 interrupted.

Every verb imports what it needs when it runs, so that help is there at once and nothing but `run` waits for torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from optbench.errors import UserError
from optbench.verbs import (
    asking,
    challenging,
    comparing,
    conforming,
    data,
    keeping,
    profiling,
    reading,
    running,
    tracking,
    tuning,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train models under many optimizers and data strategies, and compare them fairly.",
)

VERBS: dict[str, Callable[..., None]] = {
    "plan": running.plan,
    "run": running.run,
    "tune": tuning.tune,
    "challenge": challenging.challenge,
    "status": running.status,
    "report": reading.report,
    "claims": reading.claims,
    "compare": comparing.compare,
    "archive": reading.archive,
    "export": keeping.export,
    "merge": keeping.merge,
    "verify": keeping.verify,
    "wandb": tracking.wandb,
    "list": asking.list_,
    "show": asking.show,
    "profile": profiling.profile,
    "conform": conforming.conform,
    "upsample": data.upsample,
    "augment": data.augment,
    "schema": asking.schema,
}
for name, verb in VERBS.items():
    app.command(name=name)(verb)


def main() -> None:
    """The entry point. A user's mistake is one message on the error stream and exit code 2."""
    # For torch on Linux: large tensors on pages of 2 MiB, which halves what allocating one takes (docs/benchmarks.md).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        app()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
