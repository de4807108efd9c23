"""What lies in the folder of one record, read file by file: nothing is taken for granted, nothing stops the reading."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet

from optbench import seal
from optbench.errors import UserError
from optbench.store import CURVES, PANEL, PANELS, QUESTIONS, RECORD, WEIGHTS, is_leftover
from optbench.verification.problem import LOOK_AGAIN, RUN_AGAIN, Findings

Label = Callable[[Path], str]
"""What a file is called in problems: its path, or its place inside a bundle."""

_UNREADABLE = (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError, MemoryError, OverflowError)
"""What pyarrow and pandas raise for bytes that are no table."""


@dataclass
class Files:
    """The files of one folder that could be read: JSON content, tables by name without suffix, bytes of the rest.

    `intact` says whether nothing of it is damaged. `sealed` says whether the folder has a seal.
    """

    folder: Path
    label: Label
    content: dict[str, Any] | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    weights: bytes | None = None
    sealed: bool = False
    intact: bool = True

    def place(self, name: str) -> str:
        """What the file `name` of this folder is called in problems."""
        return self.label(self.folder / name)


@dataclass
class Evidence:
    """A record with everything beside it. `key` is the one that it is filed under; `panels` are by the names of their
    folders. `where` is the place of the record itself, `root` the results folder, where probes are. `kept` says whether
    questions, curves and weights are kept there at all, which they are not in an archive."""

    key: str
    where: str
    root: Path
    record: Files
    panels: Mapping[str, Files] = field(default_factory=dict)
    kept: bool = True

    @property
    def content(self) -> dict[str, Any] | None:
        """The record as JSON data, or None where it could not be read."""
        return self.record.content

    def sits_at(self, panel: str) -> str:
        """Where the findings of a panel are: their file, or the line of an archive."""
        files = self.panels[panel]
        return files.place(PANEL) if self.kept else f"{self.where} (panel {panel})"


def evidence_in(folder: Path, label: Label, found: Findings, *, root: Path, sealed: bool = False) -> Evidence:
    """Reads the folder of a record of the results folder `root`.

    Notes what cannot be read, differs from its seal or should not be there. `sealed` says that something else is its
    seal: the manifest of a bundle.
    """
    record = _files(folder, label, found, main=RECORD, known=(QUESTIONS, CURVES, WEIGHTS), then=RUN_AGAIN)
    panels = {}
    if (folder / PANELS).is_dir():
        for own in sorted((folder / PANELS).iterdir()):
            if own.name.startswith(".") and own.name.endswith(".tmp"):
                if is_leftover(own):
                    found.add(label(own), "left over from a process that was killed", "delete it: the next run does")
            elif own.is_dir():
                panels[own.name] = _files(own, label, found, main=PANEL, known=None, then=LOOK_AGAIN)
            else:
                found.add(label(own), "is no findings of a panel", "delete it")
    for files in (record, *panels.values()):
        files.sealed |= sealed
    return Evidence(folder.name, label(folder / RECORD), root, record, panels)


def _files(
    folder: Path, label: Label, found: Findings, *, main: str, known: tuple[str, ...] | None, then: str
) -> Files:
    """The files of a folder; `known` are the names that may be there beside the `main` one, None for any table."""
    files = Files(folder, label)
    hashes: Mapping[str, str] | None = None
    try:
        hashes = seal.hashes_of(folder)
    except UserError as error:
        text = str(error).removeprefix(f"{folder / seal.SEAL}: ")
        found.add(files.place(seal.SEAL), text, f"what it sealed is not known to be whole: {then}")
        files.intact = False
    except OSError as error:
        found.add(files.place(seal.SEAL), f"cannot be read ({error.strerror})", then)
    files.sealed = (folder / seal.SEAL).exists()
    names = {path.name for path in folder.iterdir() if path.name not in (PANELS, seal.SEAL)}
    if main not in names:
        found.add(files.place(main), "is missing: the folder holds no record", then)
    for name in sorted((hashes.keys() if hashes else set()) - names - {main}):
        found.add(files.place(name), "is missing, though the seal names it", then)
        files.intact = False
    for name in sorted(names):
        expected = name == main or (name.endswith(".parquet") if known is None else name in known)
        if not expected or (hashes is not None and name not in hashes):
            why = "is not in the seal: it was put there later" if expected else "is no file of a record"
            found.add(files.place(name), why, "delete it" if not expected else then)
            continue
        _read(files, name, hashes, found, main=main, then=then)
    return files


def _read(files: Files, name: str, hashes: Mapping[str, str] | None, found: Findings, *, main: str, then: str) -> None:
    path = files.folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        found.add(files.place(name), f"cannot be read ({error.strerror})", then)
        files.intact = False
        return
    trouble = _understand(files, name, content, main)
    if trouble:
        files.intact = False
        found.add(files.place(name), trouble, then)
    elif hashes is not None and hashes[name] != seal.hash_of(content):
        files.intact = False
        found.add(files.place(name), "does not match its seal: damaged or edited since it was written", then)


def _understand(files: Files, name: str, content: bytes, main: str) -> str:
    """Reads the content of a file into `files`; says what is wrong, or nothing."""
    if name == main:
        try:
            parsed = json.loads(content)
        except ValueError as error:
            return f"damaged: no JSON ({error})"
        if not isinstance(parsed, dict):
            return "damaged: no JSON object"
        files.content = parsed
    elif name.endswith(".parquet"):
        try:
            files.tables[name.removesuffix(".parquet")] = table_in(content)
        except _UNREADABLE as error:
            return f"damaged: no parquet table ({' '.join(str(error).split())[:120]})"
    else:
        files.weights = content
    return ""


def table_in(content: bytes) -> pd.DataFrame:
    """The table of a parquet file, every column read. Raises one of many errors of pyarrow for damaged bytes."""
    with pyarrow.parquet.ParquetFile(io.BytesIO(content)) as file:
        table = file.read(use_threads=False)
    table.validate(full=True)
    frame: pd.DataFrame = table.to_pandas()
    return frame
