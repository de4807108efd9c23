"""The report as Markdown and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optbench.reports.escape import latex, markdown
from optbench.reports.grid import Entry, Grid
from optbench.reports.latex_tables import prose, table_lines
from optbench.reports.sections import sections_of

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report

_LATEX_NEEDS = (
    r"% Needs in the preamble: \usepackage{booktabs,graphicx}",
    "% Wide tables are table*, which in a paper of two columns goes over both and in one of one column is table.",
)
# The usual bullet is of a further font, of which not every installation has the outlines.
_LATEX_LIST = (r"\begin{itemize}\emergencystretch=6em", r"  \renewcommand{\labelitemi}{$\bullet$}")


def markdown_text(report: Report) -> str:
    """Headings, the answer and the contrasts as lists, and pipe tables."""
    lines = [f"## {markdown(report.suite)}", ""]
    if report.question:
        lines += [markdown(report.question), ""]
    if report.missing == len(report.cells):
        return "\n".join([*lines, markdown(report.advice()), ""])
    lines += [markdown(report.state()), ""]
    lines += ["### Answer", "", *(f"- {markdown(line)}" for line in report.answer.lines)]
    if len(report.contrasts):
        lines += ["", "### Declared contrasts", "", *(f"- {markdown(sentence)}" for sentence in report.sentences())]
    for section in sections_of(report):
        lines += ["", f"### {markdown(section.grid.title)}", "", *_markdown_grid(section.grid), ""]
        lines += [f"- {markdown(note)}" for note in section.notes]
    if report.untuned():
        lines += ["", markdown(report.untuned())]
    return "\n".join(lines) + "\n"


def latex_text(report: Report) -> str:
    """Answer and contrasts as lists, then a float for each table that other formats show, long or wide ones in several.

    To be put into a document that loads booktabs and graphicx and has UTF-8 input, as LaTeX has by default.
    """
    lines = [f"% {latex(report.suite)}: {latex(report.state())}", *_LATEX_NEEDS]
    if report.missing == len(report.cells):
        return "\n".join([*lines, f"% {latex(report.advice())}", ""])
    for sentences in (report.answer.lines, report.sentences() if len(report.contrasts) else ()):
        if sentences:
            items = (rf"  \item {prose(line)}" for line in sentences)
            lines += ["", *_LATEX_LIST, *items, r"\end{itemize}"]
    label = "-".join(re.findall("[A-Za-z0-9]+", report.suite)) or "suite"
    for place, section in enumerate(sections_of(report), start=1):
        lines += ["", *table_lines(section.grid, section.notes, f"tab:{label}-{place}")]
    if report.untuned():
        lines += ["", f"% {latex(report.untuned())}"]
    return "\n".join(lines) + "\n"


def _markdown_grid(grid: Grid) -> list[str]:
    rule = ["---" if place < grid.names else "---:" for place in range(len(grid.header))]
    rows = [_row(row) for row in grid.rows]
    return [f"| {' | '.join(cells)} |" for cells in (list(map(markdown, grid.header)), rule, *rows)]


def _row(row: Sequence[Entry]) -> list[str]:
    texts = [(markdown(" ".join(entry.text.split())), entry.strong) for entry in row]
    return [f"**{text}**" if strong else text for text, strong in texts]
