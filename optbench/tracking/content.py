"""What W&B is told of a cell, as plain data: settings, results, curves, questions. Made from the record alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from optbench.archive import Archive
from optbench.metrics.columns import column
from optbench.panels.base import panel_key

if TYPE_CHECKING:
    import pandas as pd

    from optbench.store import Record, Store
    from optbench.tracking.labels import Labels

CURVE = ("loss", "gradient_norm", "lr_scale", "tokens", "passes")
"""What is drawn over steps."""


@dataclass(frozen=True)
class Table:
    """Columns and rows of plain values: text, numbers, truth, or None where there is nothing."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Content:
    """All that a run of W&B holds.

    `config` is nested; `summary` are single values by name, units in brackets; `curve` has a row for each step, in
    order. Tables and `files` (by name) are shown and kept in an artifact of the type `artifact`; `captions` are those
    of files that are pictures.
    """

    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    curve: Sequence[Mapping[str, float]] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    captions: Mapping[str, str] = field(default_factory=dict)
    artifact: str = "questions"
    notes: str = ""

    def fingerprint(self, labels: Labels) -> str:
        """A hash of everything, by which a second push knows that there is nothing new."""
        parts = {**vars(self), "files": {name: sha256(data).hexdigest() for name, data in self.files.items()}}
        parts["tables"] = {name: asdict(table) for name, table in self.tables.items()}
        text = json.dumps([asdict(labels), parts], sort_keys=True, default=str)
        return sha256(text.encode()).hexdigest()


def settings_of(cell: Mapping[str, Any], key: str, labels: Labels) -> dict[str, Any]:
    """The settings of a run that are known before it: the whole spec, its key, and the suite. No path of this machine:
    of a local file the name is left."""
    found: dict[str, Any] = portable({**cell, "key": key, "suite": labels.group})
    return found


def content_of(record: Record, store: Store, panels: Sequence[Any], labels: Labels) -> Content:
    """What there is of a cell: records of archives have neither curves nor questions. `panels` are those of the suite.

    Raises UserError for a damaged record.
    """
    config = settings_of(record.cell, record.key, labels)
    config["plan"] = portable(dict(record.plan))
    config["claims"] = record.optimizer.get("claims", {})
    config["provenance"] = portable(record.measured.get("provenance", {}))
    numbers = {**record.result, **record.measured}
    for panel in panels:
        looked = store.panel(record.key, panel_key(panel))
        numbers |= {} if looked is None else looked["result"]
    summary: dict[str, Any] = {"outcome": record.outcome, "contended": bool(record.measured.get("contended"))}
    summary |= {titled(name): value for name, value in numbers.items() if _is_number(value)}
    curves = _attached(store, store.curves, record.key)
    if curves is not None and "loss_at" in curves:
        summary["loss_at"] = ", ".join(sorted(set(curves["loss_at"])))
    questions = _attached(store, store.questions, record.key)
    return Content(
        config=config,
        summary=summary,
        curve=[] if curves is None else curve_of(curves),
        tables={} if questions is None else {"questions": table_of(questions)},
    )


def titled(name: str) -> str:
    """A column with its unit, such as `final_loss (nats)`."""
    unit = column(name).unit
    return f"{name} ({unit})" if unit else name


def curve_of(curves: pd.DataFrame) -> list[dict[str, float]]:
    """A row for each step, in plain numbers."""
    known = [name for name in CURVE if name in curves]
    columns = [curves[name].tolist() for name in known]
    return [dict(zip(known, row, strict=True)) for row in zip(*columns, strict=True)]


def table_of(frame: pd.DataFrame) -> Table:
    """A frame in plain values; what is missing or not finite is None, for a table is JSON."""
    columns = [[_plain(value) for value in frame[name].tolist()] for name in frame]
    return Table([str(name) for name in frame], [list(row) for row in zip(*columns, strict=True)])


def portable(value: Any) -> Any:
    """JSON data without paths of this machine: of an absolute path the last part is left."""
    if isinstance(value, Mapping):
        return {str(name): portable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    if isinstance(value, Path):
        return value.name
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute() or value.startswith("~"):
                return kind(value).name
    return value


def _attached(store: Store, read: Callable[[str], pd.DataFrame], key: str) -> pd.DataFrame | None:
    """A table beside a record; None where there is none: archives keep none, runs that diverged have no answers."""
    if isinstance(store, Archive):
        return None
    try:
        return read(key)
    except FileNotFoundError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if str(value) in ("<NA>", "nan", "NaT") else str(value)
