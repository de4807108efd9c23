"""The report as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from optbench.reports.escape import latex, markdown
from optbench.reports.grid import Entry, Grid
from optbench.reports.sections import sections_of

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report


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
    """Answer and contrasts as lists, and booktabs tables: two per task and budget, and what panels found.

    How the suite was tuned stands in two more.

    To be put into a document that loads the package booktabs and compiles with UTF-8 input, as LaTeX does by default.
    """
    lines = [f"% {latex(report.suite)}: {latex(report.state())}", r"% needs \usepackage{booktabs}"]
    if report.missing == len(report.cells):
        return "\n".join([*lines, f"% {latex(report.advice())}", ""])
    for sentences in (report.answer.lines, report.sentences() if len(report.contrasts) else ()):
        if sentences:
            lines += ["", r"\begin{itemize}", *(rf"  \item {latex(line)}" for line in sentences), r"\end{itemize}"]
    for section in sections_of(report):
        lines += ["", *_latex_grid(section.grid, section.notes)]
    if report.untuned():
        lines += ["", f"% {latex(report.untuned())}"]
    return "\n".join(lines) + "\n"


def _markdown_grid(grid: Grid) -> list[str]:
    rule = ["---" if place < grid.names else "---:" for place in range(len(grid.header))]
    rows = [_row(row, markdown, "**", "**") for row in grid.rows]
    return [f"| {' | '.join(cells)} |" for cells in (list(map(markdown, grid.header)), rule, *rows)]


def _latex_grid(grid: Grid, notes: Sequence[str]) -> list[str]:
    shape = "l" * grid.names + "r" * (len(grid.header) - grid.names)
    rows = [_row(row, latex, r"\textbf{", "}") for row in grid.rows]
    return [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex(grid.title)}}}",
        rf"  \begin{{tabular}}{{{shape}}}",
        r"    \toprule",
        rf"    {' & '.join(map(latex, grid.header))} \\",
        r"    \midrule",
        *(rf"    {' & '.join(cells)} \\" for cells in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        *(rf"  \par\smallskip{{\footnotesize {latex(note)}}}" for note in notes),
        r"\end{table}",
    ]


def _row(row: Sequence[Entry], escape: Callable[[str], str], left: str, right: str) -> list[str]:
    texts = [(escape(" ".join(entry.text.split())), entry.strong) for entry in row]
    return [f"{left}{text}{right}" if strong else text for text, strong in texts]
