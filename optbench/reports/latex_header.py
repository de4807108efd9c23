"""The header of a LaTeX table: long titles in several lines, and what neighbours begin with alike said once above."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from optbench.reports.escape import latex

_SHORT = {"preconditioned": "precond."}
"""Words that would make a column of short numbers wide."""


@dataclass(frozen=True)
class Heading:
    """What stands over one column, in lines from the top. `group`: words of it that stand over its neighbours, too."""

    group: str
    lines: Sequence[str]

    @property
    def width(self) -> int:
        """In letters, without the group."""
        return max(map(len, self.lines))


def headings_of(titles: Sequence[str], widths: Sequence[int], room: int, *, names: int) -> list[Heading]:
    """A heading for each title, in lines of at most `room` letters, or the width of the column (letters) where that is
    more, as far as words allow it. Titles of the first `names` columns are never grouped."""
    titles = [re.sub(r"\w+", lambda found: _SHORT.get(found.group(), found.group()), title) for title in titles]
    shared = [""] * names + _shared(titles[names:])
    found = []
    for title, group, width in zip(titles, shared, widths, strict=True):
        own = title[len(group) :].strip()
        found.append(Heading(group, broken(re.sub(r"^\((.*)\)$", r"\1", own) if group else own, max(room, width))))
    return found


def header_lines(headings: Sequence[Heading], widths: Sequence[int]) -> list[str]:
    """The header as lines of a tabular: titles end on its last line, groups stand above theirs with a rule between.

    `widths` are those of the columns, in letters: a group is broken to what its columns take together.
    """
    spans = _spans([heading.group for heading in headings])
    depth = max((len(headings[place].lines) for span in spans for place in span), default=0)
    over = {}
    for span in spans:
        room = sum(max(widths[place], headings[place].width) for place in span)
        over[span] = broken(headings[span.start].group, room + len(span) - 1)
    height = max(len(heading.lines) for heading in headings)
    height = max([height, *(depth + len(lines) for lines in over.values())])
    lines = []
    for level in range(height, 0, -1):
        cells = [_from_below(heading.lines, level) for heading in headings]
        for span in reversed(spans if level > depth else []):
            cells[span.start : span.stop] = [
                rf"\multicolumn{{{len(span)}}}{{c}}{{{_from_below(over[span], level - depth)}}}"
            ]
        lines.append(rf"{' & '.join(cells)} \\")
        if spans and level == depth + 1:
            lines.append(" ".join(rf"\cmidrule(lr){{{span.start + 1}-{span.stop}}}" for span in spans))
    return lines


def _from_below(lines: Sequence[str], level: int) -> str:
    return latex(lines[-level]) if level <= len(lines) else ""


def broken(text: str, room: int) -> list[str]:
    """The text in lines of at most `room` letters where it has spaces, hyphens or underscores to break at; what is more
    than twice as long without any is cut."""
    if len(text) > room and " (" in text:
        before, _, bracket = text.partition(" (")
        return [*broken(before, room), *broken(f"({bracket}", room)]
    lines = [""]
    for piece in re.findall(r"[^-_ ]+[-_ ]?|[-_ ]", text):
        while len(piece) > 2 * room:
            lines += [piece[:room], ""]
            piece = piece[room:]
        if lines[-1] and len((lines[-1] + piece).rstrip()) > room:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines if line] or [""]


def _shared(titles: Sequence[str]) -> list[str]:
    """For each title the words that it begins with and its neighbours too; empty where it shares none."""
    words, groups, place = [title.split() for title in titles], [""] * len(titles), 0
    while place < len(titles):
        last = place
        if place + 1 < len(titles):
            count = _alike(words[place], words[place + 1])
            while count and last + 1 < len(titles) and words[last + 1][:count] == words[place][:count]:
                last += 1
        if last > place:
            groups[place : last + 1] = [" ".join(words[place][:count])] * (last + 1 - place)
        place = last + 1
    return groups


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = zip(one, other, strict=False)
    return next((place for place, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _spans(groups: Sequence[str]) -> list[range]:
    """The places of each run of one group."""
    spans: list[range] = []
    for place, group in enumerate(groups):
        if group and spans and spans[-1].stop == place and groups[place - 1] == group:
            spans[-1] = range(spans[-1].start, place + 1)
        elif group:
            spans.append(range(place, place + 1))
    return spans
