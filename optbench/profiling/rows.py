"""What a profile finds of one optimizer on one model: plain numbers, with units."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["measured", "extrapolated", "out of memory", "not measured"]
Fits = Literal["yes", "tight", "no", "unknown"]
TIGHT = 0.9
"""Above this share of the memory a fit is called tight, and not tried: an estimate is off by that much."""
NAN = math.nan


@dataclass
class Row:
    """One optimizer on one model. NaN is what is not known.

    Times are seconds, `ratio` is the cost of a step over that of fused AdamW beside it (`ratio_low` and `ratio_high`
    its quartiles over rounds), `flops` operations of a step by formula, `flops_algorithm` those without what is only
    done again to save memory, `mfu` the latter as a fraction of what the device promises, `flops_counted` what torch
    counts as a multiple of the formula. `measured_layers` is what was run: two depths where the rest is extrapolated.
    `state_bytes` is measured, at the greater depth, as is `peak_bytes`; `memory` is the estimate for the whole model in
    bytes. `split` are shares of a step.
    """

    model: str
    optimizer: str
    status: Status = "not measured"
    why: str = ""
    layers: int = 0
    measured_layers: tuple[int, ...] = ()
    parameters: int = 0
    tokens: int = 0
    supervised: int = 0
    passes: float = NAN
    step_seconds: float = NAN
    step_seconds_p95: float = NAN
    timed_steps: int = 0
    ratio: float = NAN
    ratio_low: float = NAN
    ratio_high: float = NAN
    tokens_per_second: float = NAN
    break_even_percent: float = NAN
    flops: float = NAN
    flops_algorithm: float = NAN
    flops_counted: float = NAN
    mfu: float = NAN
    fits: Fits = "unknown"
    memory_peak: float = NAN
    memory_peak_at: str = ""
    memory: dict[str, float] = field(default_factory=dict)
    state_bytes: float = NAN
    peak_bytes: float = NAN
    estimated_peak_there: float = NAN
    shift_cosine: float = NAN
    split: dict[str, float] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Every field, with None for NaN."""
        content: dict[str, Any] = _without_nan(asdict(self))
        return content


@dataclass(frozen=True)
class Profile:
    """All rows, and under what conditions they were found: device, versions, settings."""

    conditions: dict[str, Any]
    rows: list[Row]

    def models(self) -> dict[str, list[Row]]:
        """The rows by model, in order."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.model, []).append(row)
        return found

    def plain(self) -> dict[str, Any]:
        """JSON data."""
        return {"conditions": _without_nan(self.conditions), "rows": [row.plain() for row in self.rows]}


def fits_in(peak: float, usable: float | None) -> Fits:
    """Whether an estimated peak fits in what is there."""
    if usable is None:
        return "unknown"
    if peak > usable:
        return "no"
    return "tight" if peak > TIGHT * usable else "yes"


def break_even(ratio: float) -> float:
    """100 (1 - 1 / ratio): the percentage of the steps that an optimizer must save to be worth its price; negative for
    a cheaper one."""
    return 100 * (1 - 1 / ratio) if ratio > 0 else NAN


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
