"""A challenge as one row of a LaTeX table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from optbench.challenge.page_contrasts import estimate_text, interval_text, unit_of
from optbench.challenge.page_tables import memory_text, ratio_text, row_of, score_text
from optbench.challenge.page_tuning import tuning_report
from optbench.reports.escape import latex
from optbench.reports.figures import NOTHING, figure
from optbench.reports.grid import place_of
from optbench.reports.standings import rows_of

if TYPE_CHECKING:
    from optbench.challenge.content import Content
    from optbench.reports.standings import Standings


def latex_row(content: Content) -> str:
    r"""The row, under comments that name its columns, the package it needs, and the verdicts.

    Columns: the challenger; its score with the half-width of the 95% interval over seeds, for each table of the
    report (over all models where there are several); each contrast with its interval; step time relative to AdamW and
    memory, for each model that was profiled; trials of tuning. Goes between `\midrule` and `\bottomrule` of a tabular
    of booktabs. What is not known is a dash. Ends in a newline.
    """
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
    columns.append(("trials", _trials(content)))
    head, cells = zip(*columns, strict=True)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}; one row, to stand between \midrule and \bottomrule",
            f"% {' & '.join(map(latex, head))}",
            *(f"% {latex(said)}" for said in (*(each.sentence for each in content.contrasts), *content.limits)),
            rf"{' & '.join(map(latex, cells))} \\",
            "",
        ]
    )


def _score(content: Content, table: Standings) -> str:
    """The score of the challenger; of several strategies each, the best first."""
    texts = []
    means, widths = (frame.to_numpy(float)[:, 0].tolist() for frame in (table.mean, table.half_width))
    for (optimizer, strategy), mean, width in zip(rows_of(table.mean), means, widths, strict=True):
        if optimizer != content.name:
            continue
        text = figure(mean, table.score) if math.isfinite(mean) else "diverged" if math.isinf(mean) else NOTHING
        if math.isfinite(width) and math.isfinite(mean):
            text += f" ± {figure(width, table.score)}"
        texts.append((strategy, text))
    several = len(texts) > 1
    return "; ".join(f"{strategy}: {text}" if several else text for strategy, text in texts) or NOTHING


def _trials(content: Content) -> str:
    """How many trials each of the challenger's arms had."""
    counts = np.unique(tuning_report(content).trials.get(content.name, (0,))).tolist()
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
