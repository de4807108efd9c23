"""The store: one folder per finished cell, written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench import seal
from optbench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
RECORD = "record.json"
QUESTIONS = "questions.parquet"
CURVES = "curves.parquet"
WEIGHTS = "weights.safetensors"
PANELS, PANEL = "panels", "panel.json"
CHECKPOINTS = "checkpoints"
ADDED = "added"
"""The folder of journals: which seeds were added to suites (`optbench.sequential.journal`)."""
RUN_AGAIN = "delete its folder to run the cell again"
LOOK_AGAIN = "delete its folder to have it look again"
ABANDONED_SECONDS = 24 * 3600.0
"""After which a temporary folder of another machine is taken to be left over."""


@dataclass(frozen=True)
class Record:
    """What a cell leaves behind. Everything but `measured` is equal in every repetition on the same machine.

    `checkpoints` states, by name, the identities of the pretrained models and tokenizers that entered its key (see
    `optbench.models.stated`), so that the key can be made where they are not. Records of earlier versions do not say.
    """

    key: str
    cell: Mapping[str, Any]
    outcome: str
    result: Mapping[str, float]
    plan: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    measured: Mapping[str, Any]
    checkpoints: Mapping[str, dict[str, str]] = field(compare=False, default_factory=dict)
    path: Path = field(compare=False, default=Path())

    def content(self) -> dict[str, Any]:
        """The record as JSON data."""
        return {
            "schema": SCHEMA,
            "key": self.key,
            "cell": dict(self.cell),
            "outcome": self.outcome,
            "result": dict(self.result),
            "plan": dict(self.plan),
            "optimizer": dict(self.optimizer),
            "measured": dict(self.measured),
            **({CHECKPOINTS: dict(self.checkpoints)} if self.checkpoints else {}),
        }

    def text(self) -> bytes:
        """The record as the file that it is kept in."""
        return json.dumps(self.content(), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


class Store:
    """The records below one folder, by key. Reading never creates anything."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def folder(self, key: str) -> Path:
        """Where the record of `key` is or will be."""
        return self.root / key[:2] / key

    def has(self, key: str) -> bool:
        """Whether a whole record of `key` is there."""
        return (self.folder(key) / RECORD).is_file()

    def record(self, key: str) -> Record | None:
        """The record of `key`, or None where there is none.

        Raises UserError, naming the file, for one that is damaged, differs from its seal or has another key.
        """
        path = self.folder(key) / RECORD
        try:
            text = path.read_bytes()
            content = json.loads(text)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); {RUN_AGAIN}") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: damaged record ({error}); {RUN_AGAIN}") from error
        found = record_of(content, str(path), folder=path.parent, remedy=f"; {RUN_AGAIN}")
        seal.check(path, text, RUN_AGAIN)
        if found.key != key:
            raise UserError(f"{path}: record of another cell, {found.key}: put it back in its place, or {RUN_AGAIN}")
        return found

    def records(self) -> Iterator[Record]:
        """All records, by key."""
        for path in self._files():
            found = self.record(path.parent.name)
            if found is not None:
                yield found

    def stating(self) -> Iterator[Record]:
        """The records that state checkpoints; damaged ones are passed over, for whoever reads those is told."""
        for key in self._may_state():
            with suppress(UserError):
                found = self.record(key)
                if found is not None and found.checkpoints:
                    yield found

    def _files(self) -> list[Path]:
        """The files of all records, by key; not those that a process is writing, or was when it was killed."""
        return sorted(self.root.glob(f"[0-9a-f][0-9a-f]/[!.]*/{RECORD}"))

    def _may_state(self) -> Iterator[str]:
        """Keys of all records that could state checkpoints: most do not, and need not be parsed."""
        word = f'"{CHECKPOINTS}"'.encode()
        for path in self._files():
            with suppress(OSError):
                if word in path.read_bytes():
                    yield path.parent.name

    def questions(self, key: str) -> pd.DataFrame:
        """One row per test question: id, source, question, reference, text, answer, correct, format_error."""
        import pandas as pd

        return pd.read_parquet(io.BytesIO(self._intact(self.folder(key) / QUESTIONS)))

    def curves(self, key: str) -> pd.DataFrame:
        """One row per step: step, loss, lr_scale and what else the loop noted."""
        import pandas as pd

        return pd.read_parquet(io.BytesIO(self._intact(self.folder(key) / CURVES)))

    @staticmethod
    def _intact(path: Path) -> bytes:
        """The content of a file beside a record. Raises UserError where it differs from the seal."""
        content = path.read_bytes()
        seal.check(path, content, RUN_AGAIN)
        return content

    def panel(self, key: str, panel: str) -> dict[str, Any] | None:
        """What a panel found at the cell `key`: cell, panel (its spec), result, notes, measured; None where it did not
        look. Raises UserError, naming the file, for one that is damaged, differs from its seal or is another cell's."""
        path = self.folder(key) / PANELS / panel / PANEL
        try:
            text = path.read_bytes()
            content = json.loads(text)
            if not isinstance(content["result"], dict):
                raise TypeError("no result")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path}: damaged panel ({error}); {LOOK_AGAIN}") from error
        seal.check(path, text, LOOK_AGAIN)
        if content.get("cell", key) != key:
            raise UserError(f"{path}: found at another cell, {content['cell']}; {LOOK_AGAIN}")
        found: dict[str, Any] = content
        return found

    def journals(self) -> dict[str, bytes]:
        """The journals of added seeds, by the names of their files. Raises UserError for one that cannot be read."""
        try:
            return {path.name: path.read_bytes() for path in sorted((self.root / ADDED).glob("[!.]*.json"))}
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error

    def journals_of(self, keys: Collection[str]) -> dict[str, bytes]:
        """The journals of suites all of whose arms have their first cells among `keys`. Raises UserError for one that
        is damaged."""
        found = {}
        for name, text in self.journals().items():
            try:
                arms = set(json.loads(text)["arms"].values())
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise UserError(f"{self.root / ADDED / name}: damaged journal of added seeds ({error})") from error
            if arms <= set(keys):
                found[name] = text
        return found

    def has_panel(self, key: str, panel: str) -> bool:
        """Whether the findings of a panel at the cell `key` are there."""
        return (self.folder(key) / PANELS / panel / PANEL).is_file()

    def write(self, record: Record, attachments: Callable[[Path], None]) -> Path:
        """Writes the record and whatever `attachments(folder)` writes beside it; all of it appears at once.

        Where another process was faster with the same key, its record stays and this one is dropped. Raises UserError
        where a folder without a record is in its place.
        """
        target = self.folder(record.key)

        def fill(folder: Path) -> None:
            attachments(folder)
            (folder / RECORD).write_bytes(record.text())

        write_whole(target, fill)
        self.check_place(record.key)
        return target

    def check_place(self, key: str) -> None:
        """Raises UserError where the place of the record of `key` is taken by something else: what is left of a copy
        that broke off, or of a record whose file was deleted. It would be in the way of a new one."""
        folder = self.folder(key)
        if os.path.lexists(folder) and not self.has(key) and not (folder.is_dir() and not any(folder.iterdir())):
            raise UserError(f"{folder}: has no {RECORD}; {RUN_AGAIN}")


