"""Seals: the SHA-256 of every file of a record, written with it.

A seal tells damage and careless edits, in numbers that nothing else of a record repeats (times, likelihoods). It does
not tell a forger, who can write another seal: only training the cell again does (`optbench verify --replay`). It enters
no key. Records of versions that wrote no seal are as good as they were.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from optbench.errors import UserError

SCHEMA = 1
SEAL = "seal.json"


def seal(folder: Path) -> None:
    """Writes the seal of the files directly in `folder`; folders in it have seals of their own."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name != SEAL]
    hashes = {path.name: hash_of(path.read_bytes()) for path in files}
    (folder / SEAL).write_text(seal_text(hashes), encoding="utf-8")


def hash_of(content: bytes) -> str:
    """SHA-256 in hex digits."""
    return hashlib.sha256(content).hexdigest()


def seal_text(hashes: Mapping[str, str]) -> str:
    """The one text of a seal over files with these hashes, by name."""
    return json.dumps({"schema": SCHEMA, "sha256": dict(hashes)}, indent=1, sort_keys=True) + "\n"


def hashes_of(folder: Path) -> dict[str, str] | None:
    """The hashes by file name that the seal of `folder` states; None where there is no seal.

    Raises UserError, naming the file, for a seal that is damaged in any byte.
    """
    path = folder / SEAL
    try:
        text = path.read_bytes().decode("utf-8")
        hashes: dict[str, str] = json.loads(text)["sha256"]
        intact = seal_text(hashes) == text
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged seal ({error})") from error
    if not intact:
        raise UserError(f"{path}: damaged seal (not written by this program)")
    return hashes


def check(path: Path, content: bytes, remedy: str) -> None:
    """Raises UserError, naming the file and the `remedy`, where the seal beside the file has another hash than that of
    `content`, or none for it. Where there is no seal, nothing is known and nothing is said."""
    try:
        # Every record of a report comes by here: the seal's own bytes are left to `hashes_of`.
        stated = json.loads((path.parent / SEAL).read_bytes())["sha256"].get(path.name)
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path.parent / SEAL}: damaged seal ({error}); {remedy}") from error
    if stated != hash_of(content):
        raise UserError(f"{path}: does not match its seal (damaged or edited since it was written); {remedy}")
