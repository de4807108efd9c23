"""What tuning writes: an overrides file, and beside it, as JSON, the trials behind it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from optbench.errors import UserError
from optbench.profiling.documents import write_text
from optbench.tuning.record import Study, Tuned
from optbench.tuning.space import changes_of
from optbench.yamlfile import Node


def trials_beside(path: Path) -> Path:
    """Where the trials of an overrides file are, if `tune` wrote it."""
    return path.with_suffix(".json")


def overrides_of(tuned: Tuned) -> list[dict[str, Any]]:
    """What was chosen, as a list of overrides: one for each study that chose anything."""
    return [
        {"where": study.where, "set": changes_of(study.chosen)} for study in tuned.studies if changes_of(study.chosen)
    ]


def write_tuned(tuned: Tuned, target: Path, command: str = "") -> None:
    """Writes the overrides to `target` and the trials beside it, each whole or not at all; `command` made them.

    The trials go first: an overrides file is never there without them. Raises UserError where that cannot be.
    """
    check_target(target)
    trials = json.dumps(tuned.dump(), indent=1, allow_nan=False) + "\n"
    write_text(trials_beside(target), trials)
    write_text(target, text_of(tuned, command))


def check_target(target: Path) -> None:
    """Raises UserError for a path that cannot be that of an overrides file."""
    if target.suffix not in (".yaml", ".yml"):
        raise UserError(f"--to {target}: an overrides file ends in .yaml; its trials are written beside it as .json")
    for path in (target, trials_beside(target)):
        if path.is_dir():
            raise UserError(f"--to {target}: {path} is a folder")
    above = target.parent
    while not above.exists():
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"--to {target}: nothing can be written in {above}")


def text_of(tuned: Tuned, command: str = "") -> str:
    """The overrides file: comments that say where it is from, then a list of overrides."""
    counts = sorted({len(study.trials) for study in tuned.studies})
    seeds = ", ".join(map(str, tuned.seeds))
    lines = [
        f"# Chosen by tuning the suite {tuned.suite}: {' or '.join(map(str, counts))} trials of each study, by",
        f"# the {_extreme(tuned)} {tuned.score} on the validation split, seeds of the trials: {seeds}.",
        "# Every trial is in the file of this name that ends in .json; to change a value by hand, copy this file.",
        *([f"# {command}"] if command else []),
    ]
    for study in tuned.studies:
        score = study.trials[study.best].score
        said = "no trial could be scored" if score is None else f"{tuned.score} {score:.6g}"
        where = ", ".join(name for names in study.where.values() for name in names)
        lines.append(f"# {where}: trial {study.best} of {len(study.trials)}, {said}{_pooled(study)}")
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.width = 4096
    # Values go through JSON, so that every float is written with all of its digits.
    yaml.dump(json.loads(json.dumps(overrides_of(tuned))), out)
    return "\n".join(line.replace("\n", " ") for line in lines) + "\n" + out.getvalue()


def read_tuned(path: Path, overrides: Node) -> Tuned | None:
    """The trials beside an overrides file, or None where there are none; `overrides` is what that file holds.

    Raises UserError for a file that is damaged, holds something else, or the trials of other values.
    """
    beside = trials_beside(path)
    try:
        text = beside.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{beside}: cannot be read: {error.strerror}") from error
    remedy = f"tune again, or move it away to use {path} without its trials"
    try:
        tuned = Tuned.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = f"{where}: {first['msg']}" if where else first["msg"]
        raise UserError(f"{beside}: is not what tuning writes ({said}); {remedy}") from error
    for study in tuned.studies:
        if not 0 <= study.best < len(study.trials):
            raise UserError(f"{beside}: damaged: the study of {study.optimizer} has no trial {study.best}; {remedy}")
    if json.loads(json.dumps(overrides_of(tuned))) != overrides.plain():
        raise UserError(f"{beside}: the trials of other values than those in {path}; {remedy}")
    return tuned


def without(tuned: Tuned, arms: Sequence[str]) -> Tuned | None:
    """The trials without those arms, or None where nothing is left."""
    studies = []
    for study in tuned.studies:
        kept = [name for name in study.arms if name not in arms]
        if kept:
            studies.append(study.model_copy(update={"arms": kept}))
    return tuned.model_copy(update={"studies": studies}) if studies else None


def _extreme(tuned: Tuned) -> str:
    return "lowest" if tuned.direction == "lower" else "highest"


def _pooled(study: Study) -> str:
    return f", the mean over {len(study.arms)} arms" if len(study.arms) > 1 else ""
