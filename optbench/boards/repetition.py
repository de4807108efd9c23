"""The same suite run twice: two folders of records, paired cell by cell by their keys. Nothing is pooled."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from optbench.errors import UserError, suggestion
from optbench.metrics.columns import column
from optbench.reports.frame import MISSING, cells_table, metrics_of, refuse_mixed, scored
from optbench.reports.pairs import largest_of, spread_of
from optbench.reports.stats import ALPHA, half_width, holm, t_p_value

if TYPE_CHECKING:
    from optbench.store import Record, Store
    from optbench.suite import Suite

UNKNOWN = "not recorded"


@dataclass(frozen=True)
class ArmTwice:
    """One arm in both: how many cells each has, and the paired difference over the seeds that both have.

    `equal` counts cells whose outcome and results are the same to the last bit, `differing` the others that both have,
    `outcomes` those of them with another outcome. `difference` is the other minus this one in the unit of the metric,
    with the half-width of its 95% interval (infinite where it is not known) and p, plain and adjusted over all arms;
    `n` counts the seeds behind it.
    """

    arm: str
    equal: int
    differing: int
    outcomes: int
    only_this: int
    only_other: int
    difference: float
    half_width: float
    p: float
    p_holm: float
    n: int
    resolved: bool

    @property
    def is_whole(self) -> bool:
        """Whether both have every cell that either has, and no cell differs."""
        return not (self.differing or self.only_this or self.only_other)


@dataclass(frozen=True)
class Unequal:
    """A value of the provenance that the two do not share: how many cells were made with each, on either side."""

    name: str
    this: Mapping[str, int]
    other: Mapping[str, int]


@dataclass(frozen=True)
class Repetition:
    """A suite in two folders. `strangers` are keys under which the two hold records of different cells; they are in no
    pair. `cells_unequal` names the cells that differ, the largest difference of the metric first; `unexplained` counts
    those of them that were made with the same of everything that is recorded, and so should not differ at all."""

    suite: str
    this: str
    other: str
    metric: str
    arms: Sequence[ArmTwice]
    cells: int
    strangers: Sequence[str]
    cells_unequal: Sequence[tuple[str, int, str, float]]
    provenance: Sequence[Unequal]
    unexplained: int


def repeated(suite: Suite, this: Store, other: Store, *, metric: str = "") -> Repetition:
    """Compares the records of a suite in two places; an empty `metric` is what the suite is ranked by.

    Raises UserError where either has no record of the suite, for a metric that no record has, for a damaged record,
    and where one side mixes what must not be pooled.
    """
    tables = [cells_table(suite, store) for store in (this, other)]
    for table, store in zip(tables, (this, other), strict=True):
        if (table["outcome"] == MISSING).all():
            raise UserError(f"no records of the suite {suite.name} in {store.root}")
        refuse_mixed(table)
    metric = metric or suite.ranked_by
    known = sorted({name for table in tables for name in metrics_of(table) if table[name].notna().any()})
    if metric not in known:
        raise UserError(f"--metric {metric}: no record has it; {suggestion(metric, known)}")
    values = [_column(scored(table), metric) for table in tables]
    keys = list(tables[0]["key"])
    verdicts = [_verdict(this.record(key), other.record(key)) for key in keys]
    arms, places = [], tables[0]["arm"].to_numpy()
    for place, arm in enumerate(suite.arms):
        rows = np.flatnonzero(places == place)
        counts = Counter(verdicts[row] for row in rows)
        paired = [row for row in rows if verdicts[row] in ("equal", "differing", "outcome")]
        differences = values[1][paired] - values[0][paired]
        there = ~np.isnan(differences)
        largest = largest_of(*(side[paired][there] for side in values))
        arms.append(_arm(arm.name, counts, differences[there], counted=column(metric).counted, largest=largest))
    adjusted = holm([arm.p for arm in arms])
    measured = column(metric).measured and any(bool(table["contended"].any()) for table in tables)
    return Repetition(
        suite=suite.name,
        this=str(this.root),
        other=str(other.root),
        metric=metric,
        arms=[
            replace(arm, p_holm=float(p), resolved=bool(p < ALPHA) and not measured)
            for arm, p in zip(arms, adjusted, strict=True)
        ],
        cells=len(verdicts),
        strangers=[key for key, verdict in zip(keys, verdicts, strict=True) if verdict == "stranger"],
        cells_unequal=_unequal(tables[0], verdicts, values[1] - values[0]),
        provenance=_provenance(keys, verdicts, this, other),
        unexplained=_unexplained(keys, verdicts, this, other),
    )


def _column(table: Any, metric: str) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = table[metric].to_numpy(float) if metric in table else np.full(len(table), math.nan)
    return found


def _verdict(this: Record | None, other: Record | None) -> str:
    if this is None or other is None:
        return "neither" if this is other else "only this" if other is None else "only other"
    if _contradict(this.cell, other.cell):
        return "stranger"
    if this.outcome != other.outcome:
        return "outcome"
    return "equal" if dict(this.result) == dict(other.result) else "differing"


def _contradict(this: Any, other: Any) -> bool:
    """Whether two cells state different things. A field that one of them does not have contradicts nothing: cells state
    all defaults, and a later version has more fields; a field away from its default would have moved the key."""
    if isinstance(this, Mapping) and isinstance(other, Mapping):
        return any(_contradict(this[name], other[name]) for name in this.keys() & other.keys())
    if isinstance(this, list) and isinstance(other, list):
        return len(this) != len(other) or any(map(_contradict, this, other))
    return bool(this != other)


def _arm(
    name: str, counts: Mapping[str, int], differences: np.ndarray[Any, Any], *, counted: bool, largest: float
) -> ArmTwice:
    n = len(differences)
    mean, sd = spread_of(differences, counted=counted, largest=largest)
    if n and not np.isfinite(differences).all():
        mean = float(differences.sum())
    return ArmTwice(
        arm=name,
        equal=counts.get("equal", 0),
        differing=counts.get("differing", 0) + counts.get("outcome", 0),
        outcomes=counts.get("outcome", 0),
        only_this=counts.get("only this", 0),
        only_other=counts.get("only other", 0),
        difference=mean,
        half_width=float(half_width(sd, n)),
        p=float(t_p_value(mean, sd, n, counted=counted)),
        p_holm=math.nan,
        n=n,
        resolved=False,
    )


def _unequal(table: Any, verdicts: Sequence[str], gaps: np.ndarray[Any, Any]) -> list[tuple[str, int, str, float]]:
    found = [
        (str(table["name"].iloc[row]), int(table["seed"].iloc[row]), str(table["key"].iloc[row]), float(gaps[row]))
        for row, verdict in enumerate(verdicts)
        if verdict in ("differing", "outcome")
    ]
    return sorted(found, key=lambda cell: -abs(cell[3]) if math.isfinite(cell[3]) else -math.inf)


def _provenance(keys: Sequence[str], verdicts: Sequence[str], this: Store, other: Store) -> list[Unequal]:
    """What the cells that both have were made with, where the two sides were not made with the same."""
    sides = []
    for store in (this, other):
        seen: dict[str, Counter[str]] = {}
        for key, verdict in dict(zip(keys, verdicts, strict=True)).items():
            record = store.record(key)
            if record is not None and verdict in ("equal", "differing", "outcome"):
                for name, value in _flat(record.measured.get("provenance", {})):
                    seen.setdefault(name, Counter())[value] += 1
        sides.append(seen)
    names = sorted({name for seen in sides for name in seen})
    first, second = sides
    unequal = [Unequal(name, first.get(name, Counter()), second.get(name, Counter())) for name in names]
    return [found for found in unequal if set(found.this) != set(found.other)]


def _unexplained(keys: Sequence[str], verdicts: Sequence[str], this: Store, other: Store) -> int:
    """How many keys of cells that differ have equal provenance on both sides, and some at all."""
    count = 0
    for key, verdict in dict(zip(keys, verdicts, strict=True)).items():
        if verdict in ("differing", "outcome"):
            first, second = (_made_with(store, key) for store in (this, other))
            count += bool(first) and first == second
    return count


def _made_with(store: Store, key: str) -> Mapping[str, Any]:
    record = store.record(key)
    return {} if record is None else dict(record.measured.get("provenance", {}))


def _flat(made: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in made.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name}.")
        else:
            found.append((f"{before}{name}", value if isinstance(value, str) else json.dumps(value)))
    return found
