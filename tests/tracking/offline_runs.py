"""Reads what an offline run of W&B left: a file of records in blocks of 32 KiB, as LevelDB writes its log."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

from wandb.proto import wandb_internal_pb2

HEADER, BLOCK, PIECE = 7, 32768, 7
FULL, LAST = 1, 4


def records(path):
    """The records of a .wandb file, in order."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    place, content = HEADER, b""
    while place + PIECE <= len(data):
        left = BLOCK - place % BLOCK
        if left < PIECE:
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + PIECE])
        content += data[place + PIECE : place + PIECE + size]
        place += PIECE + size
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            content = b""
            yield record
    assert place == len(data)
    assert not content


@dataclass
class Run:
    """One offline run, put together as the server would."""

    folder: Path
    about: object = None
    config: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    artifacts: list = field(default_factory=list)
    files: list = field(default_factory=list)
    exit_code: int | None = None

    def table(self, name):
        """Columns and rows of a table that the summary shows."""
        shown = self.summary[name]
        assert shown["_type"] == "table-file"
        content = json.loads((self.folder / "files" / shown["path"]).read_text())
        return content["columns"], content["data"]


def run_of(folder):
    """The run in an offline folder."""
    (path,) = folder.glob("*.wandb")
    run = Run(folder)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        content = getattr(record, kind)
        if kind == "run":
            run.about = content
            _update(run.config, content.config.update)
        elif kind == "config":
            _update(run.config, content.update)
        elif kind == "summary":
            _update(run.summary, content.update)
        elif kind == "history":
            run.history.append(_update({}, content.item))
        elif kind == "artifact":
            run.artifacts.append(content)
        elif kind == "files":
            run.files += [file.path for file in content.files]
        elif kind == "exit":
            run.exit_code = content.exit_code
    run.config.pop("_wandb", None)
    return run


def _update(found, items):
    for item in items:
        names = list(item.nested_key) or [item.key]
        place = found
        for name in names[:-1]:
            place = place.setdefault(name, {})
        place[names[-1]] = json.loads(item.value_json)
    return found


def runs_in(folder):
    """All offline runs below `folder`, by id."""
    runs = [run_of(path) for path in sorted((folder / "wandb").glob("offline-run-*"))]
    found = {run.about.run_id: run for run in runs}
    assert len(found) == len(runs)
    return found
