"""The contrasts of a challenge as a picture: interval, margin, zero, and below them one dot for each seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optbench.metrics.columns import column
from optbench.reports.frame import scored
from optbench.reports.pairs import complete_block, pairs_of, per_seed
from optbench.reports.sentences import difference_text

if TYPE_CHECKING:
    from optbench.challenge.content import Content
    from optbench.reports.verdicts import Judged, Verdict

WIDTH, HEIGHT, MARGIN = 640, 76, 16
"""Of a picture, in its own units, and what stays free at its left and right end."""
BAR, DOTS = 20, 52
"""How far below the top the interval is, and the middle of the dots."""
DOT, STEP = 3.5, 7
"""The radius of a dot, and how far the next one goes up or down where two would lie on each other."""
OUTSIDE = 1.25
"""The picture goes on beyond the margin, by this factor, so that its band has an end."""
TICKS = 6
"""At most so many ticks: on a phone the labels of more would overlap."""

LOOKS: dict[Verdict, tuple[str, str]] = {
    "better": ("resolved", "▲"),
    "worse": ("worse", "▼"),
    "no difference beyond the margin": ("same", "＝"),
    "unresolved": ("open", "?"),
}
"""For each verdict a class of the style sheet and a mark: no verdict is told by its colour alone."""


@dataclass(frozen=True)
class Axis:
    """From the lowest to the highest number of a picture; 0 is always on it."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value lies, in units of the picture."""
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (value - self.low) / (self.high - self.low), 1)

    def ticks(self) -> list[float]:
        """Round numbers on the axis: multiples of 1, 2 or 5 times a power of ten, 0 among them."""
        width = self.high - self.low
        power = 10.0 ** math.floor(math.log10(width / TICKS))
        step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if width / step < TICKS)
        return [place * step for place in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


@dataclass(frozen=True)
class Dot:
    """One seed: its difference as text, and where it lies in the picture."""

    seed: int
    text: str
    x: float
    y: float


@dataclass(frozen=True)
class Row:
    """One contrast with its places from left to right; `bar` is None where there is no interval, `dot` where there is
    no estimate. `look` and `mark` are those of LOOKS, `alt` says the picture in words."""

    name: str
    verdict: Verdict
    look: str
    mark: str
    sentence: str
    metric: str
    unit: str
    estimate: str
    interval: str
    margin: str
    n: int
    band: tuple[float, float]
    dot: float | None
    bar: tuple[float, float] | None
    seeds: Sequence[Dot]
    alt: str


@dataclass(frozen=True)
class Group:
    """The contrasts of one metric, on one scale. `ticks` are places and labels of its axis; `left` and `right` say who
    is better there."""

    metric: str
    unit: str
    doc: str
    zero: float
    ticks: Sequence[tuple[float, str]]
    left: str
    right: str
    rows: Sequence[Row]


def groups_of(content: Content) -> list[Group]:
    """The judged contrasts of a challenge by metric, in their order."""
    metrics = dict.fromkeys(judged.metric for judged in content.contrasts)
    return [_group(content, metric) for metric in metrics]


def differences_of(content: Content, name: str) -> dict[int, float]:
    """The differences of a declared contrast by seed, ascending: the numbers that its estimate is the mean of.

    Raises KeyError for a contrast that the suite does not declare.
    """
    suite, cells = content.suite, content.report.cells
    declared = {contrast.name: contrast for contrast in suite.contrasts}[name]
    pairs = pairs_of(suite, declared.of, declared.minus)
    block = complete_block(scored(cells), pairs, declared.metric, arms=len(suite.arms))
    with np.errstate(invalid="ignore"):
        values = per_seed(block.of - block.minus)
    seeds = np.unique(cells["seed"].to_numpy())[block.seeds]
    return dict(zip(seeds.tolist(), values.tolist(), strict=True))


def unit_of(metric: str) -> str:
    """The unit of a difference: points for fractions."""
    known = column(metric)
    return "points" if known.unit == "fraction" else known.unit


def interval_text(judged: Judged) -> str:
    """The interval in brackets, in the unit of a difference; words where it is not known."""
    if not (math.isfinite(judged.low) and math.isfinite(judged.high)):
        return "no interval"
    return f"[{difference_text(judged.low, judged.metric)}, {difference_text(judged.high, judged.metric)}]"


def estimate_text(judged: Judged) -> str:
    """The difference with its sign; a dash where it is not known."""
    return difference_text(judged.estimate, judged.metric) if math.isfinite(judged.estimate) else "-"


def tick_text(value: float, metric: str) -> str:
    """A number at the axis, in the unit of a difference, with its sign."""
    shown = 100 * value if column(metric).unit == "fraction" else value
    return f"{shown:+.4g}" if value else "0"


def margin_text(margin: float, metric: str) -> str:
    """A margin in the unit of a difference, without the unit."""
    return f"±{100 * margin if column(metric).unit == 'fraction' else margin:.3g}"


def _group(content: Content, metric: str) -> Group:
    mine = [judged for judged in content.contrasts if judged.metric == metric]
    seeds = {judged.name: differences_of(content, judged.name) for judged in mine}
    numbers = [number for judged in mine for number in (judged.estimate, judged.low, judged.high)]
    numbers += [number for found in seeds.values() for number in found.values()]
    numbers += [side * OUTSIDE * judged.margin for judged in mine for side in (-1, 1)]
    axis = _axis([number for number in numbers if math.isfinite(number)])
    direction = column(metric).direction
    sides = {"higher": ("worse", "better"), "lower": ("better", "worse"), "neither": ("lower", "higher")}[direction]
    left, right = (f"{content.name} {word}" for word in sides)
    return Group(
        metric=metric,
        unit=unit_of(metric),
        doc=column(metric).doc,
        zero=axis.place(0.0),
        ticks=[(axis.place(value), tick_text(value, metric)) for value in axis.ticks()],
        left=f"← {left}",
        right=f"{right} →",
        rows=[_row(judged, seeds[judged.name], axis) for judged in mine],
    )


def _row(judged: Judged, seeds: dict[int, float], axis: Axis) -> Row:
    metric, unit = judged.metric, unit_of(judged.metric)
    look, mark = LOOKS[judged.verdict]
    known = math.isfinite(judged.low) and math.isfinite(judged.high)
    dots = _dots(seeds, metric, axis)
    estimate, interval, margin = estimate_text(judged), interval_text(judged), margin_text(judged.margin, metric)
    return Row(
        name=judged.name,
        verdict=judged.verdict,
        look=look,
        mark=mark,
        sentence=judged.sentence,
        metric=metric,
        unit=unit,
        estimate=estimate,
        interval=interval,
        margin=margin,
        n=judged.n,
        band=(axis.place(-judged.margin), axis.place(judged.margin)),
        dot=axis.place(judged.estimate) if math.isfinite(judged.estimate) else None,
        bar=(axis.place(judged.low), axis.place(judged.high)) if known else None,
        seeds=dots,
        alt=f"{judged.name}: difference {estimate} {unit}, interval {interval}, margin {margin}, {judged.verdict}; "
        f"{len(seeds)} seeds{_range(seeds, metric)}",
    )


def _range(seeds: dict[int, float], metric: str) -> str:
    finite = [value for value in seeds.values() if math.isfinite(value)]
    if not finite:
        return ""
    return f" from {difference_text(min(finite), metric)} to {difference_text(max(finite), metric)}"


def _axis(numbers: Sequence[float]) -> Axis:
    """The axis of these numbers; the margin is among them on both sides, and so 0 lies between."""
    low, high = min(numbers), max(numbers)
    return Axis(low, high) if low < high else Axis(-1.0, 1.0)


def _dots(seeds: dict[int, float], metric: str, axis: Axis) -> list[Dot]:
    """A dot for each finite difference; those that would lie on each other go up and down by turns."""
    found: list[Dot] = []
    for seed, value in sorted(seeds.items(), key=lambda pair: pair[1]):
        if not math.isfinite(value):
            continue
        x = axis.place(value)
        taken = {dot.y for dot in found if abs(dot.x - x) < 2 * DOT}
        free = [y for y in (DOTS, DOTS - STEP, DOTS + STEP, DOTS - 2 * STEP, DOTS + 2 * STEP) if y not in taken]
        found.append(Dot(seed, difference_text(value, metric), x, free[0] if free else DOTS))
    return sorted(found, key=lambda dot: dot.seed)
