"""The library behind the tables, as it was published: its files lie beside this one and are inlined unchanged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

FOLDER = files("optbench.page") / "vendor"


@dataclass(frozen=True)
class Library:
    """Name, version and licence of the library, its script, its style sheet, and the SHA-256 of each file."""

    name: str
    version: str
    license: str
    script: str
    style: str
    license_text: str
    sums: dict[str, str]


@cache
def library() -> Library:
    """Tabulator, read once. `vendor.json` says where the files come from; tests compare them with its sums."""
    said = json.loads(_text("vendor.json"))
    return Library(
        name=said["name"],
        version=said["version"],
        license=said["license"],
        # The map is not shipped, and a browser with its tools open would ask for it.
        script=_text("tabulator.min.js").partition("//# sourceMappingURL=")[0],
        style=_text("tabulator.min.css").partition("/*# sourceMappingURL=")[0],
        license_text=_text("tabulator.LICENSE"),
        sums={name: file["sha256"] for name, file in said["files"].items()},
    )


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
