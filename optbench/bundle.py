"""Bundles: the records of suites in one zip, with answers, curves and findings of panels, to be published and read in
place.

    manifest.json                      format, version, what was left out, SHA-256 and size of every other file
    suites/<name>.yaml                 the suites, as they were run; the trials that they were tuned by are beside them
    suites/overrides/<name>.yaml       files that were put over the suites, with their trials beside them
    sources/<path>.py                  code of optimizers that are in no package, to be hashed and read, not run
    added/<name>.json                  which seeds were added to a suite, one look after another
    records/<ab>/<key>/...             as in a results folder, but for seals (the manifest is one), and all state
                                       their checkpoints where that could be told
    probes/<ab>/<key>/...              the probes that strategies and panels of these records took

Tables are packed anew, without loss, so that they take half the room. The same records make the same bytes as long as
the libraries of tables and compression are the same. A bundle is read as what a stranger sent: names, sizes and hashes
are checked before anything is used.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from lzma import LZMAError
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from optbench.errors import UserError
from optbench.seal import hash_of
from optbench.store import ADDED, PANEL, PANELS, RECORD, Record, Store, record_of

SUFFIX = ".zip"
FORMAT = "optbench bundle"
VERSION = 1
MANIFEST = "manifest.json"
SOURCES = "sources"
"""The folder of code that records were made with, each file at the path that the records name."""
OVERRIDES = "overrides"
"""The folder, among the suites, of files that were put over them."""
PARTS = ("questions", "curves", "panels", "tables", "probes")
"""What can be left out: `panels` are all findings, `tables` their tables alone."""

MOST_BYTES = 4 << 30
MOST_FILE_BYTES = 512 << 20
MOST_MANIFEST_BYTES = 128 << 20
MOST_RATIO = 2000
"""How much larger than in the zip a file above a megabyte may be: tables of one value are, bombs are far more so."""
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.\-]*"
_RECORD = re.compile(rf"records/(([0-9a-f]{{2}})/\2[0-9a-f]{{14}})/(?:panels/[0-9a-f]{{16}}/)?{_NAME}")
_OTHERS = re.compile(
    rf"suites/(?:{_NAME}/)*{_NAME}\.(?:ya?ml|json)|probes/([0-9a-f]{{2}})/\1[0-9a-f]{{14}}/{_NAME}"
    rf"|{SOURCES}/(?:{_NAME}/)*{_NAME}\.py|{ADDED}/{_NAME}\.json"
)


class Bundle(Store):
    """Records read from a bundle, with the reading interface of a store. Files are unpacked, each after its hash was
    checked, into a folder that goes when the bundle is closed or nobody holds it any more."""

    def __init__(self, path: Path) -> None:
        """Opens it and checks names, sizes and the manifest; hashes are checked as files are read.

        Raises UserError, naming the file, for what is no bundle or could do harm.
        """
        super().__init__(path)
        self._unpacked: set[str] = set()
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise UserError(f"{path}: cannot be read as a bundle ({error})") from error
        try:
            self._sizes = _checked_names(path, self._zip)
            self.manifest = self._manifest()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and removes what was unpacked."""
        self._zip.close()
        if "_folder" in self.__dict__:
            shutil.rmtree(self._folder, ignore_errors=True)

    def keys(self) -> list[str]:
        """The keys of all records, in order."""
        return sorted(self._by_key)

    def label(self, path: Path) -> str:
        """What an unpacked file is called: the bundle, and the name in it."""
        return f"{self.root}!{path.relative_to(self._folder).as_posix()}"

    def damaged(self, key: str) -> Iterator[tuple[str, str]]:
        """The files of a record that are not what the manifest says, each with what is wrong."""
        return self._damaged(self._by_key[key])

    def damaged_beside(self) -> Iterator[tuple[str, str]]:
        """The same of all files that belong to no record."""
        return self._damaged([name for name in self._sizes if not name.startswith("records/")])

    def suites(self) -> list[Path]:
        """The suite files, unpacked, with what they were tuned by and what was put over them beside them."""
        unpacked = [self._unpack(name) for name in sorted(self._sizes) if name.startswith("suites/")]
        over = self._folder / "suites" / OVERRIDES
        files = [path for path in unpacked if path.suffix != ".json" and path.with_suffix(".json") not in unpacked]
        return [path for path in files if path.parent != over]

    def unpacked_root(self) -> Path:
        """A folder laid out like a results folder as far as probes go, which are unpacked into it, as is the code."""
        for name in sorted(self._sizes):
            if name.startswith(("probes/", f"{SOURCES}/")):
                self._unpack(name)
        return self._folder

    def folder(self, key: str) -> Path:
        """A folder with the files of the record, unpacked when first asked for; it does not exist where there is none.

        Raises UserError for a file whose hash is not that of the manifest.
        """
        place = self._folder / "records" / key[:2] / key
        if key in self._by_key and key not in self._unpacked:
            for name in self._by_key[key]:
                self._unpack(name)
            self._unpacked.add(key)
        return place

    def has(self, key: str) -> bool:
        """Whether there is a record of `key`."""
        return key in self._by_key

    def record(self, key: str) -> Record | None:
        """The record of `key`, or None where there is none. Raises UserError for a damaged one."""
        if key not in self._by_key:
            return None
        name = _place(key, RECORD)
        found = record_of(self._json(name), f"{self.root}!{name}", folder=self.root)
        if found.key != key:
            raise UserError(f"{self.root}!{name}: record of another cell, {found.key}: get or export the bundle again")
        return found

    def records(self) -> Iterator[Record]:
        """All records, by key."""
        for key in self.keys():
            found = self.record(key)
            assert found is not None
            yield found

    def _may_state(self) -> Iterator[str]:
        yield from self.keys()

    def panel(self, key: str, panel: str) -> dict[str, Any] | None:
        """What a panel found at the cell `key`; None where it did not look. Raises UserError for a damaged one."""
        name = _place(key, f"{PANELS}/{panel}/{PANEL}")
        if name not in self._sizes:
            return None
        found = self._json(name)
        if not isinstance(found, dict) or not isinstance(found.get("result"), dict) or found.get("cell", key) != key:
            raise UserError(f"{self.root}!{name}: damaged panel; get or export the bundle again")
        return found

    def has_panel(self, key: str, panel: str) -> bool:
        """Whether the findings of a panel at the cell `key` are there."""
        return _place(key, f"{PANELS}/{panel}/{PANEL}") in self._sizes

    def journals(self) -> dict[str, bytes]:
        """The journals of added seeds, by the names of their files. Raises UserError for a damaged one."""
        names = [name for name in sorted(self._sizes) if name.startswith(f"{ADDED}/")]
        return {name.removeprefix(f"{ADDED}/"): self.read(name) for name in names}

    def write(self, record: Record, attachments: object) -> Path:
        """Raises UserError: a bundle is read alone."""
        raise UserError(f"{self.root}: a bundle is read, never written to; results of runs need a folder")

    def read(self, name: str) -> bytes:
        """A file of the bundle. Raises UserError where it is not what the manifest says."""
        content = self._bytes(name)
        stated = self.manifest["files"][name]
        if len(content) != stated["bytes"] or hash_of(content) != stated["sha256"]:
            raise UserError(f"{self.root}!{name}: its hash is not that of the manifest (damaged or edited)")
        return content

    @cached_property
    def _folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="optbench-bundle-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in sorted(self._sizes):
            if name.startswith("records/"):
                found.setdefault(name.split("/")[2], []).append(name)
        return {key: names for key, names in found.items() if _place(key, RECORD) in names}

    def _damaged(self, names: Collection[str]) -> Iterator[tuple[str, str]]:
        for name in names:
            if name != MANIFEST:
                try:
                    self.read(name)
                except UserError as error:
                    yield name, str(error).removeprefix(f"{self.root}!{name}: ")

    def _unpack(self, name: str) -> Path:
        target = self._folder.joinpath(*name.split("/"))
        if not target.exists():
            content = self.read(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return target

    def _json(self, name: str) -> Any:
        try:
            return json.loads(self.read(name))
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.root}!{name}: damaged ({error}); get or export the bundle again") from error

    def _bytes(self, name: str) -> bytes:
        try:
            with self._zip.open(name) as file:
                # One byte more than stated tells a file that is longer than it says.
                return file.read(self._sizes[name] + 1)
        except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, zlib.error, LZMAError) as error:
            raise UserError(f"{self.root}!{name}: damaged ({error})") from error

    def _manifest(self) -> dict[str, Any]:
        where = f"{self.root}!{MANIFEST}"
        if self._sizes.get(MANIFEST, MOST_MANIFEST_BYTES + 1) > MOST_MANIFEST_BYTES:
            raise UserError(f"{self.root}: is no bundle (no {MANIFEST} in it, or one far too large)")
        try:
            found = json.loads(self._bytes(MANIFEST))
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}")
            if found["version"] != VERSION:
                raise UserError(f"{where}: bundle of version {found['version']!r}; this program reads {VERSION}")
            stated = {name: (own["sha256"], own["bytes"]) for name, own in found["files"].items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{where}: is no manifest of a bundle ({error})") from error
        inside = set(self._sizes) - {MANIFEST}
        if missing := sorted(set(stated) - inside):
            raise UserError(f"{self.root}: {missing[0]!r} is in the manifest and not in the bundle")
        if foreign := sorted(inside - set(stated)):
            raise UserError(f"{self.root}: {foreign[0]!r} is in the bundle and not in its manifest")
        return dict(found)


def _place(key: str, name: str) -> str:
    return f"records/{key[:2]}/{key}/{name}"


def is_name(name: str) -> bool:
    """Whether a file of a bundle may be called so: nothing is ever unpacked anywhere else."""
    return name == MANIFEST or bool(_RECORD.fullmatch(name) or _OTHERS.fullmatch(name))


def _checked_names(path: Path, archive: zipfile.ZipFile) -> Mapping[str, int]:
    """The sizes of the files by name. Raises UserError for a name, kind or size that no bundle has."""
    sizes: dict[str, int] = {}
    for info in archive.infolist():
        name, where = info.filename, f"{path}: refused: {info.filename!r}"
        if name in sizes:
            raise UserError(f"{where} is in it twice")
        # The name as it stands in the file: zipfile cuts it at a zero byte.
        if info.orig_filename != name or not is_name(name):
            raise UserError(f"{where} is no name that a bundle has")
        if info.flag_bits & 0x1:
            raise UserError(f"{where} is encrypted")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise UserError(f"{where} is no regular file")
        if info.file_size > MOST_FILE_BYTES:
            raise UserError(f"{where} would take {info.file_size >> 20} MiB, more than {MOST_FILE_BYTES >> 20}")
        if info.file_size > 1 << 20 and info.file_size > MOST_RATIO * max(info.compress_size, 1):
            raise UserError(f"{where} would grow {info.file_size // max(info.compress_size, 1)}-fold")
        sizes[name] = info.file_size
    if sum(sizes.values()) > MOST_BYTES:
        raise UserError(f"{path}: refused: it would take {sum(sizes.values()) >> 20} MiB, more than {MOST_BYTES >> 20}")
    return sizes
