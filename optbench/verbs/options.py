"""Options and answers that several verbs share."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from optbench.errors import UserError

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Suite

SuiteFile = Annotated[Path, typer.Argument(metavar="SUITE", help="A suite file, such as suites/quick.yaml.")]
Results = Annotated[Path, typer.Option(help="The folder of records.")]
Only = Annotated[
    list[str],
    typer.Option(
        default_factory=list,
        show_default=False,
        help="Some arms: axis=name with * and ?, comma-separated, such as model=*-nano,optimizer=sam.",
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option(
        default_factory=list,
        show_default=False,
        metavar="FILE",
        help="A YAML list of overrides on top of the suite's own; one more on top of that.",
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Cells at a time; by default one per GPU, else as the suite says.")
]
Checkpoint = Annotated[
    str,
    typer.Option("--model", metavar="DIR", help="A checkpoint, directory or hub id, in place of the suite's models."),
]
NoStepCheck = Annotated[
    bool, typer.Option("--no-step-check", help="Try optimizers of elsewhere whose first step fails when it is tried.")
]
Text = Literal["table", "json"]
ReportText = Literal["table", "markdown", "csv", "json", "latex"]
ClaimsText = Literal["table", "markdown", "json"]
Records = Annotated[Path, typer.Option(help="The folder of records, or archives of them (*.jsonl, or their folder).")]
RESULTS = Path("results/runs")
CLAIMS = Path("suites/claims")


def suite_of(path: Path, overrides: list[str], only: list[str], model: str = "") -> Suite:
    """The suite of a file, with overrides on top, of another model where one is given, and narrowed to some arms."""
    from optbench.selection import narrowed
    from optbench.suite import load_suite

    return narrowed(load_suite(path, overrides, model), only)


def suite_at(path: Path, overrides: list[str], only: list[str], model: str, store: Store) -> Suite:
    """As `suite_of`, with the seeds that `run --until-resolved` added to the suite in this store."""
    from optbench.selection import narrowed
    from optbench.sequential.journal import with_added
    from optbench.suite import load_suite

    return narrowed(with_added(load_suite(path, overrides, model), store), only)


def refuse_torchrun(verb: str) -> None:
    """Raises UserError where torchrun has started this process as one of several: each would do all of it."""
    from optbench.distributed.launch import is_launched

    if is_launched(os.environ):
        raise UserError(
            f"{verb}: not under torchrun, for each of its processes would do all of it: start it as optbench {verb} ..."
        )


def folder_of(results: Path) -> Path:
    """The folder of records that is written to. Raises UserError for a file."""
    if results.exists() and not results.is_dir():
        raise UserError(f"--results {results}: is a file; records need a folder")
    return results


def report_text(suite: Suite, results: Path, format: ReportText, *, panels: bool = True) -> str:
    """The report of a suite, for the terminal at hand."""
    from optbench.archive import open_store
    from optbench.reports.leaderboard import render

    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return render(suite, open_store(results), format, width=width(), color=color, panels=panels)


def width() -> int:
    """Columns of the terminal, or 100 in a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100


def json_text(content: Any) -> str:
    """Strict JSON."""
    import json

    return json.dumps(content, indent=1, allow_nan=False)


def say(text: str) -> None:
    """Prints to standard output, whose reader may be gone."""
    try:
        print(text.rstrip("\n"), flush=True)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; without this Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
