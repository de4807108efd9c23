"""What a challenge is asked for, from the words of the command line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optbench.errors import UserError, suggestion
from optbench.metrics.columns import column

SUITES = Path("suites")
"""Where a suite that is given by name lies, below the working directory."""
CHALLENGES = Path("results/challenges")
MARGINS = {"fraction": 0.02, "nats": 0.02}
"""The margin where none is given, by the unit of the column that the suite is ranked by: two points of accuracy, or
0.02 nats. For any other unit there is no number that everybody would take for small."""
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Request:
    """A challenge as it was asked for. `target` is file:Class, package:Class, a preset or a JSON mapping; `budget`
    seconds of everything; `margin` and `trials` None where the suite's unit and the budget decide them; `lr` None where
    the code or the suite says it; `seeds_from` the first fresh seed, None where the suite's seeds decide it. `to` is
    the folder of what comes out, `results` that of records; `command` repeats it.
    """

    target: str
    against: Sequence[str]
    suite: Path
    budget: float
    to: Path
    results: Path
    name: str
    only: Sequence[str] = ()
    model: str = ""
    margin: float | None = None
    lr: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    trials: int | None = None
    seeds_from: int | None = None
    workers: int | None = None
    command: str = ""


def seconds_of(text: str) -> float:
    """`90s`, `20m`, `1.5h` in seconds. Raises UserError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < seconds < math.inf:
        raise UserError(f"--budget {text}: a time above 0 with its unit, such as 90s, 20m, 2h or 1.5h")
    return seconds


def names_of(text: str) -> list[str]:
    """The baselines between commas. Raises UserError for none, or one that is there twice."""
    names = [word.strip() for word in text.split(",") if word.strip()]
    if not names:
        raise UserError("--against is empty; name optimizers of the suite, or presets, such as adamw,muon")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--against {text}: {twice[0]} is named twice")
    return names


def suite_path(text: str) -> Path:
    """The file of a suite: a path, or the name of one in `suites`. Raises UserError where it is not there."""
    path = Path(text)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        if not path.is_file():
            raise UserError(f"--suite {text}: no such file")
        return path
    named = SUITES / f"{text}.yaml"
    if not named.is_file():
        there = [each.stem for each in SUITES.glob("*.yaml")]
        raise UserError(
            f"--suite {text}: no {named} below the working directory; {suggestion(text, there)} (or give the path of a "
            "suite file)"
        )
    return named


def options_of(text: str) -> dict[str, Any]:
    """The options of the class, a JSON mapping. Raises UserError for anything else."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"--options {text}: is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f'--options {text}: must be a mapping, such as {{"weight_decay": 0.1}}')
    return found


def margin_of(given: float | None, ranked_by: str) -> float:
    """The margin in the unit of the column. Raises UserError where it is not above 0, or is needed and not given."""
    unit = column(ranked_by).unit
    if given is None:
        if unit not in MARGINS:
            known = ", ".join(f"{value:g} for {name}" for name, value in MARGINS.items())
            raise UserError(
                f"--margin: the suite is ranked by {ranked_by} ({unit or 'no unit'}), which has no margin by default "
                f"({known}): say below which difference it would not matter"
            )
        return MARGINS[unit]
    if not 0 < given < math.inf:
        raise UserError(f"--margin {given:g}: must be above 0, in the unit of {ranked_by} ({unit or 'no unit'})")
    return given


def folder_below(path: Path, option: str) -> Path:
    """The folder as a path relative to the working directory: it enters records, which name no path of a machine.

    Raises UserError for one that is elsewhere, or is a file.
    """
    here = Path.cwd().resolve()
    whole = path.expanduser().resolve()
    if not whole.is_relative_to(here) or whole == here:
        raise UserError(f"{option} {path}: must be a folder below the working directory, for records name it")
    if whole.exists() and not whole.is_dir():
        raise UserError(f"{option} {path}: is a file; a challenge needs a folder")
    return whole.relative_to(here)
