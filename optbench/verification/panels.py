"""Findings of panels against their own tables, the numbers of which are computed again, one example at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from optbench.panels.eigen_directions import delay_free_ratio, last_first_ratio, learned_for_good
from optbench.verification.numbers import SINGLE, mean, number, same

Tables = Mapping[str, pd.DataFrame]
_NEVER_BELOW_0 = ("_residual", "_se", "split_error", "sharpness_cost", "critical_sharpness", "population_loss")


def wrong_findings(content: Mapping[str, Any], tables: Tables) -> Iterator[str]:
    """What in the findings of a panel contradicts themselves or their tables."""
    result = content["result"]
    for name, value in result.items():
        if math.isnan(number(value)):
            yield f"result.{name} is {value!r}, which is no finite number"
    if not number(content.get("measured", {}).get("seconds", 0.0)) >= 0:
        yield f"measured.seconds is {content['measured']['seconds']!r}, which is no time"
    yield from _out_of_range(result)
    if "nothing" in content.get("notes", {}):
        return
    kind = content["panel"].get("kind")
    if kind in _CHECKS and tables:
        try:
            yield from _CHECKS[kind](content, tables)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            yield f"does not fit its tables ({type(error).__name__}: {error})"


def missing_tables(content: Mapping[str, Any]) -> Sequence[str]:
    """The tables that the findings of this kind of panel have."""
    if "nothing" in content.get("notes", {}):
        return []
    names = _TABLES.get(content["panel"].get("kind"), [])
    return [*names, *(["series"] if content["panel"].get("kind") == "sharpness" and content["panel"]["looks"] else [])]


def _out_of_range(result: Mapping[str, Any]) -> Iterator[str]:
    for name, value in result.items():
        base = name.partition("/")[0]
        known = number(value)
        if base.endswith(_NEVER_BELOW_0) and known < 0:
            yield f"result.{name} is {value!r}, which is below 0"
        elif base in ("first_learned", "learned", "never_learned", "learning_uniformity") and not 0 <= known <= 1:
            yield f"result.{name} is {value!r}, which is no fraction"
        elif base.endswith("share") and not abs(known) <= 1 + 1e-6:
            yield f"result.{name} is {value!r}, which is no share"


def _sharpness(content: Mapping[str, Any], tables: Tables) -> Iterator[str]:
    result, table = content["result"], tables["values"]
    values = dict(zip(table["name"].tolist(), table["value"].tolist(), strict=True))
    computed = {name: value for name, value in values.items() if math.isfinite(value)}
    yield from _disagreements(result, {**computed, "sharpness_cost": math.nan}, relative=0.0)
    errors = dict(zip(table["name"].tolist(), table["error"].tolist(), strict=True))
    if "hessian_trace" in values and not same(values.get("hessian_trace_se"), errors["hessian_trace"]):
        yield "the standard error of the trace is not the error of the trace in the table values"
    for name, value in values.items():
        first, _, geometry = name.partition("/")
        other = f"functional_share/{geometry}" if geometry else "functional_share"
        if first == "logit_share" and not same(value + values[other], 1.0, relative=1e-6):
            yield f"{name} and {other} do not add up to 1"
    costs = [float(value) for value in table["cost"]]
    if not all(cost >= -1e-9 for cost in costs):
        yield "a cost in the table values is below 0"
    if "sharpness_cost" in result and number(result["sharpness_cost"]) < math.fsum(costs) * (1 - 1e-9) - 1e-9:
        yield f"result.sharpness_cost is {result['sharpness_cost']!r}, below the {math.fsum(costs):g} of its values"
    if set(table["mode"]) - {content["panel"]["mode"]}:
        yield "the table values is of another mode than the panel"


def _simplicity(content: Mapping[str, Any], tables: Tables) -> Iterator[str]:
    result, notes = content["result"], content["notes"]
    examples, losses, right = tables["examples"], tables["losses"], tables["right"]
    steps = [int(name.removeprefix("step ")) for name in losses.columns]
    if list(losses.columns) != list(right.columns) or steps != list(notes["looks"]):
        yield "the tables losses and right and its notes tell of different looks"
        return
    if not len(examples) == len(losses) == len(right) == notes["examples"]:
        yield "its tables differ in length"
        return
    times = [step / steps[-1] for step in steps]
    seen = [[bool(value) for value in row] for row in right.to_numpy().tolist()]
    values = losses.to_numpy(dtype=np.float64)
    first = [next((t for t, hit in zip(times, row, strict=True) if hit), 1.0) for row in seen]
    learned = [_stays(row, times) for row in seen]
    lost = [sum(a and not b for a, b in pairwise(row)) for row in seen]
    for name, own in (("first_learned", first), ("learned", learned), ("forgotten", lost)):
        if [float(value) for value in examples[name]] != [float(value) for value in own]:
            yield f"the column {name} of the table examples is not what the table right says"
    if not np.isfinite(values).all():
        yield "the table losses holds what is no finite number"
        return
    last = values[:, -1]
    computed = {
        "first_learned": mean(first),
        "learned": mean(learned),
        "never_learned": mean(float(not row[-1]) for row in seen),
        "forgetting": mean(map(float, lost)),
        "learning_uniformity": 1.0 - _gini(learned),
    }
    by_source = _by_source(learned, [str(name) for name in examples["source"]])
    yield from _disagreements(result, {**computed, **_spread(list(by_source.values()))}, relative=1e-9, partial=True)
    if not _all_same(notes.get("learning_time_by_source", {}), by_source):
        yield "notes.learning_time_by_source is not what its tables say"
    if "late_share" in notes and not same(notes["late_share"], mean(map(float, examples["late"]))):
        yield "notes.late_share is not that of the table examples"
    rounded = {"loss_cv": float(last.std() / last.mean())}
    for decile in range(1, 11):
        rounded[f"decile_loss/{decile}"] = mean(last[(examples["decile"] == decile).to_numpy()].tolist())
    rounded |= _gap(values, examples["late"].to_numpy(dtype=bool), times)
    # The gap is a difference of means: what single precision leaves of it is relative to these.
    floor = float(np.abs(values).max())
    yield from _disagreements(result, rounded, relative=SINGLE, partial=True, floor=floor)
    for name in sorted(set(result) - {*computed, *rounded, "learning_time_ratio", "learning_time_spread"}):
        yield f"result.{name} is no number of this panel"


def _stays(row: list[bool], times: list[float]) -> float:
    since = 1.0
    for hit, time in zip(reversed(row), reversed(times), strict=True):
        if not hit:
            return since
        since = time
    return since


def _gini(values: list[float]) -> float:
    total = math.fsum(values)
    if total == 0:
        return 0.0
    n, ordered = len(values), sorted(values)
    return math.fsum((2 * rank - n - 1) * value for rank, value in enumerate(ordered, start=1)) / (n * total)


def _by_source(learned: list[float], sources: list[str]) -> dict[str, float]:
    return {
        name: mean(value for value, own in zip(learned, sources, strict=True) if own == name) for name in set(sources)
    }


def _spread(means: list[float]) -> dict[str, float]:
    if len(means) < 2 or min(means) == 0:
        return {}
    middle = mean(means)
    sd = math.sqrt(mean((value - middle) ** 2 for value in means))
    return {"learning_time_ratio": max(means) / min(means), "learning_time_spread": sd / middle}


def _gap(losses: np.ndarray, late: np.ndarray, times: list[float]) -> dict[str, float]:
    if late.all() or not late.any():
        return {}
    gaps = [mean(column[late].tolist()) - mean(column[~late].tolist()) for column in losses.T]
    area = sum((a + b) / 2 * (t - s) for (a, b), (s, t) in zip(pairwise(gaps), pairwise(times), strict=True))
    return {"late_early_gap": gaps[-1], "late_early_gap_area": area}


def _directions(content: Mapping[str, Any], tables: Tables) -> Iterator[str]:
    result, table, plateaus = content["result"], tables["alignments"], tables["plateaus"]
    steps = table["step"].to_numpy(dtype=float)
    names = [name for name in table.columns if name.startswith("alignment/")]
    threshold = content["panel"]["threshold"]
    times = np.array([learned_for_good(steps, table[name].to_numpy(), threshold) for name in names])
    flat = plateaus["plateau"].to_numpy(dtype=bool)
    computed = {
        "never_learned_directions": float(np.isnan(times).sum()),
        "population_loss": float(table["population_loss"].iloc[-1]),
        **{f"learned_at/{d}": float(time) for d, time in enumerate(times, start=1) if math.isfinite(time)},
    }
    if flat.any():
        computed["plateau_error"] = float(plateaus["error"][flat].max())
    ratio, why = last_first_ratio(times, int(steps[-1]))
    if not why:
        computed["last_first_ratio"] = ratio
    undelayed = delay_free_ratio(times)
    if math.isfinite(undelayed):
        computed["delay_free_ratio"] = undelayed
    yield from _disagreements(result, computed, relative=1e-9)
    if number(content["notes"].get("looks")) != len(table):
        yield "notes.looks is not the length of the table alignments"


def _disagreements(
    result: Mapping[str, Any],
    computed: Mapping[str, float],
    *,
    relative: float,
    partial: bool = False,
    floor: float = 0.0,
) -> Iterator[str]:
    """Where the result differs from what was computed; NaN stands for a name whose number is not known here. Unless
    `partial`, there may be no others."""
    for name, value in computed.items():
        if math.isnan(value):
            continue
        if name not in result:
            yield f"has no result.{name}, but its tables say {value:.9g}"
        elif not same(result[name], value, relative=relative, floor=floor):
            yield f"result.{name} is {result[name]!r}, but its tables say {value:.9g}"
    for name in () if partial else sorted(set(result) - set(computed)):
        yield f"result.{name} is {result[name]!r}, but its tables have no such number"


def _all_same(recorded: Mapping[str, Any], computed: Mapping[str, float]) -> bool:
    return set(recorded) == set(computed) and all(
        same(recorded[name], value, relative=1e-9) for name, value in computed.items()
    )


_CHECKS: dict[str, Callable[[Mapping[str, Any], Tables], Iterator[str]]] = {
    "sharpness": _sharpness,
    "simplicity": _simplicity,
    "eigen_directions": _directions,
}
_TABLES = {
    "sharpness": ["values"],
    "simplicity": ["examples", "losses", "right"],
    "eigen_directions": ["alignments", "plateaus"],
}
