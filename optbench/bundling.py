"""Writing bundles: see `optbench.bundle` for the format."""

from __future__ import annotations

import io
import json
import os
import uuid
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from optbench import seal
from optbench.bundle import FORMAT, MANIFEST, OVERRIDES, PARTS, SOURCES, SUFFIX, VERSION, Bundle, is_name
from optbench.cell import CellSpec
from optbench.errors import UserError, suggestion
from optbench.models.stated import Identity, heard, stated_checkpoints, statements_first
from optbench.store import ADDED, CURVES, PANEL, PANELS, QUESTIONS, RECORD, WEIGHTS, Record, Store, panels_in

if TYPE_CHECKING:
    import pyarrow

_STAMP = (1980, 1, 1, 0, 0, 0)
_PROBE_FILES = ("probe.json", "losses.npy")
MOST_SOURCE_BYTES = 1 << 20
GET_AGAIN = "verify says more: optbench verify"


@dataclass(frozen=True)
class Written:
    """What a bundle holds: records, files beside the manifest, and its size in bytes."""

    records: int
    files: int
    bytes: int


def write_bundle(
    keys: Collection[str],
    suites: Sequence[Path],
    store: Store,
    target: Path,
    *,
    without: Collection[str] = (),
    weights: bool = False,
    sources: Collection[Path] = (),
    overrides: Collection[Path] = (),
) -> Written:
    """Writes the records of these keys that are there, and the suite files. What was at `target` is replaced.

    `sources` are files of code that the records name by these paths, relative to the working directory. `overrides` are
    files that were put over the suites.

    `without` names parts to leave out (`PARTS`). The file appears whole or not at all. Raises UserError where there is
    no record, for one that is damaged or names a path of this machine, and for a target that is no *.zip or cannot be
    written.
    """
    if target.suffix != SUFFIX:
        raise UserError(f"--to {target}: a bundle is named *{SUFFIX}")
    for part in without:
        if part not in PARTS:
            raise UserError(f"--without {part}: is no part of a bundle; {suggestion(part, PARTS)}")
    found = [key for key in sorted(set(keys)) if store.has(key)]
    if not found:
        raise UserError(f"no records of these suites in {store.root}")
    files: dict[str, bytes] = {}
    for path in suites:
        files |= _suite(path, files)
    for path in overrides:
        files |= _overrides(path, files)
    for path in sources:
        files |= _source(path)
    for name, journal in store.journals_of(keys).items():
        files[f"{ADDED}/{name}"] = journal
    probes: set[str] = set()
    for key in found:
        for name, content in _record_files(key, store, without=without, weights=weights, probes=probes):
            files[f"records/{key[:2]}/{key}/{name}"] = content
    if "probes" not in without:
        for key in sorted(probes):
            files |= _probe(key, store)
    return Written(len(found), len(files), _write(target, files, len(found), without=without, weights=weights))


def packed(content: bytes, where: str) -> bytes:
    """A parquet table in the form that compresses best: floating-point columns split into bytes, nothing compressed by
    itself. Holds the same values, types and metadata. Raises UserError, saying `where`, for what is no table."""
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(io.BytesIO(content)) as file:
            table = file.read(use_threads=False)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{where}: damaged table ({error}); {GET_AGAIN}") from error
    split = {field.name: "BYTE_STREAM_SPLIT" for field in table.schema if pyarrow.types.is_floating(field.type)}
    target = io.BytesIO()
    parquet.write_table(
        table, target, compression="none", use_dictionary=False, column_encoding=split or None, write_statistics=False
    )
    made = target.getvalue()
    with parquet.ParquetFile(io.BytesIO(made)) as file:
        again = file.read(use_threads=False)
    assert same_table(table, again), f"{where}: packing changed the table"
    return made


def same_table(one: pyarrow.Table, other: pyarrow.Table) -> bool:
    """Whether two tables hold the same columns, types and values, bit for bit (NaN equals NaN)."""
    if one.schema.names != other.schema.names or one.schema.types != other.schema.types or len(one) != len(other):
        return False
    return all(_bits(one[name]) == _bits(other[name]) for name in one.schema.names)


def _bits(column: pyarrow.ChunkedArray) -> Any:
    import pyarrow

    if pyarrow.types.is_floating(column.type):
        # As bytes: 0.0 and -0.0 are two values, and NaN is one.
        return column.null_count, column.to_numpy().tobytes()
    return column.to_pylist()


def _record_files(
    key: str, store: Store, *, without: Collection[str], weights: bool, probes: set[str]
) -> Iterator[tuple[str, bytes]]:
    folder = store.folder(key)
    if not (folder / RECORD).is_file():
        raise UserError(f"{store.root}: is an archive, which keeps no curves; a bundle is made of a folder of runs")
    record = store.record(key)  # Checks it, and its seal.
    assert record is not None
    probes |= _named_probes(record.plan)
    yield RECORD, _stating(record, _text(folder, RECORD, key))
    wanted = [name for part, name in (("questions", QUESTIONS), ("curves", CURVES)) if part not in without]
    for name in wanted:
        if (folder / name).is_file():
            yield name, packed(_intact(folder / name), str(folder / name))
    if weights and (folder / WEIGHTS).is_file():
        yield WEIGHTS, _intact(folder / WEIGHTS)
    for panel in panels_in(folder) if "panels" not in without else []:
        found = store.panel(key, panel)
        assert found is not None
        probes |= _named_probes(found["notes"])
        place = f"{PANELS}/{panel}"
        yield f"{place}/{PANEL}", _text(folder / place, PANEL, f"{key} panel {panel}")
        for table in sorted((folder / place).glob("*.parquet")) if "tables" not in without else []:
            yield f"{place}/{table.name}", packed(_intact(table), str(table))


