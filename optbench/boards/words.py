"""Figures and gains of a comparison as texts."""

from __future__ import annotations

import math
from collections.abc import Iterable

from optbench.boards.board import Figure
from optbench.boards.ours import Gain, OurSide
from optbench.boards.theirs import TheirGain, Theirs
from optbench.metrics.columns import column
from optbench.reports.figures import NOTHING, figure
from optbench.reports.sentences import difference_text

BOUNDS = {"exactly": "", "about": "~", "at most": "<=", "less than": "<", "at least": ">=", "more than": ">"}


def decimals_of(values: Iterable[float]) -> int:
    """The most decimals that any of the figures was published with, as far as a number in a file can tell."""
    texts = (f"{value:.10f}".rstrip("0") for value in values if math.isfinite(value))
    return max((len(text.partition(".")[2]) for text in texts), default=0)


def their_value(known: Figure, decimals: int) -> str:
    """A figure of a board, with its bound or what became of it."""
    if known.state != "measured":
        return known.state
    return f"{BOUNDS[known.bound]}{known.value:,.{decimals}f}"


def our_value(side: OurSide, metric: str) -> str:
    """A mean with its half-width, where there is one."""
    if math.isinf(side.mean):
        return "diverged"
    width = f" ±{figure(side.half_width, metric)}" if math.isfinite(side.half_width) else ""
    return figure(side.mean, metric, digits=4) + width


def our_gain(gain: Gain | None, metric: str) -> str:
    """The absolute gain with its interval, fractions in points."""
    if gain is None or math.isnan(gain.absolute):
        return NOTHING
    if math.isinf(gain.absolute):
        return "diverged" if gain.absolute < 0 else "better: the reference diverged"
    text = difference_text(gain.absolute, metric)
    if math.isinf(gain.absolute_half_width):
        return text
    low, high = gain.absolute - gain.absolute_half_width, gain.absolute + gain.absolute_half_width
    return f"{text} [{difference_text(low, metric)}, {difference_text(high, metric)}]"


def our_percent(gain: Gain | None) -> str:
    """The relative gain in percent."""
    return _percent(math.nan if gain is None else gain.relative)


def their_gain(gain: TheirGain | None, theirs: Theirs) -> str:
    """The absolute gain; of a ratio it is the relative one, and written there."""
    if gain is None or math.isnan(gain.absolute) or theirs.implied:
        return NOTHING
    if math.isinf(gain.absolute):
        return "worse: did not get there" if gain.absolute < 0 else "better: the reference did not get there"
    width = f" ±{gain.half_width:.2g}" if math.isfinite(gain.half_width) else ""
    return f"{_bounded(gain)}{gain.absolute:+.3g}{width}"


def their_percent(gain: TheirGain | None) -> str:
    """The relative gain in percent, with its bound."""
    if gain is None or math.isnan(gain.relative) or math.isinf(gain.relative):
        return NOTHING
    return _bounded(gain) + _percent(gain.relative)


def unit_of(metric: str) -> str:
    """The unit that our gains are written in."""
    known = column(metric)
    return "points" if known.unit == "fraction" else known.unit


def ours_resolved(gain: Gain) -> str:
    """Whether our difference is more than chance, and on what evidence."""
    if math.isinf(gain.absolute):
        return "one side diverged"
    if gain.contended:
        return f"n = {gain.n}, measured beside other running cells, so not judged"
    if gain.n < 2:
        return "one seed, so not resolved"
    if math.isnan(gain.p_holm):
        return f"n = {gain.n}, not resolved"
    p = "Holm p < 0.001" if gain.p_holm < 0.001 else f"Holm p = {gain.p_holm:.2g}"
    return f"n = {gain.n}, {p}: {'resolved' if gain.resolved else 'not resolved'}"


def theirs_resolved(gain: TheirGain, known: Figure) -> str:
    """The same of their difference, as far as the board states a spread."""
    if math.isinf(gain.relative):
        return "one side did not get there"
    if gain.resolved is None:
        return "spread over runs not stated" if known.sigma is None else "number of runs not stated"
    if math.isinf(gain.half_width):
        return f"within the error of reading, {gain.reading:g}"
    return "resolved by its stated spread" if gain.resolved else "not resolved by its stated spread"


def _bounded(gain: TheirGain) -> str:
    return {-1: "<=", 0: "", 1: ">="}[gain.side]


def _percent(value: float) -> str:
    if not math.isfinite(value):
        return NOTHING
    percent = 100 * value
    return f"{percent:+,.0f}%" if abs(percent) >= 10 else f"{percent:+.2g}%"


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    given = list(words)
    return " and ".join([", ".join(given[:-1]), given[-1]] if len(given) > 1 else given)
