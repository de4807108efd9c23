"""Figures as files: all of them or none, and the same bytes whenever the same figure is written."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.charts.style import drawing
from optbench.errors import UserError, suggestion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None, "Creator": "optbench"}},
}
"""What each format is saved with: no date and no version, so that the records alone decide the bytes."""


def rendered(figure: Figure, format: str) -> bytes:
    """The figure as the content of a file. Raises UserError for a format that is not in FORMATS."""
    if format not in FORMATS:
        raise UserError(f"unknown format of figures {format!r}; {suggestion(format, FORMATS)}")
    content = io.BytesIO()
    with drawing():
        figure.savefig(content, format=format, **FORMATS[format])
    return content.getvalue()


def save(figures: Mapping[str, Figure], folder: Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Writes <folder>/<name>.<format> for each figure and format, and says which files those are.

    Nothing is written before everything is drawn, and what was there is replaced. Raises UserError for a format that
    there is not and for a folder that cannot be written; then no file has changed and no folder is left.
    """
    files = {folder / f"{name}.{format}": rendered(figures[name], format) for name in figures for format in formats}
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    waiting: dict[Path, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            if path.is_dir():
                raise IsADirectoryError(None, "is a folder", str(path))
            waiting[path] = path.with_name(f".{path.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
            with waiting[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in waiting.items():
            temporary.replace(path)
    except BaseException as error:
        for temporary in waiting.values():
            with contextlib.suppress(OSError):
                temporary.unlink()
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise UserError(f"{error.filename or folder}: figures cannot be written: {error.strerror}") from error
        raise
    return list(files)