def panels_in(folder: Path) -> list[str]:
    """The panels whose findings are in the folder of a record; not those that a process is still writing, or was when
    it was killed."""
    return sorted(path.parent.name for path in (folder / PANELS).glob(f"[!.]*/{PANEL}"))


def write_whole(target: Path, fill: Callable[[Path], None]) -> Path:
    """Makes the folder `target` with the files that `fill` writes, all of them or none, flushed to the disk.

    Records and findings of panels are sealed. Where `target` exists already, it stays as it is.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_for(target)
    temporary.mkdir()
    try:
        fill(temporary)
        if any((temporary / name).is_file() for name in (RECORD, PANEL)):
            seal.seal(temporary)
        for file in temporary.rglob("*"):
            _flush(file)
        _flush(temporary)
        try:
            temporary.rename(target)
        except OSError:
            # Renaming onto a folder that is not empty fails: someone else finished the same work first.
            if not target.is_dir():
                raise
        else:
            _flush(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def temporary_for(target: Path) -> Path:
    """A name beside `target` that says which process on which machine writes there: see `is_leftover`."""
    return target.parent / f".{target.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}{_machine()}.tmp"


@cache
def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def record_of(content: Any, where: str, *, folder: Path, remedy: str = "") -> Record:
    """The record with this content. Raises UserError, saying `where` it stands, for content that is none."""
    names = ("key", "cell", "outcome", "result", "plan", "optimizer", "measured")
    missing = [name for name in names if not isinstance(content, dict) or name not in content]
    if missing:
        raise UserError(f"{where}: damaged record (no {', '.join(missing)}){remedy}")
    if content.get("schema") != SCHEMA:
        raise UserError(f"{where}: record of schema {content.get('schema')}; this version reads schema {SCHEMA}")
    wrong = [name for name in names if not isinstance(content[name], str if name in ("key", "outcome") else dict)]
    if wrong:
        raise UserError(f"{where}: damaged record (bad {', '.join(wrong)}){remedy}")
    stated = content.get(CHECKPOINTS, {})
    if not are_checkpoints(stated):
        raise UserError(f"{where}: damaged record (bad {CHECKPOINTS}){remedy}")
    return Record(**{name: content[name] for name in names}, checkpoints=stated, path=folder)


def are_checkpoints(value: Any) -> bool:
    """Whether this states checkpoints: by name the hash of their files, or the hub id of that name with a commit."""
    return isinstance(value, dict) and all(_is_checkpoint(name, own) for name, own in value.items())


def _is_checkpoint(name: str, identity: Any) -> bool:
    if not isinstance(identity, dict) or not all(isinstance(text, str) for text in identity.values()):
        return False
    if sorted(identity) not in (["content"], ["commit", "hub"]):
        return False
    digest: str = identity["commit" if "hub" in identity else "content"]
    # A name is an id at a branch, of a model or of a tokenizer (`optbench.models.checkpoints`).
    named = "hub" not in identity or name.removeprefix("tokenizer of ").startswith(f"{identity['hub']}@")
    return named and re.fullmatch(r"[0-9a-f]{4,64}", digest) is not None


def remove_leftovers(root: Path) -> None:
    """Deletes temporary folders of processes that were killed while writing; those of live processes stay."""
    for folder in root.glob("**/.*.tmp"):
        if is_leftover(folder):
            shutil.rmtree(folder, ignore_errors=True)


def is_leftover(folder: Path) -> bool:
    """Whether this is a temporary folder of `write_whole`, and the process that was writing it is gone. Of a process on
    another machine only the age of the folder tells."""
    parts = folder.name.removesuffix(".tmp").rsplit("-", 2)
    if len(parts) != 3:
        return False
    process, machine = parts[1], parts[2][8:]
    if machine in ("", _machine()):
        return not (process.isdigit() and _is_alive(int(process)))
    try:
        return time.time() - folder.stat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        # One that has ended stays in the table of processes until its parent asks; some containers have none that does.
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2]
        return not state.lstrip().startswith(b"Z")
    except ProcessLookupError:
        return False
    except OSError:
        return True  # Nothing more is known of it here; what it writes is let alone.
