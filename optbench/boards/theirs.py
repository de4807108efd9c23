"""Their side of a comparison: the figures of one setting of a board, and their gains over the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

from optbench.boards.board import Board, Figure, Row, Setting
from optbench.boards.names import normalised

LEVEL = NormalDist().inv_cdf(0.975)

_UPPER = ("at most", "less than")
_LOWER = ("at least", "more than")


@dataclass(frozen=True)
class TheirGain:
    """How much better than the reference, positive where better.

    `absolute` is in the unit of the metric, NaN where only the relative gain is known. Infinite where one of the two
    diverged or did not reach the target. `side` is -1 where the true gain may be less than this, 1 where it may be
    more, 0 where it is what it says. `half_width` is that of the 95% interval, from the spread between runs that the
    board states and the errors of reading added; infinite where no spread is stated. `reading` is the sum of both
    errors of reading, 0 where none is stated. `resolved` is None where nothing decides.
    """

    absolute: float
    relative: float
    side: int
    half_width: float
    reading: float
    resolved: bool | None

    @property
    def known(self) -> float:
        """The absolute gain, else the relative one, which a reference of exactly 0 does not have; NaN for neither."""
        return self.relative if math.isnan(self.absolute) else self.absolute

    @property
    def sign(self) -> int:
        """1 better, -1 worse, 0 equal or not known."""
        if math.isnan(self.known) or self.known == 0 or self.side * self.known < 0:
            return 0
        return 1 if self.known > 0 else -1


@dataclass(frozen=True)
class TheirSide:
    """One row of the board in the setting; `gain` is None for the reference, and for all where there is none."""

    row: Row
    figure: Figure
    gain: TheirGain | None


@dataclass(frozen=True)
class Theirs:
    """One setting of a board, by normalised names.

    `implied` says that the reference is not measured but is what the figures are relative to.
    """

    board: Board
    setting: Setting
    reference: str
    sides: Mapping[str, TheirSide]
    has_reference: bool
    implied: bool

    @property
    def higher(self) -> bool:
        """Whether more of the metric is better."""
        return self.setting.direction == "higher"


def theirs_of(board: Board, column: str, reference: str) -> Theirs:
    """The side of a board. Raises UserError for a setting that is not there or not for comparing."""
    setting = board.setting(column)
    rows = {row.name: row for row in board.rows if column in row.figures}
    implied = setting.relative_to is not None and normalised(setting.relative_to) == reference
    anchor = rows[reference].figures[column] if reference in rows else None
    sides = {}
    for name, row in rows.items():
        figure = row.figures[column]
        gain = None
        if name != reference:
            gain = _relative_gain(figure, setting) if implied else _gain(figure, anchor, setting)
        sides[name] = TheirSide(row, figure, gain)
    return Theirs(board, setting, reference, sides, implied or anchor is not None, implied)


def _relative_gain(figure: Figure, setting: Setting) -> TheirGain | None:
    """The gain where the figures are relative to the reference already: ratios to it, or percent."""
    if figure.state != "measured":
        return _infinite(-1)
    sign = 1.0 if setting.direction == "higher" else -1.0
    if setting.form == "gain":
        return TheirGain(math.nan, sign * figure.value / 100, _side(figure, sign), math.inf, 0.0, None)
    gain = sign * (figure.value - 1)
    reading = figure.uncertainty or 0.0
    return TheirGain(gain, gain, _side(figure, sign), math.inf, reading, _by_reading(gain, reading))


def _gain(figure: Figure, anchor: Figure | None, setting: Setting) -> TheirGain | None:
    if anchor is None or setting.form == "gain" or anchor.bound not in ("exactly", "about"):
        return None
    if figure.state != "measured" or anchor.state != "measured":
        return _infinite((figure.state == "measured") - (anchor.state == "measured"))
    sign = 1.0 if setting.direction == "higher" else -1.0
    gain = sign * (figure.value - anchor.value)
    reading = (figure.uncertainty or 0.0) + (anchor.uncertainty or 0.0)
    relative = gain / abs(anchor.value) if anchor.value else math.nan
    spread = _standard_error(figure, anchor)
    if spread is None:
        return TheirGain(gain, relative, _side(figure, sign), math.inf, reading, _by_reading(gain, reading))
    width = LEVEL * spread + reading
    return TheirGain(gain, relative, _side(figure, sign), width, reading, abs(gain) > width)


def _infinite(sign: int) -> TheirGain:
    value = sign * math.inf if sign else math.nan
    return TheirGain(value, value, 0, math.inf, 0.0, None)


def _standard_error(figure: Figure, anchor: Figure) -> float | None:
    """That of the difference of two means; None where a spread or a number of runs is not stated."""
    if figure.sigma is None or figure.n is None or anchor.sigma is None or anchor.n is None:
        return None
    return math.hypot(figure.sigma / math.sqrt(figure.n), anchor.sigma / math.sqrt(anchor.n))


def _by_reading(gain: float, reading: float) -> bool | None:
    """A difference inside the errors of reading is not one; beyond them, runs might still spread more."""
    return False if reading and within(gain, reading) else None


def within(difference: float, reading: float) -> bool:
    """Whether a difference of two decimal figures is within an error: 3.028 - 3.024 is, of 0.004, despite binary."""
    return abs(difference) <= reading * (1 + 1e-9)


def _side(figure: Figure, sign: float) -> int:
    if figure.bound in _UPPER:
        return -int(sign)
    return int(sign) if figure.bound in _LOWER else 0
