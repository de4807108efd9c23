"""Archives: the records of suites as one line each, small enough to be committed as evidence.

A line is the content of record.json and, under `panels`, what panels found, by their keys; or, under `added`, a journal
of the seeds that were added to one of the suites. Answers to questions, curves, tables and weights stay in the store,
and so do the notes of single observed steps. An archive is read where a store is.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.bundle import SUFFIX as BUNDLE
from optbench.bundle import Bundle
from optbench.errors import UserError
from optbench.store import Record, Store, panels_in, record_of

if TYPE_CHECKING:
    import pandas as pd

SUFFIX = ".jsonl"


class Archive(Store):
    """Records read from archives, with the reading interface of a store: there are no questions and no curves."""

    def __init__(self, root: Path | str, files: Sequence[Path]) -> None:
        """Reads all files. Raises UserError, naming file and line, for a damaged line, and for two records of one key
        that differ."""
        super().__init__(root)
        self._lines: dict[str, tuple[str, Record, Mapping[str, Any]]] = {}
        self._journals: dict[str, bytes] = {}
        for file in files:
            self._read(file)

    def has(self, key: str) -> bool:
        """Whether there is a record of `key`."""
        return key in self._lines

    def record(self, key: str) -> Record | None:
        """The record of `key`, or None where there is none."""
        return self._lines[key][1] if key in self._lines else None

    def records(self) -> Iterator[Record]:
        """All records, by key."""
        for key in sorted(self._lines):
            yield self._lines[key][1]

    def _may_state(self) -> Iterator[str]:
        yield from sorted(self._lines)

    def panel(self, key: str, panel: str) -> dict[str, Any] | None:
        """What a panel found at the cell `key`; None where it did not look."""
        found = self._lines[key][2].get(panel) if key in self._lines else None
        return None if found is None else dict(found)

    def has_panel(self, key: str, panel: str) -> bool:
        """Whether the findings of a panel at the cell `key` are there."""
        return self.panel(key, panel) is not None

    def journals(self) -> dict[str, bytes]:
        """The journals of added seeds, by the names of their files."""
        return self._journals

    def questions(self, key: str) -> pd.DataFrame:
        """Raises UserError: an archive does not keep them."""
        raise UserError(f"{self.root}: an archive keeps no answers to questions")

    def curves(self, key: str) -> pd.DataFrame:
        """Raises UserError: an archive does not keep them."""
        raise UserError(f"{self.root}: an archive keeps no curves")

    def write(self, record: Record, attachments: object) -> Path:
        """Raises UserError: an archive is read alone."""
        raise UserError(f"{self.root}: an archive is read, never written to; results of runs need a folder")

    def _read(self, file: Path) -> None:
        try:
            lines = file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: cannot be read: {error}") from error
        for number, text in enumerate(lines, start=1):
            if not text:
                continue
            where = f"{file}:{number}"
            content = _content(text, where)
            if isinstance(content, dict) and "added" in content:
                name, journal = _journal(content, where)
                if self._journals.get(name, journal) != journal:
                    raise UserError(f"{where}: another journal of added seeds than in a line before; archive them once")
                self._journals[name] = journal
                continue
            record, panels = _parsed(content, where, file)
            there = self._lines.get(record.key)
            if there is not None and there[1:] != (record, panels):
                raise UserError(f"{where}: another record of {record.key} than at {there[0]}")
            self._lines[record.key] = where, record, panels


def _content(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: damaged record ({error})") from error


def _journal(content: Mapping[str, Any], where: str) -> tuple[str, bytes]:
    """The name of a journal's file and its content, which whoever reads it checks."""
    name = content.get("name")
    if not isinstance(name, str) or not isinstance(content["added"], dict):
        raise UserError(f"{where}: damaged journal of added seeds")
    return name, json.dumps(content["added"], indent=1).encode()


def _parsed(content: Any, where: str, file: Path) -> tuple[Record, Mapping[str, Any]]:
    record = record_of(content, where, folder=file.parent)
    panels = content.get("panels", {})
    if not isinstance(panels, dict) or not all(
        isinstance(found, dict) and isinstance(found.get("result"), dict) for found in panels.values()
    ):
        raise UserError(f"{where}: damaged record (panels without a result)")
    return record, panels


def open_store(path: Path) -> Store:
    """The records at `path`: a store, an archive or bundle, or all archives of a folder. Nothing there yet is an empty
    store.

    Raises UserError for a file that is neither, and for a folder that holds both kinds.
    """
    if path.is_file():
        if path.suffix == BUNDLE:
            return Bundle(path)
        if path.suffix != SUFFIX:
            raise UserError(
                f"--results {path}: is a file; records need a folder, or an archive named *{SUFFIX} or *{BUNDLE}"
            )
        return Archive(path, [path])
    files = sorted(path.glob(f"*{SUFFIX}"))
    if not files:
        return Store(path)
    if any(path.glob("[0-9a-f][0-9a-f]/*/")):
        raise UserError(f"--results {path}: holds records and archives ({files[0].name}); keep them apart")
    return Archive(path, files)


def write_archive(keys: Sequence[str], store: Store, target: Path) -> int:
    """Writes the records of these keys that are there, sorted by key, and says how many. What was there is replaced.

    The file appears whole or not at all, and so do the folders it needs. Raises UserError where there is no record, for
    a record that names a path of this machine, and for a target that is no *.jsonl or cannot be written.
    """
    if target.suffix != SUFFIX:
        raise UserError(f"--to {target}: an archive is named *{SUFFIX}")
    lines = [line for key in sorted(set(keys)) if (line := _line(key, store))]
    if not lines:
        raise UserError(f"no records of these suites in {store.root}")
    records = len(lines)
    for name, text in store.journals_of(keys).items():
        journal = {"added": json.loads(text), "name": name}
        lines.append(json.dumps(journal, sort_keys=True, separators=(",", ":"), allow_nan=False))
    # Not Path.exists, which raises where a folder on the way may not be searched.
    made = [folder for folder in target.parents if not os.path.lexists(folder)]
    temporary = target.with_name(f".{target.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        _clear(temporary, made)
        if isinstance(error, OSError):
            raise UserError(f"--to {target}: cannot be written: {error.strerror or error}") from error
        raise
    return records


def _clear(temporary: Path, made: Sequence[Path]) -> None:
    """Removes what a failed write left: its file, and the folders it made, innermost first, where they are empty."""
    with contextlib.suppress(OSError):
        temporary.unlink()
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _line(key: str, store: Store) -> str:
    record = store.record(key)
    if record is None:
        return ""
    content = record.content()
    content["optimizer"].pop("observed", None)
    panels = {panel: store.panel(key, panel) for panel in panels_in(store.folder(key))}
    if panels:
        content["panels"] = panels
    for place, text in _texts(content, key):
        if Path(text).is_absolute():
            raise UserError(f"{place} is {text!r}, a path of this machine; an archive is for everybody to read")
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """All texts inside a value, each with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts(item, f"{place}[{index}]")
