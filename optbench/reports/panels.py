"""What panels found, as tables: one per family of columns, and the losses by difficulty beside those of the anchor.

Accuracy by set of questions, where a task was tested on published ones, is a family of the same form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optbench.metrics.columns import COLUMNS, SETS, column
from optbench.reports.compute import anchor_of
from optbench.reports.frame import by_arm_and_seed, metrics_of, scored
from optbench.reports.standings import Standings, by_model
from optbench.reports.stats import Array

if TYPE_CHECKING:
    from optbench.suite import Suite

DECILES = "decile_loss"
DECILE_FAMILY = "loss by decile of difficulty"
SETS_FAMILY = "accuracy by set"
READ_OTHERWISE = ("accuracy_strict", "accuracy_flexible", "by_program")
"""What stands beside the accuracy of each set; by set, these are left to CSV and JSON."""
SPLIT_FAMILY = "sharpness, logit and functional part"
SPLIT = ("logit_share", "logit_projection", "sam_logit_share", "fsam_logit_share")
CHECKS = ("hessian_top_residual", "ggn_top_residual", "hessian_trace_se", "split_error", "sharpness_cost")
"""Columns that say how far others can be trusted: their worst values stand in a note."""
UNSHOWN = ("functional_share", "*/tenth")
"""Left to CSV and JSON: what is missing to 1, and the smaller of two shifts."""


@dataclass(frozen=True)
class PanelTable:
    """One family of columns at one task and budget: rows as in the standings, one column per metric.

    `mean` and `half_width` are over seeds, of the mean over models; `n` counts the seeds. A row that lacks a model that
    another row has is NaN, since averages over different models do not compare. Where `minus` names an anchor
    (optimizer, strategy), the other rows are paired differences from it, and its own row is as it is. `checks` has the
    worst values of columns that say how far the others can be trusted; `mode` is the panel's, where it has several.
    """

    standings: Standings
    family: str
    mean: pd.DataFrame
    half_width: pd.DataFrame
    n: pd.DataFrame
    minus: tuple[str, str] | None = None
    checks: Mapping[str, float] = field(default_factory=dict)
    mode: str = ""


def panels_of(
    suite: Suite, cells: pd.DataFrame, arms: pd.DataFrame, standings: Sequence[Standings]
) -> list[PanelTable]:
    """The tables of every family that has any number, in the order of the standings and of the columns."""
    families = _families(cells)
    if not families:
        return []
    pooled = scored(cells)
    names = [name for family in families.values() for name in family]
    values = {name: by_arm_and_seed(pooled, pooled[name], arms=len(suite.arms), empty=math.nan) for name in names}
    tables = []
    for table in standings:
        mine = arms[(arms["task"] == table.task) & (arms["budget"].map(dict) == dict(table.given))]
        rows = table.mean.index
        assert isinstance(rows, pd.MultiIndex)
        for family, members in families.items():
            found = {name: _over_models(mine, rows, values[name]) for name in members}
            found = {name: by_seed for name, by_seed in found.items() if not np.isnan(by_seed).all()}
            deciles = {name: by_seed for name, by_seed in found.items() if name.startswith(f"{DECILES}/")}
            split = {name: by_seed for name, by_seed in found.items() if name.partition("/")[0] in SPLIT}
            checks = {name: float(np.nanmax(np.abs(found[name]))) for name in CHECKS if name in found}
            others = {name: found[name] for name in found if name not in (*deciles, *split, *checks)}
            mode = next((str(panel.mode) for panel in suite.panels if panel.kind == family == "sharpness"), "")
            for title, chosen in ((family, others), (SPLIT_FAMILY, split)):
                shown = {name: by_seed for name, by_seed in chosen.items() if not _is_unshown(name)}
                if shown:
                    made = replace(_table(table, title, rows, shown), mode=mode)
                    tables.append(replace(made, checks=checks) if title == family else made)
            if deciles:
                tables.append(_beside_anchor(table, anchor_of(mine), rows, deciles))
    return tables


def _is_unshown(name: str) -> bool:
    return any(fnmatchcase(name.partition("/")[0] if "/" not in pattern else name, pattern) for pattern in UNSHOWN)


def _families(cells: pd.DataFrame) -> dict[str, list[str]]:
    """The recorded metrics of each family, in the order of the columns; parts of a column follow it, 2 before 10."""
    order = {name: place for place, name in enumerate(COLUMNS)}
    found: dict[str, list[str]] = {SETS_FAMILY: sets} if (sets := _by_set(cells)) else {}
    recorded = [name for name in metrics_of(cells) if column(name).panel and cells[name].notna().any()]
    for name in sorted(recorded, key=lambda name: (order[name.partition("/")[0]], _natural(name))):
        found.setdefault(column(name).panel, []).append(name)
    return found


def _by_set(cells: pd.DataFrame) -> list[str]:
    """The accuracy of each published set that was asked, and how else the answers were read."""
    recorded = [name for name in metrics_of(cells) if cells[name].notna().any()]
    sets = [name for name in recorded if name.startswith("accuracy/") and name.partition("/")[2] in SETS]
    return [*sets, *(name for name in READ_OTHERWISE if sets and name in recorded)]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _over_models(arms: pd.DataFrame, rows: pd.MultiIndex, values: Array) -> Array:
    """The mean over the models that have any such number, [rows, seeds]."""
    known = [model for model, own in arms.groupby("model", sort=False) if not np.isnan(values[own.index]).all()]
    if not known:
        return np.full((len(rows), values.shape[1]), math.nan)
    return next(iter(by_model(arms[arms["model"].isin(known)], rows, values, math.nan).values()))


def _table(
    standings: Standings,
    family: str,
    rows: pd.MultiIndex,
    found: Mapping[str, Array],
    largest: Mapping[str, Array] | None = None,
) -> PanelTable:
    """`largest` [rows], for each column: the size of the numbers that were subtracted to get those of `found`."""
    mean, width, n = (pd.DataFrame(index=rows) for _ in range(3))
    for name, by_seed in found.items():
        frame = pd.DataFrame(by_seed)
        n[name] = frame.notna().sum(axis=1).to_numpy()
        mean[name] = frame.mean(axis=1).to_numpy()
        spread = frame.std(axis=1).to_numpy()
        size = mean[name].abs().to_numpy() if largest is None else largest[name]
        certain = column(name).certain
        width[name] = standings.inference.half_width(size, spread, n[name].to_numpy(), certain=certain)
    return PanelTable(standings, family, mean, width, n)


def _beside_anchor(
    standings: Standings, anchor: tuple[str, str], rows: pd.MultiIndex, found: Mapping[str, Array]
) -> PanelTable:
    """The anchor's own losses in the first row, and below the differences of all others from it, paired by seed."""
    place = rows.tolist().index(anchor)
    order = [place, *(row for row in range(len(rows)) if row != place)]
    beside, largest = {}, {}
    for name, by_seed in found.items():
        largest[name] = np.fmax.reduce(np.fmax(np.abs(by_seed), np.abs(by_seed[place])), axis=1)[order]
        differences = by_seed - by_seed[place]
        differences[place] = by_seed[place]
        beside[name] = differences[order]
    table = _table(standings, DECILE_FAMILY, rows[order], beside, largest)
    return PanelTable(standings, DECILE_FAMILY, table.mean, table.half_width, table.n, minus=anchor)
