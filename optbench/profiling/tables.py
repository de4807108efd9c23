"""A profile for a terminal, and as Markdown: what a step costs, where it goes, what fits, and the answer in words."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence

from optbench.profiling.rows import Profile, Row
from optbench.profiling.sentences import answers, headline, legend

WIDE = 100
"""Columns from which on long names keep their line."""

Column = tuple[str, Callable[[Row], str]]
"""A header, and the cell of a row."""

SPLIT_HEADERS = {
    "first_pass": "1st pass",
    "second_pass": "2nd pass",
    "perturbation": "shift",
    "rule": "rule",
    "newton_schulz": "Newton-Schulz",
    "other": "other",
}


def text_tables(profile: Profile, *, width: int, color: bool) -> str:
    """The tables at so many columns, the rows of each model under its name."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=color, color_system="auto" if color else None)
    console.print(Text(headline(profile)))
    for title, columns in _tables(profile):
        wide = width >= WIDE
        table = Table(box=SIMPLE_HEAD, padding=(0, int(wide), 0, 0), pad_edge=False, title_justify="left", title=title)
        table.add_column("", overflow="fold", no_wrap=wide, min_width=16)
        for header, _ in columns:
            table.add_column(header, justify="right", overflow="fold")
        for group, rows in _groups(profile):
            table.add_row(Text(group, style="bold"))
            for row in rows:
                table.add_row(f"  {row.optimizer}", *(cell(row) for _, cell in columns))
        console.print(table)
    for line in [*answers(profile), "", *legend(profile)]:
        console.print(Text(line))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def markdown(profile: Profile) -> str:
    """The same as Markdown, with a column for the model and one that says what was measured."""
    lines = [headline(profile), ""]
    for title, columns in _tables(profile):
        header = ["model", "optimizer", "status", *(name for name, _ in columns)]
        lines += [f"### {title}", "", _line(header), _line(["---"] * 3 + ["---:"] * len(columns))]
        for row in profile.rows:
            lines.append(_line([row.model, row.optimizer, status(row), *(cell(row) for _, cell in columns)]))
        lines.append("")
    lines += [f"- {line}" for line in answers(profile)]
    lines += ["", *legend(profile)]
    return "\n".join(lines) + "\n"


def status(row: Row) -> str:
    """How the numbers of a row were found."""
    if row.status == "extrapolated":
        return f"extrapolated from {' and '.join(map(str, row.measured_layers))} of {row.layers} layers"
    return row.status


def _tables(profile: Profile) -> list[tuple[str, list[Column]]]:
    cost: list[Column] = [
        ("p50", lambda row: seconds(row.step_seconds)),
        ("p95", lambda row: seconds(row.step_seconds_p95)),
        ("x AdamW", lambda row: number(row.ratio, 2)),
        ("quartiles", lambda row: _range(row.ratio_low, row.ratio_high)),
        ("tokens/s", lambda row: number(row.tokens_per_second, 0)),
        ("must save", _must_save),
    ]
    if any(math.isfinite(row.mfu) for row in profile.rows):
        cost.append(("MFU", lambda row: percent(row.mfu)))
    unit, per = ("TFLOP", 1e12) if max(row.flops for row in profile.rows) >= 1e11 else ("GFLOP", 1e9)
    cost.append((unit, lambda row: f"{row.flops / per:.3g}"))
    unit_of_memory = "GB" if max(row.memory_peak for row in profile.rows) >= 1e9 else "MB"

    def size(value: float) -> str:
        """Three digits, or all of a long number."""
        scaled = value / (1e9 if unit_of_memory == "GB" else 1e6)
        return "-" if not math.isfinite(scaled) else f"{scaled:.3g}" if scaled < 1000 else f"{scaled:.0f}"

    memory: list[Column] = [
        ("model", lambda row: size(row.memory["weights"] + row.memory["gradients"])),
        ("state", lambda row: size(row.memory["state"])),
        ("copies", lambda row: size(row.memory["copy"] + row.memory["cotangent"])),
        ("activ.", lambda row: size(row.memory["activations"] + row.memory["output_layer"])),
        ("peak", lambda row: size(row.memory_peak)),
        ("fits", lambda row: row.fits),
        ("measured", lambda row: size(row.peak_bytes) + _where(row)),
    ]
    return [
        ("What a step costs", cost),
        ("Where a step goes (% of it)", [(header, _share(part)) for part, header in SPLIT_HEADERS.items()]),
        (f"Memory ({unit_of_memory}, estimated for the whole model) and fit", memory),
    ]


def _share(part: str) -> Callable[[Row], str]:
    return lambda row: percent(row.split.get(part, math.nan))


def _groups(profile: Profile) -> list[tuple[str, list[Row]]]:
    """The rows of each model by how they were found."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in profile.rows:
        found.setdefault((row.model, row.status), []).append(row)
    return [(model if how == "measured" else f"{model}, {how}", rows) for (model, how), rows in found.items()]


def seconds(value: float) -> str:
    """A time with three digits."""
    if not math.isfinite(value):
        return "-"
    return f"{value * 1e3:.3g} ms" if value < 0.9995 else f"{value:.3g} s"


def number(value: float, digits: int) -> str:
    """A number with thousands apart, or a dash."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"


def percent(value: float) -> str:
    """A fraction in percent, or a dash."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "-"


def _range(low: float, high: float) -> str:
    return f"{low:.2f}-{high:.2f}" if math.isfinite(low) and math.isfinite(high) else "-"


def _must_save(row: Row) -> str:
    if not math.isfinite(row.break_even_percent):
        return "-"
    return "0%" if row.break_even_percent <= 0 else f"{row.break_even_percent:.0f}%"


def _where(row: Row) -> str:
    """At how many layers, where they are not all."""
    return f" at {max(row.measured_layers)} L" if row.status == "extrapolated" and math.isfinite(row.peak_bytes) else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
