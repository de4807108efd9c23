r"""The cells of a column of a LaTeX table: numbers stand below each other by their decimal points and their ±.

Digits are of equal width in the usual fonts, so what one number lacks beside another is left free by \hphantom.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from optbench.reports.escape import latex
from optbench.reports.grid import Entry

_NUMBER = r"[-+]?[0-9][0-9,]*(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?"
_FIGURE = re.compile(
    rf"(?P<about>~?)(?P<value>{_NUMBER})(?P<unit>%| [A-Za-z]{{1,3}})?(?: ±(?P<beside>{_NUMBER}))? ?(?P<star>\*?)"
)
_PARTS = re.compile(r"(?P<sign>[-+]?)(?P<whole>[\d,]+)(?P<decimals>(?:\.\d+)?)(?:e(?P<power>[-+]?\d+))?")
_MOST_FREE = 3
"""Columns of numbers that differ by more decimals than this are set right without regard to their points."""
_POWER_WIDTH = 3
"""A power of ten takes more room than its e: so many digits."""


@dataclass(frozen=True)
class Cell:
    """A cell as LaTeX, and about how many digits wide it is."""

    text: str
    width: int


def is_number(text: str) -> bool:
    """Whether a text is one number, with what may stand beside it: unit, half-width, star."""
    return _FIGURE.fullmatch(text) is not None


def cells_of(entries: Sequence[Entry]) -> list[Cell]:
    """The entries of one column of numbers, in their order; what is no number among them is set as it is."""
    texts = [" ".join(entry.text.split()) for entry in entries]
    found = [_FIGURE.fullmatch(text) for text in texts]
    figures = [each for each in found if each is not None]
    values = _Room.of([each["value"] for each in figures])
    besides = _Room.of([each["beside"] for each in figures if each["beside"]])
    star = any(each["star"] for each in figures)
    cells = []
    for entry, text, each in zip(entries, texts, found, strict=True):
        if each is None:
            cells.append(Cell(_bold(latex(text), entry.strong), len(text)))
        else:
            cells.append(_cell(each, values, besides, star=star, strong=entry.strong))
    return cells


@dataclass(frozen=True)
class _Room:
    """What the longest numbers of a column take: digits before the point, and the point with the digits behind it."""

    whole: int
    decimals: int

    @classmethod
    def of(cls, numbers: Sequence[str]) -> _Room:
        parts = [_parts(number) for number in numbers]
        plain = [each for each in parts if not each["power"]]
        lengths = [len(each["decimals"]) for each in plain]
        spread = max(lengths, default=0) - min(lengths, default=0)
        decimals = max(lengths, default=0) if spread <= _MOST_FREE + 1 else 0
        return cls(max((len(each["whole"]) for each in plain), default=0), decimals)

    def before(self, number: str) -> int:
        parts = _parts(number)
        return 0 if parts["power"] else max(0, self.whole - len(parts["whole"]))

    def behind(self, number: str) -> str:
        """What is missing behind a number, as digits, with the point where it has none."""
        parts = _parts(number)
        missing = 0 if parts["power"] else self.decimals - len(parts["decimals"])
        if missing <= 0:
            return ""
        return "0" * missing if parts["decimals"] else "." + "0" * (missing - 1)


def _cell(figure: re.Match[str], values: _Room, besides: _Room, *, star: bool, strong: bool) -> Cell:
    value, beside, unit = figure["value"], figure["beside"], (figure["unit"] or "").strip()
    text = r"$\sim$" * bool(figure["about"]) + _number(value)
    free = "" if unit else values.behind(value)
    width = len(figure.group().rstrip("*")) + len(free) + star + _POWER_WIDTH * figure.group().count("e")
    if unit:
        text += latex(unit) if unit == "%" else rf"\,{latex(unit)}"
    if beside:
        before, behind = "0" * besides.before(beside), besides.behind(beside)
        width += len(before) + len(behind)
        text = _bold(rf"{text}{_free(free)}\,$\pm$\,{_free(before)}{_number(beside)}", strong) + _free(behind)
    elif besides.whole:
        # The others have a half-width: a number without one stands below their numbers, not below their half-widths.
        room = "0" * besides.whole + "." * bool(besides.decimals) + "0" * max(0, besides.decimals - 1)
        text = _bold(text, strong) + _free(rf"{free}\,$\pm$\,{room}")
        width += len(room) + 2
    else:
        text = _bold(text, strong) + _free(free)
    if star:
        text += "{*}" if figure["star"] else _free("{*}")
    return Cell(text, width)


def _number(text: str) -> str:
    """A number with a sign as long as a minus, and a power of ten instead of an e."""
    parts = _parts(text)
    sign = f"${parts['sign']}$" if parts["sign"] else ""
    power = rf"\,$\times$\,10$^{{{int(parts['power'])}}}$" if parts["power"] else ""
    return f"{sign}{parts['whole']}{parts['decimals']}{power}"


def _parts(number: str) -> re.Match[str]:
    found = _PARTS.fullmatch(number)
    assert found is not None, number
    return found


def _bold(text: str, strong: bool) -> str:
    return rf"\textbf{{{text}}}" if strong else text


def _free(text: str) -> str:
    return rf"\hphantom{{{text}}}" if text else ""
