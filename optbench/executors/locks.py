"""Which run does which job, where several run into one folder: a file lock for each job that has been begun.

The kernel gives a lock back when its process ends, however it ends, so that none is ever stale. A file system that has
no locks, or cannot be written to, grants everything: records are written whole, and the first one stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

FOLDER = "locks"
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_TRIES = 100


class Locks:
    """The jobs that this run has begun and not ended."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER
        self._held: dict[str, tuple[Path, int]] = {}

    def path(self, key: str) -> Path:
        """The file that is locked; where there are locks, it is there for as long as the job is taken."""
        return self._folder / f"{key}.lock"

    def take(self, key: str) -> bool:
        """Whether the job is this run's now; False where another run has it."""
        if key in self._held:
            return True
        path = self.path(key)
        for _ in range(_TRIES):
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:
                continue  # Another run ended and removed the folder just now.
            except OSError:
                return True
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if error.errno in _HELD:
                    return False
                _remove(path)
                return True
            if _is_at(path, descriptor):
                self._held[key] = path, descriptor
                return True
            os.close(descriptor)  # Its holder removed the file between our opening and our locking it.
        return True

    def release(self, key: str) -> None:
        """Gives the job back, done or not."""
        if key not in self._held:
            return
        path, descriptor = self._held.pop(key)
        # Removed while it is still held: whoever opened it before sees that it is no longer at its place.
        _remove(path)
        os.close(descriptor)

    def close(self) -> None:
        """Gives everything back and removes what killed runs left behind."""
        for key in list(self._held):
            self.release(key)
        for path in self._folder.glob("*.lock"):
            if self.take(path.stem):
                self.release(path.stem)
        with suppress(OSError):
            self._folder.rmdir()


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
