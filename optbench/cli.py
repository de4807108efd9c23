"""The command line. Exit codes: 0 all is well, 1 some cells have no record, 2 bad input, 130 interrupted.

Every verb imports what it needs when it runs, so that help is there at once and nothing but `run` waits for torch.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from optbench.errors import UserError

if TYPE_CHECKING:
    from optbench.suite import Suite

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train models under many optimizers and data strategies, and compare them fairly.",
)

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
Overrides = Annotated[str, typer.Option(metavar="FILE", help="A YAML list of overrides on top of the suite's own.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Cells at a time; by default as the suite says.")]
Text = Literal["table", "json"]
ReportText = Literal["table", "markdown", "csv", "json", "latex"]
ClaimsText = Literal["table", "markdown", "json"]
Records = Annotated[Path, typer.Option(help="The folder of records, or archives of them (*.jsonl, or their folder).")]
RESULTS = Path("results/runs")
CLAIMS = Path("suites/claims")


@app.command()
def plan(
    suite: SuiteFile, *, results: Results = RESULTS, only: Only, overrides: Overrides = "", format: Text = "table"
) -> None:
    """Show the cells of a suite, what is done already, and what the rest will cost."""
    from optbench.commands.plan import plan as planned
    from optbench.commands.plan import plan_text
    from optbench.store import Store

    content = planned(_suite(suite, overrides, only), Store(_folder(results)))
    _print(_json(content) if format == "json" else plan_text(content))


@app.command()
def run(
    suite: SuiteFile,
    *,
    results: Results = RESULTS,
    workers: Workers = None,
    only: Only,
    overrides: Overrides = "",
    format: ReportText = "table",
) -> None:
    """Run the cells of a suite that have no record yet, then report."""
    try:
        from optbench.commands.run import run as ran

        loaded = _suite(suite, overrides, only)
        outcome = ran(loaded, _folder(results), workers=loaded.execution.workers if workers is None else workers)
    except KeyboardInterrupt:
        print("interrupted before the first cell; the same command again continues", file=sys.stderr)
        raise typer.Exit(130) from None
    if not outcome.interrupted:
        _print(_report(loaded, results, format, panels=False))
    print(outcome.text, file=sys.stderr)
    if outcome.interrupted:
        raise typer.Exit(130)
    raise typer.Exit(0 if outcome.complete else 1)


@app.command()
def status(
    suite: SuiteFile, *, results: Results = RESULTS, only: Only, overrides: Overrides = "", format: Text = "table"
) -> None:
    """Show how far a suite has come, arm by arm."""
    from optbench.commands.status import status as counted
    from optbench.commands.status import status_text
    from optbench.store import Store

    content = counted(_suite(suite, overrides, only), Store(_folder(results)))
    _print(_json(content) if format == "json" else status_text(content))


@app.command()
def report(
    suite: SuiteFile,
    *,
    results: Records = RESULTS,
    only: Only,
    overrides: Overrides = "",
    format: ReportText = "table",
) -> None:
    """Report what the records of a suite say: the contrasts in sentences, then a table."""
    _print(_report(_suite(suite, overrides, only), results, format))


@app.command()
def claims(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[CLAIMS]...", help="Claim files and folders of them.")
    ] = None,
    *,
    results: Records = RESULTS,
    format: ClaimsText = "table",
    details: Annotated[
        bool, typer.Option("--details", help="Details of all claims, not of named files alone.")
    ] = False,
) -> None:
    """Say of each claim whether it holds at the scale that was run, fails, or is undecided."""
    from optbench.commands.claims import claims as judged

    _print(judged(files or [CLAIMS], results, format, details=details, width=_width()))


@app.command()
def archive(
    suites: Annotated[list[Path], typer.Argument(metavar="SUITE...", help="Suite files.")],
    *,
    results: Records = RESULTS,
    to: Annotated[Path, typer.Option(metavar="FILE", help="The archive to write, such as results/reference/x.jsonl.")],
) -> None:
    """Write the records of suites into one small file, to be committed and read with --results."""
    from optbench.commands.archive import archive as archived

    _print(archived(suites, results, to))


@app.command(name="list")
def list_(format: Text = "table") -> None:
    """List the presets and kinds of every axis, and the metrics."""
    from optbench.commands.presets import presets, presets_text

    content = presets()
    _print(_json(content) if format == "json" else presets_text(content))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of a preset: see `optbench list`.")],
) -> None:
    """Show the full spec of a preset, all defaults stated, as YAML."""
    from optbench.commands.presets import shown, shown_text

    _print(shown_text(shown(name)))


@app.command()
def profile(
    models: Annotated[
        str,
        typer.Option(help="Presets, `nano` (the small ones), `all` (the real ones), or folders with a config.json."),
    ] = "nano",
    optimizers: Annotated[
        str, typer.Option(help="Presets, or NAME={...} in JSON; commas between. AdamW always runs beside them.")
    ] = "adamw,gd,muon,sam,functional_sam",
    *,
    tokens: Annotated[int | None, typer.Option(min=2, help="Tokens of a step; 2048 unless said.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Examples of a step.")] = None,
    length: Annotated[int | None, typer.Option(min=2, help="Tokens of an example; 256 at most unless said.")] = None,
    supervised: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of an example that is supervised.")] = 0.5,
    steps: Annotated[int | None, typer.Option(min=1, help="Timed steps of a block; by default as time allows.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of blocks; by default as time allows.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to measure.")] = "auto",
    precision: Annotated[Literal["float32", "tf32", "bf16"], typer.Option(help="Of products.")] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Threads of a CPU; by default all.")] = None,
    layers: Annotated[
        int | None, typer.Option(min=2, help="Measure so many layers of each model, and extrapolate the rest.")
    ] = None,
    step_limit: Annotated[
        float, typer.Option(min=0.0, help="Seconds of an AdamW step above which a model is measured shallow (CPU).")
    ] = 3.0,
    format: Annotated[Literal["table", "json", "csv", "markdown"], typer.Option(help="Of the output.")] = "table",
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the split: .png, .pdf, .svg.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there as well.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights and tokens.")] = 0,
) -> None:
    """Measure what optimizers cost on a model and this device, and whether it fits; downloads nothing."""
    from optbench.commands import profile as profiling

    profiling.check_files(output, plot)
    try:
        found = profiling.profile(
            models,
            optimizers,
            tokens=tokens,
            batch=batch,
            length=length,
            supervised=supervised,
            steps=steps,
            rounds=rounds,
            device=device,
            precision=precision,
            threads=threads,
            layers=layers,
            step_limit=step_limit,
            seed=seed,
        )
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        raise typer.Exit(130) from None
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    text = profiling.rendered(found, format, width=_width(), color=color)
    _print(text)
    profiling.save(found, profiling.rendered(found, format, width=100, color=False), output, plot)


@app.command()
def schema() -> None:
    """Print the JSON schema of suite files, for editors."""
    from optbench.schema import suite_schema

    _print(_json(suite_schema()))


def main() -> None:
    """The entry point. A user's mistake is one message on the error stream and exit code 2."""
    # For torch on Linux: large tensors on pages of 2 MiB, which halves what allocating one takes (docs/benchmarks.md).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        app()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _suite(path: Path, overrides: str, only: list[str]) -> Suite:
    from optbench.selection import narrowed
    from optbench.suite import load_suite

    return narrowed(load_suite(path, overrides), only)


def _folder(results: Path) -> Path:
    if results.exists() and not results.is_dir():
        raise UserError(f"--results {results}: is a file; records need a folder")
    return results


def _report(suite: Suite, results: Path, format: ReportText, *, panels: bool = True) -> str:
    from optbench.archive import open_store
    from optbench.reports.leaderboard import render

    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return render(suite, open_store(results), format, width=_width(), color=color, panels=panels)


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100


def _json(content: Any) -> str:
    import json

    return json.dumps(content, indent=1, allow_nan=False)


def _print(text: str) -> None:
    try:
        print(text.rstrip("\n"), flush=True)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; without this Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
