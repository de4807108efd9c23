"""Names and texts come from files of other people: each format shows them as they are and runs none of them."""

from __future__ import annotations

import re

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "●": r"$\bullet$",
    "○": r"$\circ$",
    "·": r"$\cdot$",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}
_MARKDOWN = re.compile(r"([\\`*\[\]<>|&#~!$])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")


def plain(text: str) -> str:
    """One line without control characters, which could move a terminal's cursor or end a table's row."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def markdown(text: str) -> str:
    """Text for Markdown, also inside a table. An underscore between letters needs no backslash."""
    return _MARKDOWN.sub(lambda found: "\\" + found.group(0), plain(text))


def latex(text: str) -> str:
    """Text for LaTeX, whatever the encoding of its fonts."""
    escaped = "".join(_LATEX.get(letter, letter) for letter in plain(text))
    # The sign of a number is a minus; two hyphens in a name stay two hyphens.
    return re.sub(r"(?<![^\s\[({}])-(?=\d)", "$-$", escaped).replace("--", "-{}-")


def cell(text: str) -> str:
    """Text for CSV: a spreadsheet would run what starts like a formula, so such a text gets an apostrophe before it."""
    shown = plain(text)
    return f"'{shown}" if shown.lstrip()[:1] in ("=", "+", "-", "@") and shown else shown
