"""A record against the curves beside it, and against itself.

Each check yields what is wrong, in words. What no check repeats (likelihoods, single step times) is left to the seal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from optbench.cell import CellSpec
from optbench.optim.schedules import schedule_of
from optbench.reports.frame import OUTCOMES
from optbench.store import CHECKPOINTS, SCHEMA, are_checkpoints
from optbench.verification.numbers import mean, number, same

CHECK_EVERY = 16
"""Losses are read once in so many steps: a run that diverges goes on for less than that."""
LAST = 10
_BLOCKS = {"cell": dict, "outcome": str, "result": dict, "plan": dict, "optimizer": dict, "measured": dict, "key": str}
_TIMES = ("peak_bytes", "probe_seconds", "rewrite_seconds", "step_seconds", "step_seconds_p95", "tokens_per_second")


def wrong_shape(content: Mapping[str, Any]) -> Iterator[str]:
    """What of a record is missing or of another type: nothing further is looked at then."""
    if content.get("schema") != SCHEMA:
        yield f"record of schema {content.get('schema')!r}; this version reads schema {SCHEMA}"
        return
    for name, kind in _BLOCKS.items():
        if name not in content:
            yield f"has no {name}"
        elif not isinstance(content[name], kind):
            yield f"its {name} is no {'text' if kind is str else 'mapping'}"
    if isinstance(content.get("outcome"), str) and content["outcome"] not in OUTCOMES:
        yield f"its outcome is {content['outcome']!r}, which is none of {', '.join(OUTCOMES)}"
    if not are_checkpoints(content.get(CHECKPOINTS, {})):
        yield f"its {CHECKPOINTS} state no hash, nor the hub id of that name and its commit"
    for name in sorted(set(content) - {*_BLOCKS, "schema", "panels", CHECKPOINTS}):
        yield f"has a block {name!r} that no record has"


def wrong_result(content: Mapping[str, Any], cell: CellSpec | None) -> Iterator[str]:
    """What in a record contradicts the record itself, or the cell that it is of."""
    result, measured = content["result"], content["measured"]
    for name, value in result.items():
        if math.isnan(number(value)):
            yield f"result.{name} is {value!r}, which is no finite number"
    outcome, steps = content["outcome"], number(result.get("steps_done"))
    if outcome == "out_of_memory":
        if result:
            yield "ran out of memory, and has results"
    elif "steps_done" not in result:
        yield "has no result.steps_done"
    if outcome == "completed":
        for name in [name for name in ("final_loss", "tokens", "passes", "flops", "state_bytes") if name not in result]:
            yield f"is completed, and has no result.{name}"
        if "diverged_at" in result:
            yield "is completed, and has result.diverged_at"
    if outcome == "diverged" and not 0 <= number(result.get("diverged_at")) <= steps:
        yield f"diverged, and result.diverged_at is {result.get('diverged_at')!r} of {steps:g} steps"
    for name, value in result.items():
        if name.partition("/")[0] in ("accuracy", "format_error") and not 0 <= number(value) <= 1:
            yield f"result.{name} is {value!r}, which is no fraction"
        elif name in ("tokens", "passes", "flops", "state_bytes", "steps_done", "probe_share") and number(value) < 0:
            yield f"result.{name} is {value!r}, which is below 0"
    yield from _wrong_measures(measured, steps)
    yield from _wrong_notes(content)
    if cell is not None and outcome != "out_of_memory":
        yield from _wrong_budget(result, measured, outcome, cell)


def _wrong_measures(measured: Mapping[str, Any], steps: float) -> Iterator[str]:
    for name in (*_TIMES, "train_seconds", "total_seconds"):
        if name in measured and not number(measured[name]) >= 0:
            yield f"measured.{name} is {measured[name]!r}, which is no time or size"
    if "contended" in measured and not isinstance(measured["contended"], bool):
        yield f"measured.contended is {measured['contended']!r}, neither true nor false"
    median, whole = number(measured.get("step_seconds")), number(measured.get("train_seconds"))
    if median >= 0 and whole >= 0 and steps >= 0 and not same(whole, median * steps, relative=1e-9):
        yield f"measured.train_seconds is {whole:g}, but {steps:g} steps of {median:g} s are {median * steps:g}"
    if number(measured.get("step_seconds_p95")) < median:
        yield f"measured.step_seconds_p95 is {measured['step_seconds_p95']:g}, below the median {median:g}"


def _wrong_notes(content: Mapping[str, Any]) -> Iterator[str]:
    """The shift cosine against the observed steps, where the record kept them (an archive does not)."""
    observed = content["optimizer"].get("observed")
    if not isinstance(observed, list):
        return
    cosines = [number(notes.get("shift_cosine")) for notes in observed if isinstance(notes, Mapping)]
    finite = [value for value in cosines if math.isfinite(value)]
    recorded = content["result"].get("shift_cosine")
    if (recorded is None) == bool(finite) or (finite and recorded != min(finite)):
        worst = f"{min(finite):.12g}" if finite else "none"
        yield f"result.shift_cosine is {recorded!r}, but the worst of the observed steps is {worst}"


def _passes_after(estimator: Any, steps: int) -> float | None:
    """The passes of so many steps; None for an estimator whose steps are not all alike and that does not tell."""
    if hasattr(estimator, "passes_after"):
        return float(estimator.passes_after(steps))
    return float(estimator.passes_per_step) * steps if getattr(estimator, "refresh_every", 1) == 1 else None


def _wrong_budget(
    result: Mapping[str, Any], measured: Mapping[str, Any], outcome: str, cell: CellSpec
) -> Iterator[str]:
    steps, planned = number(result.get("steps_done")), cell.training.steps
    if (outcome == "completed" and steps != planned) or steps > planned:
        yield f"result.steps_done is {steps:g} of {planned} steps of the cell, and the outcome is {outcome}"
    estimator = cell.optimizer.estimator
    passes = _passes_after(estimator, int(steps)) if 0 <= steps <= planned else None
    if passes is not None:
        if not same(result.get("passes"), passes, relative=1e-9):
            yield f"result.passes is {result.get('passes')!r}, but {steps:g} steps of this optimizer are {passes:g}"
    made = measured.get("provenance", {})
    for name in ("precision", "attention"):
        asked = getattr(cell.training, name)
        if isinstance(made, Mapping) and made.get(name, asked) != asked:
            yield f"measured.provenance.{name} is {made[name]!r}, but the cell asks for {asked!r}"


def wrong_curves(content: Mapping[str, Any], curves: pd.DataFrame, cell: CellSpec | None) -> Iterator[str]:
    """What in the curves contradicts the record or, with the cell, its schedule."""
    needed = {"step", "loss", "gradient_norm", "lr_scale", "tokens", "passes"}
    if missing := sorted(needed - set(curves.columns)):
        yield f"has no column {', '.join(missing)}"
        return
    if odd := sorted(name for name in needed if not is_numeric_dtype(curves[name]) or is_bool_dtype(curves[name])):
        yield f"its column {', '.join(odd)} holds no numbers"
        return
    result, losses = content["result"], [float(value) for value in curves["loss"]]
    steps = len(losses)
    if curves["step"].tolist() != list(range(steps)):
        yield "its steps are not 0, 1, 2 and so on"
    for name, found in (
        ("steps_done", float(steps)),
        ("tokens", math.fsum(curves["tokens"])),
        ("passes", float(curves["passes"].iloc[-1]) if steps else 0.0),
    ):
        if not same(result.get(name), found):
            yield f"result.{name} is {result.get(name)!r}, but the curves say {found:.12g}"
    if not (curves["passes"].diff().dropna() >= 0).all():
        yield "its passes do not grow"
    final = _final_loss(curves, losses)
    if "final_loss" in result and not same(result["final_loss"], final):
        yield f"result.final_loss is {result['final_loss']!r}, but the last losses of the curve average {final:.12g}"
    bad = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if content["outcome"] == "completed" and bad is not None:
        yield f"is of a completed run, and its loss at step {bad} is not finite"
    if content["outcome"] == "diverged":
        at = steps if bad is None else bad
        if number(result.get("diverged_at")) != at:
            yield f"result.diverged_at is {result.get('diverged_at')!r}, but the curve says {at}"
        if bad is not None and steps > bad + CHECK_EVERY:
            yield f"goes on for {steps - bad} steps after its loss is no longer finite"
    before = curves["gradient_norm"][: steps if bad is None else bad]
    if not (before >= 0).all():
        yield "has a gradient norm that is no number, or below 0"
    if cell is not None:
        yield from _wrong_schedule(curves, cell)


def _final_loss(curves: pd.DataFrame, losses: list[float]) -> float:
    at = curves["loss_at"].tolist() if "loss_at" in curves else ["weights"] * len(losses)
    finite = [(loss, where) for loss, where in zip(losses, at, strict=True) if math.isfinite(loss)]
    at_weights = [loss for loss, where in finite if where == "weights"]
    return mean((at_weights or [loss for loss, _ in finite])[-LAST:])


def _wrong_schedule(curves: pd.DataFrame, cell: CellSpec) -> Iterator[str]:
    schedule, steps = cell.training.schedule, cell.training.steps
    factor = schedule_of(schedule.kind, warmup=schedule.warmup, final=schedule.final, steps=steps)
    for step, scale in enumerate(curves["lr_scale"].tolist()):
        if not same(scale, factor(step / steps), floor=1e-3):
            yield f"its lr_scale at step {step} is {scale:.9g}, but the schedule says {factor(step / steps):.9g}"
            return
    for step, passes in enumerate(curves["passes"].tolist(), start=1):
        expected = _passes_after(cell.optimizer.estimator, step)
        if expected is not None and not same(passes, expected, relative=1e-9):
            yield f"its passes after {step} steps are {passes:.9g}, but {expected:.9g} were asked for"
            return
