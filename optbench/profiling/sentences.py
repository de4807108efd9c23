"""What a profile says, in sentences."""

from __future__ import annotations

import math

from optbench.profiling.rows import Profile, Row
from optbench.profiling.settings import BASELINE


def headline(profile: Profile) -> str:
    """Where and on what was measured."""
    c = profile.conditions
    usable = "unknown" if c["usable_bytes"] is None else f"{c['usable_bytes'] / 1e9:.1f} GB"
    threads = f", {c['threads']} thread{'s' if c['threads'] > 1 else ''}" if c["device"] == "cpu" else ""
    return (
        f"{c['device_name']} ({c['device']}{threads}, {usable} usable), {c['precision']}; "
        f"a step: {c['tokens']} tokens, {c['batch']} x {c['length']}, {c['positions']} supervised; "
        f"torch {c['versions']['torch']}, transformers {c['versions']['transformers']}"
    )


def answers(profile: Profile) -> list[str]:
    """One line per model: what fits, what is cheapest, and what the others would have to save."""
    return [_answer(name, rows, profile.conditions["usable_bytes"]) for name, rows in profile.models().items()]


def legend(profile: Profile) -> list[str]:
    """What the words of the tables mean, as far as they are used."""
    kind = "CPU seconds over all threads" if profile.conditions["device"] == "cpu" else "device seconds"
    lines = [
        f"x AdamW: {kind} over those of fused AdamW in neighbouring blocks, median over rounds. must save: the share "
        "of the steps that an optimizer must save to pay back. FLOP: operations of a step by formula.",
        "first pass: forward + backward; 2nd pass: the same at shifted weights; shift: ascent, shift and restoring; "
        "other: norm and clipping. Memory is an estimate (model: weights and gradients; copies: weights "
        "while they are shifted, and a kept cotangent; activ.: activations and logits); measured is "
        + (
            "the resident memory of the whole process, Python and libraries included."
            if profile.conditions["device"] == "cpu"
            else "the peak of torch's allocator."
        ),
    ]
    if any(row.status == "extrapolated" for row in profile.rows):
        lines.append(
            "extrapolated: times, ratios, throughput and split of the whole model follow from two depths on a line in "
            "the number of layers; they were not measured."
        )
    off = [row for row in profile.rows if math.isfinite(row.flops_counted) and abs(row.flops_counted - 1) > 0.01]
    for row in off:
        lines.append(
            f"{row.model}, {row.optimizer}: torch counts {row.flops_counted:.3g} times the operations of the formula."
        )
    return lines


def _answer(name: str, rows: list[Row], usable: float | None) -> str:
    parts = [_fit(rows, usable)]
    timed = [row for row in rows if math.isfinite(row.ratio)]
    others = [row for row in timed if row.optimizer != BASELINE]
    if others:
        cheapest = min(timed, key=lambda row: row.ratio)
        times = "" if cheapest.optimizer == BASELINE else f" ({cheapest.ratio:.2f} x AdamW)"
        parts.append(f"cheapest per step is {cheapest.optimizer}{times}")
        dearer = [row for row in others if row.ratio > 1]
        if dearer:
            parts.append("to pay back, these have to save of the steps: " + ", ".join(_pay_back(row) for row in dearer))
    reasons = dict.fromkeys(row.why for row in rows if row.why and row.status in ("extrapolated", "not measured"))
    if reasons:
        how = "not measured"
        extrapolated = [row for row in rows if row.status == "extrapolated"]
        if extrapolated:
            depths = " and ".join(map(str, extrapolated[0].measured_layers))
            how = f"times are extrapolated from {depths} of {extrapolated[0].layers} layers"
        parts.append(f"{how}: {'; '.join(reasons)}")
    return f"{name}: {'; '.join(parts)}."


def _fit(rows: list[Row], usable: float | None) -> str:
    if usable is None:
        return "how much memory there is cannot be told here"
    fitting = [row.optimizer for row in rows if row.fits == "yes"]
    tight = [row.optimizer for row in rows if row.fits == "tight"]
    need = min(row.memory_peak for row in rows)
    if len(fitting) == len(rows):
        most = max(row.memory_peak for row in rows)
        return f"everything fits ({_gb(most)} of {_gb(usable)} at most)"
    if not fitting and not tight:
        return f"nothing fits whole: {_gb(need)} at least, and {_gb(usable)} are there"
    words = [f"whole fit {', '.join(fitting)}"] if fitting else ["nothing fits whole with room to spare"]
    if tight:
        words.append(f"tight are {', '.join(tight)}")
    out = [row.optimizer for row in rows if row.fits == "no"]
    if out:
        words.append(f"not {', '.join(out)}")
    return ", ".join(words)


def _pay_back(row: Row) -> str:
    return f"{row.optimizer} {row.break_even_percent:.0f}%"


def _gb(value: float) -> str:
    return f"{value / 1e6:.0f} MB" if value < 0.9995e9 else f"{value / 1e9:.3g} GB"
