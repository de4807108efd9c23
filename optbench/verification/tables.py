"""The tables of a report beside the same tables computed a second time: see `recount`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from optbench.metrics.columns import column, worst
from optbench.verification.recount import NAN, Recount, Spread, contrast_of, holm_of

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report

RELATIVE = 1e-9
_FALLBACKS = ("accuracy", "test_nll")


def differences(report: Report, recount: Recount) -> Iterator[tuple[str, str, int]]:
    """Every figure of the report that is not what the recount gives: table, what is wrong; and the number of figures
    that were compared, as the last item of each. The last triple has an empty text."""
    count = 0
    for where, shown, expected, floor in _figures(report, recount):
        count += 1
        if not _agree(shown, expected, floor):
            yield where, f"shows {shown!r}, but the records give {expected!r}", count
    yield "", "", count


Figure = tuple[str, float, float, float]


def _figures(report: Report, recount: Recount) -> Iterator[Figure]:
    yield from _arms(report, recount)
    yield from _standings(report, recount)
    yield from _contrasts(report, recount)
    yield from _panels(report, recount)
    yield from _compute(report, recount)


def _arms(report: Report, recount: Recount) -> Iterator[Figure]:
    names = [name for name in recount.values if name in report.arms.columns]
    for place, row in report.arms.iterrows():
        assert isinstance(place, int)
        for name in names:
            expected = recount.over_seeds(name, place)
            where = f"arm {row['name']}, {name}"
            yield from _spread(where, expected, row[name], row[f"{name}_half_width"], row[f"{name}_n"])


def _spread(where: str, expected: Spread, mean: Any, width: Any, n: Any) -> Iterator[Figure]:
    yield f"{where}, mean", float(mean), expected.mean, 0.0
    # What is left of equal numbers' spread is rounding, relative to the numbers.
    yield f"{where}, half-width", float(width), expected.half_width, abs(expected.mean) * 1e-6
    yield f"{where}, seeds", float(n), float(expected.n), 0.0


def _standings(report: Report, recount: Recount) -> Iterator[Figure]:
    arms = recount.suite.arms
    for table in report.standings:
        mine = [
            place for place, arm in enumerate(arms) if arm.task == table.task and arm.axes()["budget"] == table.budget
        ]
        where = f"table {table.task}, {table.budget}"
        score = _score(recount, mine)
        if score != table.score:
            yield f"{where}: ranked by {table.score} instead of {score}", 0.0, 1.0, 0.0
            continue
        for row in table.mean.index:
            for name in table.mean.columns:
                per_seed = _over_models(recount, mine, tuple(row), name, table.mean.columns, score)
                expected = recount.spread(score, per_seed)
                figures = (frame.loc[row, name] for frame in (table.mean, table.half_width, table.n))
                yield from _spread(f"{where}, {row[0]} {row[1]}, {name}", expected, *figures)


def _score(recount: Recount, arms: list[int]) -> str:
    known = [recount.suite.ranked_by, *_FALLBACKS]
    # A diverged cell has the worst value of columns that its task may not have.
    finished = [
        (arm, seed) for arm in arms for seed in recount.seeds if recount.outcome.get((arm, seed)) == "completed"
    ]
    has = (name for name in known if any(not math.isnan(recount.number(name, *at)) for at in finished))
    return next(has, recount.suite.ranked_by)


def _over_models(
    recount: Recount, arms: list[int], row: tuple[Any, ...], name: str, columns: pd.Index, score: str
) -> list[float]:
    """One number per seed of a row: of one model, or the mean over all that the table has; NaN where one is missing."""
    suite = recount.suite
    own = [arm for arm in arms if (suite.arms[arm].optimizer, suite.arms[arm].strategy) == row]
    models = list(dict.fromkeys(suite.arms[arm].model for arm in arms))
    wanted = [name] if name in models else models
    found = []
    for seed in recount.seeds:
        numbers = []
        for model in wanted:
            place = next((arm for arm in own if suite.arms[arm].model == model), None)
            numbers.append(NAN if place is None else _scored(recount, score, place, seed))
        found.append(_mean_or_nan(numbers))
    return found


def _scored(recount: Recount, score: str, arm: int, seed: int) -> float:
    value = recount.number(score, arm, seed)
    if math.isnan(value) and recount.outcome.get((arm, seed)) == "diverged":
        known = worst(score)
        return known if not math.isnan(known) else -math.inf if column(score).direction == "higher" else math.inf
    return value


def _mean_or_nan(numbers: list[float]) -> float:
    return NAN if any(math.isnan(value) for value in numbers) or not numbers else sum(numbers) / len(numbers)


def _contrasts(report: Report, recount: Recount) -> Iterator[Figure]:
    found = [contrast_of(recount, contrast) for contrast in recount.suite.contrasts]
    adjusted = holm_of([own["p"] for own in found], recount.suite.family)
    if len(found) != len(report.contrasts):
        yield f"{len(report.contrasts)} contrasts instead of {len(found)}", 0.0, 1.0, 0.0
        return
    for own, p_holm, (_, row) in zip(found, adjusted, report.contrasts.iterrows(), strict=True):
        scale = max(abs(own["estimate"]) if math.isfinite(own["estimate"]) else 0.0, 1e-6)
        for name, expected in {**own, "p_holm": p_holm}.items():
            floor = scale * 1e-3 if name not in ("p", "p_holm") else 1e-9
            yield f"contrast {row['name']}, {name}", float(row[name]), expected, floor


def _panels(report: Report, recount: Recount) -> Iterator[Figure]:
    arms = recount.suite.arms
    for table in report.panels:
        place = table.standings
        mine = [at for at, arm in enumerate(arms) if arm.task == place.task and arm.axes()["budget"] == place.budget]
        for name in table.mean.columns:
            with_any = [
                arm for arm in mine if any(not math.isnan(recount.number(name, arm, seed)) for seed in recount.seeds)
            ]
            models = {arms[arm].model for arm in with_any}
            known = [arm for arm in mine if arms[arm].model in models]
            by_row = {
                tuple(row): _over_models(recount, known, tuple(row), "", table.mean.columns, name)
                for row in table.mean.index
            }
            for row in table.mean.index:
                per_seed, size = by_row[tuple(row)], 0.0
                if table.minus is not None and tuple(row) != tuple(table.minus):
                    anchor = by_row[tuple(table.minus)]
                    size = max((abs(value) for value in (*per_seed, *anchor) if not math.isnan(value)), default=0.0)
                    per_seed = [one - other for one, other in zip(per_seed, anchor, strict=True)]
                figures = (frame.loc[row, name] for frame in (table.mean, table.half_width, table.n))
                expected = recount.spread(name, per_seed, size=size)
                yield from _spread(f"panel {table.family}, {row[0]} {row[1]}, {name}", expected, *figures)


def _compute(report: Report, recount: Recount) -> Iterator[Figure]:
    """FLOPs with the probe's over those of the anchor with the same model, task and budget."""
    suite = recount.suite
    bills = {place: _bill(recount, place) for place in range(len(suite.arms))}
    pairs = [(arm.optimizer, arm.strategy) for arm in suite.arms]
    anchor = ("adamw", "uniform") if ("adamw", "uniform") in pairs else pairs[0]
    for place, arm in enumerate(suite.arms):
        own = (arm.model, arm.task, arm.axes()["budget"])
        bases = [
            bills[other]
            for other, theirs in enumerate(suite.arms)
            if (theirs.model, theirs.task, theirs.axes()["budget"]) == own and pairs[other] == anchor
        ]
        known = [base for base in bases if not math.isnan(base)]
        expected = bills[place] / max(known) if known else NAN
        yield f"arm {arm.name}, compute", float(report.compute["compute"].loc[place]), expected, 0.0


def _bill(recount: Recount, arm: int) -> float:
    bills = []
    for seed in recount.seeds:
        share = recount.number("probe_share", arm, seed)
        flops = recount.number("flops", arm, seed)
        if not math.isnan(flops):
            bills.append(flops + flops * (0.0 if math.isnan(share) else share))
    return math.fsum(bills) / len(bills) if bills else NAN


def _agree(shown: float, expected: float, floor: float) -> bool:
    if math.isnan(shown) or math.isnan(expected):
        return math.isnan(shown) and math.isnan(expected)
    if math.isinf(shown) or math.isinf(expected):
        return shown == expected
    return abs(shown - expected) <= RELATIVE * max(abs(shown), abs(expected), floor)
