"""Documents for pretraining, one after another: from text files, JSON lines, parquet, or a data set of the hub.

Nothing is held but the document that is read: a corpus larger than memory or disk is no obstacle.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from optbench.errors import UserError
from optbench.tasks.hub import is_local

PIECE = 4096
"""Characters of a text file, at least, that make a document; it ends with a line."""


def documents(path: str, *, name: str, split: str, hub_revision: str, field: str) -> Iterator[str]:
    """The documents of a local file or folder, or of a split of a data set on the hub; blank ones are left out.

    `field` is where a row of JSON or parquet has its text. A text file is cut at ends of lines into documents of about
    4,000 characters. The files of a folder are read in the order of their names. Raises UserError naming the file, and
    the line, of what cannot be read.
    """
    found: Iterator[str]
    if is_local(path):
        local = Path(path).expanduser()
        found = (text for file in files_of(local) for text in _reader(file)(file, field))
    else:
        found = streamed(path, name=name, split=split, hub_revision=hub_revision, field=field)
    return (text for text in found if text.strip())


def files_of(path: Path) -> list[Path]:
    """The data files at a path, sorted. Raises UserError where there is none, or for a file of another kind."""
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder (looked from {Path.cwd()})")
    if path.is_file():
        _reader(path)
        return [path]
    found = sorted(file for file in path.rglob("*") if file.is_file() and _suffix(file) in _READERS)
    if not found:
        raise UserError(f"{path}: no text in this folder; files end in {', '.join(_READERS)}")
    return found


def streamed(path: str, *, name: str, split: str, hub_revision: str, field: str) -> Iterator[str]:
    """The texts of a split of a data set, read as they are asked for; only what is read is fetched.

    Raises UserError where the data set is not to be had.
    """
    import datasets

    is_path = path.startswith((".", "/", "~")) or path.endswith("/") or path.count("/") > 1
    if is_path and not Path(path).expanduser().exists():
        raise UserError(f"{path}: no such file or folder")  # No id on the hub is written like this.
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(path, name or None, split=split, revision=hub_revision or None, streaming=True)
        for index, row in enumerate(rows):
            yield _text(row, field, f"{path}: row {index}")
    except (OSError, ValueError, ImportError, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, UserError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path}: the data set cannot be streamed ({reason}). A hub id needs network access; without it, name a "
            "local file or folder as `path`"
        ) from error


def _text(row: Any, field: str, where: str) -> str:
    text = row.get(field) if isinstance(row, dict) else None
    if not isinstance(text, str):
        there = ", ".join(map(str, row)) if isinstance(row, dict) else "no fields"
        raise UserError(f"{where}: the field {field!r} is missing or not text; there are: {there}")
    return text


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{number}: not UTF-8 (byte 0x{error.object[error.start]:02x})") from error
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _of_text(path: Path, field: str) -> Iterator[str]:
    lines: list[str] = []
    size = 0
    for _, line in _lines(path):
        lines.append(line)
        size += len(line)
        if size >= PIECE:
            yield "".join(lines)
            lines, size = [], 0
    if lines:
        yield "".join(lines)


def _of_json(path: Path, field: str) -> Iterator[str]:
    for number, line in _lines(path):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}:{number}: not JSON ({error.msg} at character {error.pos + 1})") from error
            yield _text(row, field, f"{path}:{number}")


def _of_parquet(path: Path, field: str) -> Iterator[str]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
        if field not in file.schema_arrow.names:
            raise UserError(f"{path}: there is no column {field!r}; there are: {', '.join(file.schema_arrow.names)}")
        row = 0
        for batch in file.iter_batches(batch_size=256, columns=[field]):
            for text in batch.column(0).to_pylist():
                yield _text({field: text}, field, f"{path}: row {row}")
                row += 1
    except ArrowException as error:
        raise UserError(f"{path}: not parquet ({str(error).splitlines()[0]})") from error


_READERS: dict[str, Callable[[Path, str], Iterator[str]]] = {
    ".txt": _of_text,
    ".txt.gz": _of_text,
    ".jsonl": _of_json,
    ".jsonl.gz": _of_json,
    ".json.gz": _of_json,
    ".parquet": _of_parquet,
}


def _suffix(path: Path) -> str:
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix


def _reader(path: Path) -> Callable[[Path, str], Iterator[str]]:
    if _suffix(path) not in _READERS:
        raise UserError(f"{path}: not a file of text; allowed: {', '.join(_READERS)}")
    return _READERS[_suffix(path)]
