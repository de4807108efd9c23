"""Checkpoints on disk: what an unfinished run needs to go on, below `checkpoints/<key>/<steps done>/` of the results.

Each is a folder that appears whole or not at all, sealed like a record: `checkpoint.json` says whose it is and how far
it got, `state.json` holds the state but for its tensors, which lie in `tensors-*.safetensors`. Nothing in here is a
result: the whole folder may be deleted at any time, and costs the time that it would have saved.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from optbench import seal
from optbench.errors import UserError
from optbench.store import Store

SCHEMA = 1
"""Raised when what a checkpoint holds, or its layout, changes."""
FOLDER, STATEMENT, STATE, TENSORS = "checkpoints", "checkpoint.json", "state.json", "tensors-{:03}.safetensors"
KEPT = 2


class Damaged(Exception):
    """A checkpoint that is not what was written; the text says what is wrong."""


@dataclass(frozen=True)
class Statement:
    """Whose checkpoint it is: the key of the cell or probe, `step` steps done of `steps`, what it was made with, the
    panels that look along, seconds of work so far, and how often the run had been continued."""

    key: str
    step: int
    steps: int
    made: Mapping[str, Any]
    panels: list[str] = field(default_factory=list)
    seconds: float = 0.0
    resumed: int = 0

    def text(self) -> str:
        """As it is written."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def folder_of(root: Path, key: str) -> Path:
    """Where the checkpoints of a cell or probe are."""
    return root / FOLDER / key


def newest_first(root: Path, key: str) -> list[Path]:
    """The checkpoints that are there, damaged ones among them, those with the most steps first."""
    folder = folder_of(root, key)
    try:
        found = [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    except OSError:
        return []
    return sorted(found, key=lambda path: -int(path.name))


def statement_of(folder: Path) -> Statement:
    """What a checkpoint says of itself. Raises `Damaged`; that its other files are whole is for `check` to tell."""
    text = _intact(folder, STATEMENT, _hashes(folder))
    try:
        content = json.loads(text)
        if content.pop("schema") != SCHEMA:
            raise Damaged("it has another layout than this version reads")
        return Statement(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{STATEMENT}: {error}") from error


def check(folder: Path) -> list[Path]:
    """The files of tensors, in order. Raises `Damaged` where a file is missing, cut off or not what was sealed."""
    hashes = _hashes(folder)
    for name in hashes:
        _intact(folder, name, hashes)
    count = sum(name.endswith(".safetensors") for name in hashes)
    wanted = {STATEMENT, STATE, *(TENSORS.format(index) for index in range(count))}
    if set(hashes) != wanted:
        raise Damaged(f"{seal.SEAL} covers {sorted(hashes)}")
    return [folder / TENSORS.format(index) for index in range(count)]


def prune(root: Path, key: str) -> None:
    """Keeps the newest `KEPT`."""
    for path in newest_first(root, key)[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def remove(root: Path, key: str) -> None:
    """Deletes all checkpoints of a key, and what a killed process left of one."""
    shutil.rmtree(folder_of(root, key), ignore_errors=True)
    with suppress(OSError):
        (root / FOLDER).rmdir()  # Only once it is empty.


def remove_finished(store: Store, wanted: Collection[str]) -> None:
    """Deletes the checkpoints of cells that have a record and of probes that are kept, except of those in `wanted`:
    keys of what is about to be run, for a recorded cell is run again where a panel is asked for later."""
    try:
        found = list((store.root / FOLDER).iterdir())
    except OSError:
        return  # There are none, or they are not to be had; runs do without.
    for key in (path.name for path in found):
        probe = store.root / "probes" / key[:2] / key
        if key not in wanted and (store.has(key) or probe.is_dir()):
            remove(store.root, key)


def progress_of(root: Path, key: str) -> Statement | None:
    """How far an unfinished run got, or None where no checkpoint says so. Only the statement is read."""
    return next(_whole(newest_first(root, key)), None)


def _whole(folders: list[Path]) -> Iterator[Statement]:
    for folder in folders:
        with suppress(Damaged):
            yield statement_of(folder)


def _hashes(folder: Path) -> dict[str, str]:
    try:
        found = seal.hashes_of(folder)
    except (OSError, UserError) as error:
        raise Damaged(str(error)) from error
    if found is None:
        raise Damaged(f"it has no {seal.SEAL}")
    return found


def _intact(folder: Path, name: str, hashes: Mapping[str, str]) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise Damaged(f"{name} cannot be read ({error.strerror})") from error
    if hashes.get(name) != seal.hash_of(content):
        raise Damaged(f"{name} does not match the seal")
    return content
