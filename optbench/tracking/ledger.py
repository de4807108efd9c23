"""What has been pushed: one small file for each run, so that a second push knows what there is, and leaves it alone."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optbench.tracking.labels import Labels
    from optbench.tracking.target import Target

FOLDER = "pushed"
RUN = "offline-run-"
"""What folders of offline runs begin with."""


@dataclass(frozen=True)
class Entry:
    """A run that was begun: its id, where it went, the folder it lies in if it is offline, the fingerprint of its
    content, empty until it is complete, and whether the server had its curve already when it was begun."""

    id: str
    name: str
    mode: str
    project: str
    entity: str
    folder: str = ""
    content: str = ""
    uploaded: bool = False


@dataclass(frozen=True)
class Ledger:
    """The entries of one target. Several processes may write to it, each to files of its own runs."""

    target: Target

    def has(self, labels: Labels, content: str) -> bool:
        """Whether the run is there with this very content."""
        entry = self._read(labels)
        if entry is None or entry.content != content:
            return False
        return self.target.mode == "online" or any(self._folder(entry).glob("*.wandb"))

    def clear(self, labels: Labels) -> bool:
        """Removes what an earlier push of the run left on the disk, for two folders of one run would be uploaded as
        one. Says whether the server has its curve: sent again, the same steps would stand behind those that are there.
        """
        entry = self._read(labels)
        if entry is None:
            return False
        if self.target.mode == "online":
            return entry.uploaded or bool(entry.content)
        uploaded = entry.uploaded or any(self._folder(entry).glob("*.synced"))
        shutil.rmtree(self._folder(entry), ignore_errors=True)
        return uploaded

    def note(self, labels: Labels, *, folder: str, uploaded: bool, content: str = "") -> None:
        """Writes the entry of a run that has begun, or with its content that is complete."""
        target = self.target
        offline = folder if target.mode == "offline" else ""
        entry = Entry(labels.id, labels.name, target.mode, target.project, target.entity, offline, content, uploaded)
        path = self._path(labels)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
        try:
            temporary.write_text(json.dumps(asdict(entry), indent=1, sort_keys=True) + "\n", encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _read(self, labels: Labels) -> Entry | None:
        try:
            return Entry(**json.loads(self._path(labels).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            # Damaged is as good as absent: the run is pushed again.
            return None

    def _folder(self, entry: Entry) -> Path:
        # Whatever the file says, nothing but folders of offline runs is looked at or removed.
        name = Path(entry.folder).name
        return self.target.runs / (name if name.startswith(RUN) else f"{RUN}none")

    def _path(self, labels: Labels) -> Path:
        target = self.target
        where = [target.mode, target.project, target.entity, target.server if target.mode == "online" else ""]
        mark = sha256(json.dumps(where).encode()).hexdigest()[:8]
        return self.target.runs / FOLDER / f"{labels.id}-{mark}.json"
