"""What is said while seeds are added, and in the end."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optbench.commands.tables import duration
from optbench.metrics.columns import column
from optbench.reports.sentences import amount_text, difference_text
from optbench.reports.verdicts import Judged
from optbench.sequential.foresight import Foresight


def pilot_line(cells: int, planned: float, budget: float) -> str:
    """Before the pilot: how much of the budget it is planned to take."""
    planned_of = f"{_time(planned)} of {_time(budget)}"
    return f"pilot: {_count(cells, 'cell')} to run before a first look, planned to take {planned_of}"


def look_line(look: int, contrasts: Sequence[Judged], left: float) -> str:
    """One look: every contrast with its interval, seeds and verdict, each with units, and the time that is left."""
    parts = [f"{own.name} {_interval(own)}, {_count(own.n, 'seed')}, {_verdict(own)}" for own in contrasts]
    return f"look {look}: {'; '.join(parts)}; {_time(max(left, 0.0))} left"


def foresight_line(own: Foresight, metric: str, left: float) -> str:
    """What the rest of the budget can resolve of one contrast."""
    fit = f"{own.name}: about {_count(own.seeds, 'more seed')} fit into {_time(max(left, 0.0))}"
    if own.seeds == 0:
        return f"{own.name}: no further seed fits into {_time(max(left, 0.0))}"
    if math.isinf(own.difference):
        return f"{fit}, too few to resolve any difference with a chance of 80%"
    return f"{fit}; a difference of {_amount(own.difference, metric)} would then be resolved with a chance of 80%"


def left_line(ended: str, contrasts: int, unresolved: int, looks: int) -> str:
    """How it ended, in a sentence."""
    after = f"after {_count(looks, 'look')}"
    if ended == "resolved":
        whole = "The contrast is resolved" if contrasts == 1 else f"All {contrasts} contrasts are resolved"
        return f"{whole} {after}."
    some = f"{unresolved} of {_count(contrasts, 'contrast')} {'is' if unresolved == 1 else 'are'}"
    if ended == "exhausted":
        return f"More seeds are no help: {some} unresolved {after}."
    return f"The time is over: {some} unresolved {after}."


def missing_line(own: Judged, needed: float, seconds: float, hopeless: str = "") -> str:
    """What an unresolved contrast would still take, if mean and spread stay what they are, or why it is `hopeless`."""
    where = f"{own.name}: unresolved at {_count(own.n, 'seed')}"
    if hopeless:
        return f"{where}; {hopeless}"
    if math.isinf(needed):
        return f"{where}; how many more it would take cannot be told, or no practical number would do"
    return (
        f"{where}; about {_count(int(needed), 'more seed')} ({_time(seconds)}) would resolve it if mean and spread stay"
    )


def _verdict(own: Judged) -> str:
    """The verdict, with the margin where it depends on it."""
    if own.verdict == "no difference beyond the margin":
        return f"{own.verdict} of {amount_text(own.margin, own.metric)}"
    if own.verdict == "unresolved":
        return f"{own.verdict} (margin {amount_text(own.margin, own.metric)})"
    return own.verdict


def _interval(own: Judged) -> str:
    if not math.isfinite(own.estimate):
        return "no estimate yet"
    known = column(own.metric)
    unit = "points" if known.unit == "fraction" else known.unit
    estimate = f"{difference_text(own.estimate, own.metric)} {unit}".rstrip()
    if not math.isfinite(own.low) or not math.isfinite(own.high):
        return f"{estimate} [no interval]"
    return f"{estimate} [{difference_text(own.low, own.metric)}, {difference_text(own.high, own.metric)}]"


def _amount(value: float, metric: str) -> str:
    known = column(metric)
    if known.unit == "fraction":
        return f"{100 * value:.2g} points"
    return f"{value:.2g} {known.unit}".rstrip()


def _time(seconds: float) -> str:
    return "no limit" if math.isinf(seconds) else duration(seconds)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
