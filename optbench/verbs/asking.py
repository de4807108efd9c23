"""Verbs that need no records."""

from __future__ import annotations

from typing import Annotated

import typer

from optbench.verbs.options import Text, json_text, say


def list_(format: Text = "table") -> None:
    """List the presets and kinds of every axis, and the metrics."""
    from optbench.commands.presets import presets, presets_text

    content = presets()
    say(json_text(content) if format == "json" else presets_text(content))


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A preset or kind of `optbench list`; or suite, training, schedule, budget, execution, tuning.",
        ),
    ],
) -> None:
    """Show the full spec of a preset, or the keys of a suite file, all defaults stated, as YAML."""
    from optbench.commands.shown import shown, shown_text

    say(shown_text(shown(name)))


def schema() -> None:
    """Print the JSON schema of suite files, for editors."""
    from optbench.schema import suite_schema

    say(json_text(suite_schema()))
