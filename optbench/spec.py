"""Specs: frozen, strict descriptions of everything a user may choose, and their identity.

The identity of a spec is what its numbers depend on. Fields at their default are left out, so that a new field with a
default changes no key; a change of a default, or of the code behind a spec, raises `revision`, which is part of it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A frozen description that refuses unknown fields. Defaults live here and nowhere else."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", protected_namespaces=())

    revision: ClassVar[int] = 1
    """Raised whenever the code behind this spec, or one of its defaults, changes the numbers it makes."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def identity(self) -> dict[str, Any]:
        """What the numbers depend on, as plain JSON data: see the module's docstring."""
        content: dict[str, Any] = {}
        if self.revision != 1:
            content["revision"] = self.revision
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if any(isinstance(mark, NotIdentity) for mark in field.metadata):
                continue
            is_default = not field.is_required() and value == field.get_default(call_default_factory=True)
            # A nested spec is always written, for its own revision must show even where it is the default.
            if name != "kind" and is_default and not isinstance(value, Spec):
                continue
            by_content = any(isinstance(mark, ByContent) for mark in field.metadata)
            content[name] = content_hash(Path(value)) if by_content and value else plain(value)
        return content

    def dump(self) -> dict[str, Any]:
        """Every field as strict JSON data (an infinite number as a string), from which the spec can be read again."""
        content: dict[str, Any] = json.loads(self.model_dump_json())
        return content


class ByContent:
    """Marks a field that names a local file or folder, which enters an identity by the hash of its content."""


class NotIdentity:
    """Marks a field that cannot change any number (for instance where things are cached)."""


LocalPath = Annotated[str, ByContent()]


def plain(value: Any) -> Any:
    """The value as JSON data; specs by their identity."""
    if isinstance(value, Spec):
        return value.identity()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return value


def canonical(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no spaces."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the sorted names and hashes of the files in a folder.

    Raises FileNotFoundError where there is nothing at `path`.
    """
    if path.is_dir():
        lines = [f"{file.relative_to(path)} {content_hash(file)}" for file in sorted(path.rglob("*")) if file.is_file()]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