def _stating(record: Record, text: bytes) -> bytes:
    """The text of a record stating the checkpoints that its key was made with, and no others. An earlier version did
    not state them: they are looked at here, and stated only where they make the key of the record."""
    with stated_checkpoints(record.checkpoints.get), statements_first():
        made = _made_with(record)
    made = made or _made_with(record)
    if made is None or made == record.checkpoints:
        return text
    return replace(record, checkpoints=made).text()


def _made_with(record: Record) -> dict[str, Identity] | None:
    """The checkpoints that make the key of a record; none where they make another key, None where that cannot be told
    here."""
    try:
        with heard() as named:
            key = CellSpec.model_validate(dict(record.cell)).key
    except (ValidationError, UserError, OSError):
        return None
    return named.identities if key == record.key else {}


def _named_probes(notes: Mapping[str, Any]) -> set[str]:
    return {notes["probe"]} if isinstance(notes.get("probe"), str) else set()


def _intact(path: Path) -> bytes:
    content = path.read_bytes()
    seal.check(path, content, GET_AGAIN)
    return content


def _text(folder: Path, name: str, place: str) -> bytes:
    content = _intact(folder / name)
    refuse_paths(json.loads(content), place)
    return content


def _suite(path: Path, there: Mapping[str, bytes]) -> dict[str, bytes]:
    from optbench.yamlfile import read

    given = read(path).plain()
    refuse_paths(given, str(path))
    found = {f"suites/{path.name}": path.read_bytes()}
    tuned = given.get("tuned") if isinstance(given, dict) else None
    if tuned:
        found |= _with_trials(path.parent / tuned, f"suites/{PurePosixPath(Path(tuned).as_posix())}")
    return _checked(found, path, there)


def _overrides(path: Path, there: Mapping[str, bytes]) -> dict[str, bytes]:
    """A file that was put over the suites, with its trials where it has some."""
    from optbench.yamlfile import read

    refuse_paths(read(path, label="overrides").plain(), str(path))
    return _checked(_with_trials(path, f"suites/{OVERRIDES}/{path.name}"), path, there)


def _with_trials(path: Path, name: str) -> dict[str, bytes]:
    found, trials = {name: path.read_bytes()}, path.with_suffix(".json")
    if trials.is_file():
        found[str(PurePosixPath(name).with_suffix(".json"))] = _trials(trials)
    return found


def _checked(found: dict[str, bytes], path: Path, there: Mapping[str, bytes]) -> dict[str, bytes]:
    for name, content in found.items():
        check_name(name, str(path))
        if there.get(name, content) != content:
            raise UserError(f"{path}: another file {name!r} is in the bundle already; rename one of them")
    return found


def _trials(path: Path) -> bytes:
    content = path.read_bytes()
    refuse_paths(json.loads(content), str(path))
    return content


def _source(path: Path) -> dict[str, bytes]:
    """A file of code under the path that records name. Raises UserError for one that is elsewhere, or too large to be
    code that somebody wrote."""
    name = f"{SOURCES}/{path.as_posix()}"
    check_name(name, str(path))
    content = path.read_bytes()
    if len(content) > MOST_SOURCE_BYTES:
        raise UserError(f"{path}: {len(content) >> 10} KiB of code; a bundle takes {MOST_SOURCE_BYTES >> 10} at most")
    return {name: content}


def check_name(name: str, where: str) -> None:
    """Raises UserError for a file that could not be read again from a bundle."""
    if not is_name(name):
        raise UserError(
            f"{where}: {name!r} is no name that a bundle has: letters, digits, _ . - in each part, and no .."
        )


def _probe(key: str, store: Store) -> dict[str, bytes]:
    # A bundle of a bundle finds them unpacked beside its records.
    root = store.unpacked_root() if isinstance(store, Bundle) else store.root
    folder = root / "probes" / key[:2] / key
    names = [name for name in _PROBE_FILES if (folder / name).is_file()]
    return {f"probes/{key[:2]}/{key}/{name}": (folder / name).read_bytes() for name in names}


def refuse_paths(content: Any, place: str) -> None:
    """Raises UserError for a text that is a path of a machine: a bundle is for everybody to read."""
    for where, text in texts_in(content, place):
        if is_path_of_machine(text):
            raise UserError(f"{where} is {text!r}, a path of this machine; a bundle is for everybody to read")


def texts_in(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """All texts inside a value, names of mappings too, each with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{place}, a name", str(key)
            yield from texts_in(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from texts_in(item, f"{place}[{index}]")


def is_path_of_machine(text: str) -> bool:
    """Whether the text is an absolute path of any system, or below somebody's home."""
    absolute = Path(text).is_absolute() or PureWindowsPath(text).is_absolute()
    return absolute or text.startswith(("~/", "~\\", "file:", "\\\\"))


def _write(target: Path, files: Mapping[str, bytes], records: int, *, without: Collection[str], weights: bool) -> int:
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "optbench": version("optbench"),
        "records": records,
        "without": sorted({*without, *(() if weights else ("weights",))}),
        "files": {name: {"bytes": len(own), "sha256": seal.hash_of(own)} for name, own in files.items()},
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    made = [folder for folder in target.parents if not os.path.lexists(folder)]
    temporary = target.with_name(f".{target.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
                archive.writestr(_entry(MANIFEST), text.encode())
                for name in sorted(files):
                    archive.writestr(_entry(name), files[name])
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if isinstance(error, OSError):
            raise UserError(f"--to {target}: cannot be written: {error.strerror or error}") from error
        raise
    return target.stat().st_size


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _STAMP)
    info.compress_type = zipfile.ZIP_LZMA
    info.create_system, info.external_attr = 3, 0o100644 << 16
    return info
