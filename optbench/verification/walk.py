"""All records at a place, one at a time: a folder of records, an archive, a bundle, or folders of these."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from optbench.archive import SUFFIX as ARCHIVE
from optbench.bundle import SUFFIX as BUNDLE
from optbench.bundle import Bundle
from optbench.errors import UserError
from optbench.store import RECORD, is_leftover
from optbench.verification.evidence import Evidence, Files, evidence_in
from optbench.verification.problem import RUN_AGAIN, Findings

_PREFIX, _KEY = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{16}")
BESIDE = ("added", "probes", "rewrites", "before", "checkpoints", "locks", "logs")
"""What lies beside records in a results folder."""


def evidence_at(path: Path, found: Findings, keys: Collection[str] | None = None) -> Iterator[Evidence]:
    """Every record at `path`, or those of `keys` alone; what is no whole record is noted and passed over."""
    if path.is_file():
        if path.suffix == BUNDLE:
            yield from _in_bundle(path, found, keys)
        else:
            yield from _in_archive(path, found, keys)
        return
    yield from _in_store(path, found, keys)
    for inner in sorted(path.iterdir()) if path.is_dir() else []:
        if inner.is_file() and inner.suffix in (ARCHIVE, BUNDLE):
            yield from evidence_at(inner, found, keys)
        elif keys is None and inner.is_dir() and not _PREFIX.fullmatch(inner.name) and inner.name not in BESIDE:
            yield from evidence_at(inner, found)


def _in_store(root: Path, found: Findings, keys: Collection[str] | None) -> Iterator[Evidence]:
    for pattern in ("[0-9a-f][0-9a-f]/.*.tmp", *(f"{name}/*/.*.tmp" for name in BESIDE)):
        for folder in sorted(root.glob(pattern)):
            if is_leftover(folder):
                what = "left over from a process that was killed"
                found.add(str(folder), what, "delete it: the next run into this folder does")
    for prefix in sorted(root.iterdir()) if root.is_dir() else []:
        if not (_PREFIX.fullmatch(prefix.name) and prefix.is_dir()):
            continue
        for folder in sorted(prefix.iterdir()):
            if keys is not None and folder.name not in keys:
                continue
            if folder.name.startswith(".") and folder.name.endswith(".tmp"):
                continue
            if not folder.is_dir() or not _KEY.fullmatch(folder.name) or folder.name[:2] != prefix.name:
                if (folder / RECORD).exists() or not folder.is_dir() or any(folder.iterdir()):
                    found.add(
                        str(folder), "is no place of a record: its name is no key, or stands below another", RENAME
                    )
                continue
            yield evidence_in(folder, str, found, root=root)


RENAME = f"give it the name that its record says, or {RUN_AGAIN}"


def _in_bundle(path: Path, found: Findings, keys: Collection[str] | None) -> Iterator[Evidence]:
    try:
        bundle = Bundle(path)
    except UserError as error:
        found.add(str(path), str(error).removeprefix(f"{path}: "), "get or export it again")
        return
    with bundle:
        for name, what in bundle.damaged_beside():
            found.add(f"{path}!{name}", what, "get or export it again")
        for key in bundle.keys():
            if keys is not None and key not in keys:
                continue
            damaged = list(bundle.damaged(key))
            for name, what in damaged:
                found.add(f"{path}!{name}", what, "get or export it again")
            if not damaged:
                folder = bundle.folder(key)
                yield evidence_in(folder, bundle.label, found, root=bundle.unpacked_root(), sealed=True)


def _in_archive(path: Path, found: Findings, keys: Collection[str] | None) -> Iterator[Evidence]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        found.add(str(path), f"cannot be read ({error.strerror})", "check the disk and its permissions")
        return
    seen: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            content = json.loads(line)
        except ValueError as error:
            found.add(where, f"damaged: no JSON ({error})", "write the archive again")
            continue
        if isinstance(content, dict) and "added" in content:
            continue  # A journal of added seeds, which reports read.
        key = content.get("key") if isinstance(content, dict) else None
        if not isinstance(key, str):
            found.add(where, "is no record: it has no key", "write the archive again")
            continue
        if keys is not None and key not in keys:
            continue
        if key in seen:
            found.add(where, f"the key {key} stands at {seen[key]} already", "write the archive again")
        seen[key] = where
        given = content.get("panels", {})
        panels = given if isinstance(given, dict) else {}
        if panels is not given:
            found.add(where, "its panels are no mapping", "write the archive again")
        read = {name: Files(path.parent, str, own if isinstance(own, dict) else {}) for name, own in panels.items()}
        yield Evidence(key, where, path.parent, Files(path.parent, str, content), read, kept=False)
