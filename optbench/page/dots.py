"""The dot beside the name of an optimizer, in the colour that it has in the figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def classes_of(optimizers: Iterable[str]) -> dict[str, str]:
    """A class of the style sheet for each optimizer. Names of other people never become names of classes."""
    return {name: f"dot-{place}" for place, name in enumerate(dict.fromkeys(map(str, optimizers)))}


def style_of(classes: Mapping[str, str]) -> str:
    """The rules of these classes. Raises ValueError for a colour that is not written #rrggbb."""
    from optbench.charts.palette import color_of

    rules = []
    for name, word in classes.items():
        color = color_of(name)
        if not _COLOR.fullmatch(color):
            raise ValueError(f"the colour of {name} is {color!r}; a style sheet needs #rrggbb")
        rules.append(f".{word}{{--dot:{color}}}\n")
    return "".join(rules)
