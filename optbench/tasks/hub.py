"""Rows of a data set: from the hub, or from a local file or folder of json, jsonl or parquet."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optbench.errors import UserError
from optbench.spec import content_hash

_READERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}
Rows = list[dict[str, Any]]


def is_local(path: str) -> bool:
    """Whether a path means a file or folder: it exists, or it is written like one."""
    return Path(path).expanduser().exists() or path.startswith((".", "/", "~"))


def data_identity(path: str, hub_revision: str) -> dict[str, str]:
    """What tells this data from all others: the hash of local files, or a hub id with its commit."""
    if is_local(path):
        return {"content": content_hash(_existing(path))}
    return {"hub": path, "commit": hub_revision}


def read_rows(path: str, *, name: str, hub_revision: str) -> dict[str, Rows]:
    """The rows of each split; a single file is one split, "train".

    `name` is the configuration on the hub, and in a local folder the subfolder of that name where there is one.
    Raises UserError where the data is not to be had, saying what to do.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        if is_local(path):
            # What is read from local files is small change: nothing is left behind in a cache.
            with tempfile.TemporaryDirectory() as cache:
                return _local(_existing(path), name, cache)
        return _lists(datasets.load_dataset(path, name, revision=hub_revision))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: the data set cannot be loaded ({_reason(error)}). {_remedy(path)}") from error


def texts(row: dict[str, Any], fields: Sequence[str], where: str) -> list[str]:
    """The values of text fields of a row. Raises UserError naming the row for one that is missing or no text."""
    for field in fields:
        if not isinstance(row.get(field), str) or not row[field].strip():
            raise UserError(f"{where}: the field {field!r} is missing, empty or not text; there are: {', '.join(row)}")
    return [row[field] for field in fields]


def _existing(path: str) -> Path:
    found = Path(path).expanduser()
    if not found.exists():
        raise UserError(f"{path}: there is no such file or folder (looked from {Path.cwd()})")
    return found


def _local(path: Path, name: str, cache: str) -> dict[str, Rows]:
    import datasets

    if path.is_file():
        if path.suffix not in _READERS:
            raise UserError(f"{path}: not a data file; allowed: {', '.join(_READERS)}")
        files = {"train": str(path)}
        return _lists(
            datasets.load_dataset(_READERS[path.suffix], data_files=files, cache_dir=cache, keep_in_memory=True)
        )
    folder = path / name if name and (path / name).is_dir() else path
    if (folder / "dataset_dict.json").is_file():
        return _lists(datasets.load_from_disk(str(folder), keep_in_memory=True))
    return _lists(datasets.load_dataset(str(folder), cache_dir=cache, keep_in_memory=True))


def _lists(splits: Any) -> dict[str, Rows]:
    return {name: split.to_list() for name, split in splits.items()}


def _reason(error: Exception) -> str:
    # The message of what went wrong inside says more than that something did.
    first = error if error.__cause__ is None else error.__cause__
    lines = str(first).strip().splitlines()
    return lines[0] if lines else type(first).__name__


def _remedy(path: str) -> str:
    if is_local(path):
        return "A folder holds train and test files of json, jsonl or parquet, as the datasets library lays them out."
    return (
        "A hub id needs network access, once (then the cache serves), HF_TOKEN where the data is gated, and a "
        "`hub_revision` that it has; "
        "without either, download it elsewhere and name the local folder as `path`."
    )
