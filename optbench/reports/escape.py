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
    # Signs as mathematics: as text some of them need a further font, of which not every installation has the outlines.
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "●": r"$\bullet$",
    "○": r"$\circ$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "−": "$-$",
    "∼": r"$\sim$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "°": r"$^{\circ}$",
    "²": "$^2$",
    "³": "$^3$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    # In a group of its own, or it joins a mark before it to another one.
    "`": "{`}",
}
_GREEK = {
    **dict(zip("αβγδεζηθικλ", "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda".split(), strict=True)),
    **dict(zip("μνξπρστυφχψω", "mu nu xi pi rho sigma tau upsilon phi chi psi omega".split(), strict=True)),
    **dict(zip("ΓΔΘΛΞΠΣΦΨΩ", "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega".split(), strict=True)),
    "µ": "mu",
}
_UNKNOWN_LETTERS = frozenset("ªºÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ")
"""Letters before U+0180 that LaTeX does not have in the encoding of its fonts by default."""
_MARKDOWN = re.compile(r"([\\`*\[\]<>|&#~!$])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")


def plain(text: str) -> str:
    """One line without control characters, which could move a terminal's cursor or end a table's row."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def markdown(text: str) -> str:
    """Text for Markdown, also inside a table. An underscore between letters needs no backslash."""
    return _MARKDOWN.sub(lambda found: "\\" + found.group(0), plain(text))


def latex(text: str) -> str:
    """Text for LaTeX, whatever the encoding of its fonts; a letter that pdfLaTeX has not is shown by its code point."""
    shown = re.sub("-(?=-)", "-\0", plain(text))
    # What stands for nothing known is a dash, and a tilde before a number says "about".
    shown = re.sub(r"(?<!\S)-(?![^\s:])", "–", shown)
    escaped = "".join(_letter(letter) for letter in re.sub(r"(?<!\S)~(?=[\s\d])", "∼", shown))
    # The sign of a number is a minus. Two hyphens in a name stay two, by the empty group between them.
    return re.sub(r"(?<![^\s\[({}])-(?=\d)", "$-$", escaped).replace("\0", "{}")


def _letter(letter: str) -> str:
    if letter in _LATEX:
        return _LATEX[letter]
    if letter in _GREEK:
        return rf"$\{_GREEK[letter]}$"
    known = letter < "\x7f" or (letter.isalpha() and letter < "\u0180" and letter not in _UNKNOWN_LETTERS)
    return letter if known else f"U+{ord(letter):04X}"


def cell(text: str) -> str:
    """Text for CSV: a spreadsheet would run what starts like a formula, so such a text gets an apostrophe before it."""
    shown = plain(text)
    return f"'{shown}" if shown.lstrip()[:1] in ("=", "+", "-", "@") and shown else shown
