"""`profile`: what optimizers cost here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from optbench.verbs.options import say, width


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
    text = profiling.rendered(found, format, width=width(), color=color)
    say(text)
    profiling.save(found, profiling.rendered(found, format, width=100, color=False), output, plot)
