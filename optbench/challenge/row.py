"""A challenge as one row of a LaTeX table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from optbench.challenge.page_contrasts import estimate_text, interval_text, unit_of
from optbench.challenge.page_tables import memory_text, ratio_text, row_of, score_text
from optbench.challenge.page_tuning import tuning_report
from optbench.reports.escape import latex
from optbench.reports.figures import NOTHING, figure
from optbench.reports.grid import Entry, place_of
from optbench.reports.latex_cells import Cell, cells_of
from optbench.reports.latex_header import header_lines, headings_of
from optbench.reports.latex_tables import TITLE, float_lines, tabular_lines
from optbench.reports.standings import rows_of

if TYPE_CHECKING:
    from optbench.challenge.content import Content
    from optbench.reports.standings import Standings


def latex_row(content: Content) -> str:
    r"""The row, within the lines of a table that are comments: taken out of them, they are the table of this one row.

    Columns: the challenger; its score with the half-width of the 95% interval over seeds, for each table of the
    report (over all models where there are several); each contrast with its interval; step time relative to AdamW and
    memory, for each model that was profiled; trials of tuning. Goes between `\midrule` and `\bottomrule` of a tabular
    of booktabs. What is not known is a dash. The verdicts and limits stand before it. Ends in a newline.
    """
    remarks = [*(each.sentence for each in content.contrasts), *content.limits]
    return row_text(columns_of(content), remarks)


def row_text(columns: Sequence[tuple[str, str]], remarks: Sequence[str]) -> str:
    """The row of these columns (title and text; the first one is the name) as LaTeX, below its remarks."""
    titles = [title for title, _ in columns]
    cells = [Cell(latex(columns[0][1]), len(columns[0][1])), *(cells_of([Entry(text)])[0] for _, text in columns[1:])]
    widths = [cell.width for cell in cells]
    header = header_lines(headings_of(titles, widths, TITLE, names=1), widths)
    row = rf"{' & '.join(cell.text for cell in cells)} \\"
    tabular = tabular_lines("l" + "r" * (len(cells) - 1), header, [row])
    caption = r"\caption{One optimizer beside others, tuned alike, on fresh seeds.}\label{tab:challenge}"
    lines = float_lines("table*", caption, tabular, ())
    place = next(place for place, line in enumerate(lines) if line.strip() == row)
    return "\n".join(
        [
            *(f"%% {latex(remark)}" for remark in remarks),
            r"%% Needs in the preamble: \usepackage{booktabs,graphicx}",
            "%% Below, a table around the row: take away the % that its lines begin with, or the row alone.",
            *(f"% {line}" for line in lines[:place]),
            row,
            *(f"% {line}" for line in lines[place + 1 :]),
            "",
        ]
    )


def columns_of(content: Content) -> list[tuple[str, str]]:
    """The title and the text of every column, in their order."""
    columns: list[tuple[str, str]] = [("optimizer", content.name)]
    several = len(content.report.standings) > 1
    for table in content.report.standings:
        where = f" of {place_of(table)}" if several else ""
        columns.append((f"{score_text(table)}{where}", _score(content, table)))
    for judged in content.contrasts:
        unit = unit_of(judged.metric)
        told = f"{judged.metric.replace('_', ' ')}{f', {unit}' if unit else ''}"
        columns.append((f"{judged.name} ({told})", f"{estimate_text(judged)} {interval_text(judged)}"))
    measured = [(profile, model) for profile in content.profiles for model in profile.models()]
    for profile, model in measured:
        row, on = row_of(profile, model, content.name), f" on {model}" if len(measured) > 1 else ""
        columns += [(f"step time /adamw{on}", ratio_text(row)), (f"memory{on}", memory_text(row))]
    return [*columns, ("trials", _trials(content))]


def _score(content: Content, table: Standings) -> str:
    """The score of the challenger; of several strategies each, the best first."""
    texts = []
    means, widths = (frame.to_numpy(float)[:, 0].tolist() for frame in (table.mean, table.half_width))
    for (optimizer, strategy), mean, width in zip(rows_of(table.mean), means, widths, strict=True):
        if optimizer != content.name:
            continue
        text = figure(mean, table.score) if math.isfinite(mean) else "diverged" if math.isinf(mean) else NOTHING
        if math.isfinite(width) and math.isfinite(mean):
            text += f" ±{figure(width, table.score)}"
        texts.append((strategy, text))
    several = len(texts) > 1
    return "; ".join(f"{strategy}: {text}" if several else text for strategy, text in texts) or NOTHING


def _trials(content: Content) -> str:
    """How many trials each of the challenger's arms had."""
    counts = np.unique(tuning_report(content).trials.get(content.name, (0,))).tolist()
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
