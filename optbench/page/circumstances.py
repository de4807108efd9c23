"""What was run, and where: scale, commit, versions, device, dates, and what differs between cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from optbench.reports.frame import MISSING
from optbench.reports.scale import size_text
from optbench.store import RECORD, Record

_SHOWN = {
    "commit": "commit of optbench",
    "dirty": "files changed since that commit",
    "device": "device",
    "device_type": "type of device",
    "threads": "threads",
    "ranks": "processes that shared each cell",
    "precision": "precision",
    "attention": "attention",
    "python": "Python",
    "system": "system",
    "date": "date of the run (UTC)",
}
"""What provenance may show; anything else that a record holds stays off the page."""
_UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Fact:
    """One line: what it is called, each value with the number of cells that have it, and whether they differ."""

    name: str
    values: Sequence[tuple[str, int]]

    @property
    def differs(self) -> bool:
        """Whether cells differ in it."""
        return len(self.values) > 1


@dataclass(frozen=True)
class Scale:
    """How large what was run is: the points of each axis, and the sizes of the models."""

    axes: Sequence[tuple[str, Sequence[str]]]
    sizes: Mapping[str, str]

    @property
    def sentence(self) -> str:
        """The matrix in words."""
        counts = " × ".join(
            f"{len(names)} {_plural(axis) if len(names) != 1 else axis}" for axis, names in self.axes if names
        )
        return counts


def provenance_of(record: Record) -> dict[str, Any]:
    """The circumstances of a record that may be shown, versions by package beside the others."""
    made = record.measured.get("provenance", {})
    if not isinstance(made, Mapping):
        return {}
    found = {name: made[name] for name in _SHOWN if name in made}
    versions = made.get("versions", {})
    if isinstance(versions, Mapping):
        found["versions"] = {str(name): versions[name] for name in sorted(versions) if versions[name] is not None}
    return found


def facts_of(records: Iterable[Record]) -> list[Fact]:
    """Every circumstance of the records with its values, the most frequent first."""
    counted: dict[str, Counter[str]] = {words: Counter() for words in _SHOWN.values()}
    days: Counter[str] = Counter()
    for record in records:
        made = provenance_of(record)
        for name, words in _SHOWN.items():
            if name in made or name != "date":
                counted[words][_text(made.get(name))] += 1
        for name, version in made.get("versions", {}).items():
            counted.setdefault(f"{name}, version", Counter())[_text(version)] += 1
        beside = bool(record.measured.get("contended", False))
        counted.setdefault("times measured", Counter())[
            "beside other running cells: shown, never ranked" if beside else "alone on the device"
        ] += 1
        file = record.path / RECORD
        if "date" not in made and file.is_file():
            days[datetime.fromtimestamp(file.stat().st_mtime, tz=UTC).strftime("%Y-%m-%d")] += 1
    if days:
        counted["date of the record file (UTC)"] = days
    return [Fact(name, counts.most_common()) for name, counts in counted.items() if counts]


def scale_of(cells: pd.DataFrame, records: Iterable[tuple[str, Record]]) -> Scale:
    """The matrix of a cells table, missing cells included; `records` are (model, record), for their sizes."""
    axes = [
        (axis, [str(name) for name in cells[axis].drop_duplicates()])
        for axis in ("model", "task", "strategy", "optimizer", "budget")
    ]
    axes.append(("seed", [str(seed) for seed in sorted(set(cells["seed"]))]))
    sizes: dict[str, int] = {}
    for model, record in records:
        if model not in sizes and (count := parameters_of(record)):
            sizes[model] = count
    return Scale(axes, {model: size_text(count) for model, count in sizes.items()})


def parameters_of(record: Record) -> int:
    """The parameters that were trained, by what the rules of the optimizer claimed; 0 where it is not recorded."""
    claims = record.optimizer.get("claims", {})
    if not isinstance(claims, Mapping):
        return 0
    return sum(int(part.get("parameters", 0)) for part in claims.values() if isinstance(part, Mapping))


def outcomes_of(cells: pd.DataFrame) -> dict[str, int]:
    """How many cells ended in which way, those without a record last."""
    counts = cells["outcome"].value_counts()
    return {str(name): int(counts[name]) for name in sorted(counts.index, key=lambda name: (name == MISSING, name))}


def _plural(axis: str) -> str:
    return "strategies" if axis == "strategy" else f"{axis}s"


def _text(value: Any) -> str:
    if value is None:
        return _UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
