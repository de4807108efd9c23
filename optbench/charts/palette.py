"""One colour and one marker for each optimizer, the same in every figure and table, whatever else is compared.

The presets have theirs by name. Chosen by search for the largest distance between any two, in CIE Lab, as seen with
normal colour vision and with full protanopia, deuteranopia and tritanopia (Machado, Oliveira and Fernandes 2009): at
least 35 between the first seven, at least 21 between all. Contrast with white is at least 2.3. Since nobody tells
thirteen colours apart for long, markers differ too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

Fill = Literal["full", "none", "left", "top", "right", "bottom"]

PRESETS: dict[str, tuple[str, str]] = {
    "gd": ("#B2A6BC", "v"),
    "adamw": ("#030025", "o"),
    "muon": ("#F09600", "s"),
    "sam": ("#26A4FF", "D"),
    "functional_sam": ("#6A398C", "^"),
    "preconditioned_sam": ("#005F51", "X"),
    "preconditioned_functional_sam": ("#B12907", "*"),
    "soap": ("#770000", "P"),
    "lion": ("#A771B7", "<"),
    "mars": ("#2F0000", ">"),
    "ademamix": ("#D1A25C", "p"),
    "sophia": ("#67966C", "h"),
    "prodigy": ("#390383", "d"),
}
"""Colour and marker of the optimizers that have a name of their own."""

_MARKERS = tuple(marker for _, marker in PRESETS.values())
_OTHERS = (
    *("#E4572E", "#00798C", "#8F2D56", "#5B8E00", "#4D6CFA", "#C98A00", "#008F6B", "#B5179E"),
    *("#7A5C3E", "#3A86A8", "#D1495B", "#566573", "#2E7D32", "#9C4DCC", "#A63D40", "#1B6CA8"),
)
"""Colours of all other names: mixtures, sweeps, optimizers of one's own."""
_FILLS: tuple[Fill, ...] = ("full", "none", "left", "top", "right", "bottom")
_KNOWN_STRATEGIES = ("uniform", "upsample", "augment")


def color_of(optimizer: str) -> str:
    """The colour of an optimizer as `#RRGGBB`. Depends on the name alone, and so does `marker_of`.

    `Functional-SAM` is the preset `functional_sam`; `adamw[rule.lr=0.002]` is a name of its own.
    """
    name = _folded(optimizer)
    return PRESETS[name][0] if name in PRESETS else _OTHERS[_number(name) % len(_OTHERS)]


def marker_of(optimizer: str) -> str:
    """The marker of an optimizer, as matplotlib calls it; one that can be filled."""
    name = _folded(optimizer)
    return PRESETS[name][1] if name in PRESETS else _MARKERS[_number(name) // len(_OTHERS) % len(_MARKERS)]


def size_of(optimizer: str, points: float) -> float:
    """The size at which the marker of an optimizer looks as large as a disc of `points`: a star has little area."""
    return points * (1.4 if marker_of(optimizer) == "*" else 1.0)


def fills_of(strategies: Sequence[str]) -> dict[str, Fill]:
    """How the markers of each strategy are filled: never by colour, which is the optimizer's.

    The usual three have theirs by name, the others take what is left, in their order; from the seventh on, fillings
    repeat.
    """
    known = {name: _FILLS[place] for place, name in enumerate(_KNOWN_STRATEGIES) if name in strategies}
    others = list(dict.fromkeys(name for name in strategies if name not in known))
    free = [fill for fill in _FILLS if fill not in known.values()]
    return {**known, **{name: free[place % len(free)] for place, name in enumerate(others)}}


def _folded(name: str) -> str:
    return re.sub(r"[\s-]", "_", name.strip().lower())


def _number(name: str) -> int:
    # Not hash(), which differs from run to run.
    return int.from_bytes(sha256(name.encode("utf-8", "surrogatepass")).digest()[:8])
