"""How large the runs of both sides were, and how far apart that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optbench.boards.boardfile import ScaleFields
from optbench.boards.ours import Ours
from optbench.reports.frame import MISSING
from optbench.reports.scale import parameters_of

if TYPE_CHECKING:
    from optbench.suite import Suite


@dataclass(frozen=True)
class Scale:
    """Our side: parameters of the matrices of the smallest and the largest model, mean training tokens of a run, mean
    tokens of a step, and the devices. NaN where it is not known."""

    parameters: tuple[float, float]
    tokens: float
    batch_tokens: float
    devices: tuple[str, ...]


def our_scale(suite: Suite, ours: Ours) -> Scale:
    """The scale of the arms that are compared."""
    specs = {arm.model: arm.model_spec for arm in suite.arms if arm.model in ours.models}
    known = [float(count) for spec in specs.values() if (count := parameters_of(spec))]
    done = ours.cells[ours.cells["outcome"] == "completed"]
    tokens = float(done["tokens"].mean()) if "tokens" in done else math.nan
    steps = float(done["steps_done"].mean()) if "steps_done" in done else math.nan
    devices = ours.cells.loc[ours.cells["outcome"] != MISSING, "device"]
    return Scale(
        parameters=(min(known), max(known)) if len(known) == len(specs) else (math.nan, math.nan),
        tokens=tokens,
        batch_tokens=tokens / steps if steps else math.nan,
        devices=tuple(sorted(set(devices))),
    )


def scale_sentences(scale: Scale, ours: Ours, theirs: ScaleFields) -> list[str]:
    """The two scales in words, and the gap in factors where both are known."""
    low, high = scale.parameters
    models = f"{len(ours.models)} models" if len(ours.models) > 1 else f"1 model ({ours.models[0]})"
    size = counted(low) if low == high else f"{counted(low)} to {counted(high)}"
    here = [
        f"{models} of {size} parameters" if not math.isnan(low) else f"{models}, parameters not known",
        f"{counted(scale.tokens)} training tokens" if not math.isnan(scale.tokens) else "training tokens not recorded",
        f"task {ours.task}",
        f"on {' and '.join(scale.devices)}" if scale.devices else "device not recorded",
    ]
    there = [
        f"{counted(theirs.parameters)} parameters" if theirs.parameters else "parameters not stated",
        f"{counted(theirs.tokens)} training tokens" if theirs.tokens else "training tokens not stated",
        f"data {theirs.data}" if theirs.data else "data not stated",
        f"on {theirs.hardware}" if theirs.hardware else "hardware not stated",
    ]
    sentences = [f"Scale here: {', '.join(here)}. There: {', '.join(there)}."]
    gaps = []
    if theirs.parameters and not math.isnan(high):
        largest = "the largest model here" if low != high else "here"
        gaps.append(f"{_factor(theirs.parameters / high)} as many parameters as {largest}")
    if theirs.tokens and scale.tokens > 0:
        gaps.append(f"{_factor(theirs.tokens / scale.tokens)} as many training tokens")
    if gaps:
        sentences.append(f"The gap: there {' and '.join(gaps)}.")
    return sentences


def counted(number: float) -> str:
    """A count for people: 512, 24 k, 720 M, 1.43 B."""
    for limit, unit in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= limit * 0.9995:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}"


def _factor(factor: float) -> str:
    if 0.95 < factor < 1.05:
        return "about"
    return f"{_plain(factor)} times" if factor > 1 else f"1/{_plain(1 / factor)}"


def _plain(factor: float) -> str:
    rounded = float(f"{factor:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"
