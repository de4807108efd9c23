"""Files that are written whole or not at all, and never over what they were made of."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from optbench.errors import UserError


def control_of(out: Path) -> Path:
    """Where the control of a file is written: `out.jsonl` -> `out.control.jsonl`."""
    return out.with_name(f"{out.stem}.control{out.suffix}")


def check_targets(source: Path, out: Path, *, force: bool) -> None:
    """Raises UserError where a file is there already, cannot be written, or is the very one that is read."""
    for path in (out, control_of(out)):
        if os.path.lexists(path) and os.path.exists(path) and os.path.samefile(path, source):
            raise UserError(f"-o {out}: {path} is the file that is read; write another one")
        if path.is_dir():
            raise UserError(f"-o {out}: {path} is a folder; name a file")
        if os.path.lexists(path) and not path.is_file():
            raise UserError(f"-o {out}: {path} is no ordinary file")
        if os.path.lexists(path) and not force:
            raise UserError(f"-o {out}: {path} is there already; --force writes over it")
    folder = out.parent
    if not folder.is_dir():
        raise UserError(f"-o {out}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UserError(f"-o {out}: nothing can be written in {folder}")


def write_together(contents: Mapping[Path, Sequence[bytes]], ending: bytes) -> dict[Path, int]:
    """Writes each file, a line after the other, and moves all of them to their places once they are complete.

    The number of bytes of each. Raises UserError where one cannot be written: then none is moved.
    """
    sizes: dict[Path, int] = {}
    beside: dict[Path, Path] = {}
    try:
        for path, lines in contents.items():
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-", suffix=".tmp")
            beside[path] = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                sizes[path] = sum(file.write(line + ending) for line in lines)
                file.flush()
                os.fsync(file.fileno())
            beside[path].chmod(0o666 & ~_mask())
        for path, temporary in beside.items():
            temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        for temporary in beside.values():
            temporary.unlink(missing_ok=True)
    return sizes


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
