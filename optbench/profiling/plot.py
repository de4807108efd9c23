"""The split of a step as stacked bars, in units of AdamW's step, a panel for each model."""

from __future__ import annotations

import math
from pathlib import Path

from optbench.errors import UserError
from optbench.profiling.rows import Profile, Row
from optbench.profiling.sentences import headline
from optbench.profiling.tables import SPLIT_HEADERS

FORMATS = (".png", ".pdf", ".svg")
COLORS = ("#4477aa", "#66ccee", "#ccbb44", "#228833", "#ee6677", "#bbbbbb")
"""Of the parts, told apart by colour-blind readers as well (Tol's bright scheme)."""
LABELS = {
    **SPLIT_HEADERS,
    "first_pass": "first pass",
    "second_pass": "second pass",
    "perturbation": "shift and restore",
}


def check_plot(path: Path) -> None:
    """Raises UserError for a file that is no figure, or where matplotlib is missing."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--plot {path}: allowed endings: {', '.join(FORMATS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError("--plot needs matplotlib, which is not installed") from error


def plot(profile: Profile, path: Path) -> None:
    """Draws the figure into `path`. Raises UserError where nothing was timed."""
    from matplotlib.figure import Figure

    models = {name: [row for row in rows if _timed(row)] for name, rows in profile.models().items()}
    models = {name: rows for name, rows in models.items() if rows}
    if not models:
        raise UserError("--plot: no case was timed, there is nothing to draw")
    heights = [0.34 * len(rows) + 0.55 for rows in models.values()]
    figure = Figure(figsize=(9.0, sum(heights) + 1.7), layout="constrained")
    grid = figure.subplots(len(models), 1, sharex=True, squeeze=False, height_ratios=heights)
    most = max(row.ratio_high for rows in models.values() for row in rows)
    for axes, (name, rows) in zip(grid[:, 0], models.items(), strict=True):
        left = [0.0] * len(rows)
        places = list(range(len(rows)))[::-1]
        for (part, label), color in zip(LABELS.items(), COLORS, strict=True):
            widths = [_part(row, part) for row in rows]
            axes.barh(places, widths, left=left, color=color, label=label, height=0.72)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        for place, row in zip(places, rows, strict=True):
            axes.plot([row.ratio_low, row.ratio_high], [place, place], color="black", linewidth=1.2)
            axes.text(max(row.ratio, row.ratio_high) + 0.015 * most, place, f"{row.ratio:.2f}", va="center", fontsize=8)
        axes.set_yticks(places, [row.optimizer for row in rows], fontsize=8)
        axes.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
        axes.set_xlim(0, 1.1 * most)
        axes.set_title(_title(name, rows), fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    grid[-1, 0].set_xlabel("cost of a step / AdamW's (black line: quartiles over rounds)", fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    figure.suptitle(_wrapped(headline(profile)), fontsize=8)
    figure.savefig(path, dpi=150)


def _timed(row: Row) -> bool:
    return math.isfinite(row.ratio) and all(
        math.isfinite(share) or part == "newton_schulz" for part, share in row.split.items()
    )


def _part(row: Row, part: str) -> float:
    share = row.split[part]
    return row.ratio * share if math.isfinite(share) else 0.0


def _title(name: str, rows: list[Row]) -> str:
    extrapolated = [row for row in rows if row.status == "extrapolated"]
    if not extrapolated:
        return name
    depths = " and ".join(map(str, extrapolated[0].measured_layers))
    some = "" if len(extrapolated) == len(rows) else f"{', '.join(row.optimizer for row in extrapolated)}: "
    return f"{name} ({some}extrapolated from {depths} of {rows[0].layers} layers)"


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 110))
