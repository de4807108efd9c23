"""A profile as JSON and CSV, and how files are written: whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from optbench.errors import UserError
from optbench.profiling.rows import Profile


def json_text(profile: Profile) -> str:
    """All numbers with their conditions; what is not known is null."""
    return json.dumps(profile.plain(), indent=1, allow_nan=False) + "\n"


def csv_text(profile: Profile) -> str:
    """One row per model and optimizer; estimates and shares have a column each; what is not known is empty."""
    rows = []
    for row in profile.rows:
        plain = row.plain()
        for name in ("memory", "split"):
            plain.update({f"{name}_{part}": value for part, value in plain.pop(name).items()})
        plain["measured_layers"] = " ".join(map(str, plain["measured_layers"]))
        rows.append(
            {**plain, "device": profile.conditions["device_name"], "precision": profile.conditions["precision"]}
        )
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def check_target(path: Path, option: str) -> None:
    """Raises UserError where no file can be written at `path`."""
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; name a file")
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise UserError(f"{option} {path}: {parent} is not a folder")
    if not os.access(parent, os.W_OK):
        raise UserError(f"{option} {path}: nothing can be written in {parent}")


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a file beside `path`, and moves it there once complete. Raises UserError where it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        beside = Path(name)
        try:
            write(beside)
            # A new file has the permissions that the user's mask allows, not those of a temporary one.
            mask = os.umask(0)
            os.umask(mask)
            beside.chmod(0o666 & ~mask)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """`write_whole` of a text, which is on the disk before it has its name."""

    def fill(beside: Path) -> None:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    write_whole(path, fill)
