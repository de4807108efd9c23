"""`profile`: what an optimizer costs on a model and a device, before anything is downloaded."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from optbench.errors import UserError
from optbench.profiling.documents import check_target, csv_text, json_text, write_whole
from optbench.profiling.rows import Profile
from optbench.profiling.settings import Settings, batch_and_length, check_fractions, optimizers_of
from optbench.profiling.shapes import shapes_of
from optbench.profiling.tables import markdown, text_tables


def profile(
    models: str,
    optimizers: str,
    *,
    tokens: int | None,
    batch: int | None,
    length: int | None,
    **settings: Any,
) -> Profile:
    """Measures every optimizer on every model, telling on the error stream how far it is.

    `settings` are the other fields of `Settings`. Raises UserError for bad input, before anything is built.
    """
    shapes, specs = shapes_of(models), optimizers_of(optimizers)
    batch, length = batch_and_length(tokens, batch, length, shapes)
    check_fractions(specs, batch)

    from optbench.profiling.devices import chosen_device, conditions_of, usable_memory

    device = chosen_device(settings.pop("device"))
    chosen = Settings(batch=batch, length=length, device=device, **settings)

    from optbench.profiling.profiler import profiled, threads_set

    threads = threads_set(chosen.threads)
    usable = usable_memory(device)
    conditions = conditions_of(chosen, specs, threads=threads, usable=usable)
    tell = _Teller()
    rows = [row for shape in shapes for row in profiled(shape, specs, chosen, usable, tell)]
    return Profile(conditions, rows)


def rendered(found: Profile, format: str, *, width: int, color: bool) -> str:
    """The profile as text of a format: table, json, csv or markdown."""
    if format == "table":
        return text_tables(found, width=width, color=color)
    return {"json": json_text, "csv": csv_text, "markdown": markdown}[format](found)


def check_files(output: Path | None, plot: Path | None) -> None:
    """Raises UserError for files that could not be written, before hours are spent."""
    if output is not None:
        check_target(output, "--output")
    if plot is not None:
        from optbench.profiling.plot import check_plot

        check_plot(plot)
        check_target(plot, "--plot")
    if output is not None and plot is not None and output.resolve() == plot.resolve():
        raise UserError(f"--output and --plot are the same file: {output}")


def save(found: Profile, text: str, output: Path | None, plot: Path | None) -> None:
    """Writes the text and the figure, where they are wanted."""
    if output is not None:
        write_whole(output, lambda path: _write(path, text))
    if plot is not None:
        from optbench.profiling.plot import plot as drawn

        write_whole(plot, lambda path: drawn(found, path))


def _write(path: Path, text: str) -> None:
    path.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")


class _Teller:
    """Progress on the error stream."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, what: str) -> None:
        print(f"{time.monotonic() - self._start:6.1f} s  {what}", file=sys.stderr, flush=True)
