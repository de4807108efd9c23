"""What a challenge was about, what it took, and what came of what it planned."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from optbench.challenge.page_contrasts import interval_text, margin_text, unit_of
from optbench.commands.tables import duration
from optbench.page.circumstances import Scale, parameters_of, provenance_of
from optbench.reports.sentences import difference_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optbench.challenge.content import Content
    from optbench.store import Record


@dataclass(frozen=True)
class Stage:
    """One stage: its name, its time in words, and its share of all that was spent, in percent."""

    name: str
    time: str
    share: str


@dataclass(frozen=True)
class Outcome:
    """One contrast at the end: how wide its interval is, beside the margin that it was to be told from."""

    name: str
    n: int
    half_width: str
    margin: str
    verdict: str


@dataclass(frozen=True)
class Link:
    """A file to name: what it is, its name, and its address from the page; empty where it lies elsewhere."""

    what: str
    name: str
    address: str


def scale_text(scale: Scale, content: Content) -> str:
    """How large what was run is: `llama-nano (0.10M parameters); arithmetic; uniform; 300 steps; 13 seeds`."""
    axes = dict(scale.axes)
    by_size: dict[str, list[str]] = {}
    for name in axes["model"]:
        by_size.setdefault(scale.sizes.get(name, ""), []).append(name)
    models = [", ".join(names) + _sized(size, len(names)) for size, names in by_size.items()]
    parts = [", ".join(models), *(", ".join(axes[axis]) for axis in ("task", "strategy", "budget"))]
    seeds = len(axes["seed"])
    first = len(content.suite.seeds)
    added = f", {first} of them declared and the others added" if 0 < first < seeds else ""
    return "; ".join([*parts, f"{seeds} seed{'' if seeds == 1 else 's'}{added}"])


def _sized(size: str, models: int) -> str:
    each = " each" if models > 1 else ""
    return f" ({size} parameters{each})" if size else ""


def hardware_text(records: Sequence[Record]) -> str:
    """Devices and precisions that the records were made with, in words."""
    made = [provenance_of(record) for record in records]
    parts = [", ".join(dict.fromkeys(str(each[name]) for each in made if name in each)) for name in _HARDWARE]
    return ", ".join(part for part in parts if part)


_HARDWARE = ("device", "precision")


def stages_of(spent: Mapping[str, float]) -> list[Stage]:
    """What each stage took."""
    total = sum(spent.values()) or 1.0
    return [Stage(name, duration(value), f"{100 * value / total:.0f}%") for name, value in spent.items()]


def budget_text(content: Content) -> str:
    """What was spent of what was allowed."""
    spent = sum(content.spent.values())
    share = f" ({100 * spent / content.budget_seconds:.0f}%)" if content.budget_seconds > 0 else ""
    return f"{duration(spent)} of {duration(content.budget_seconds)}{share}"


def margins_text(content: Content) -> str:
    """When the margin was stated, in a sentence: before the first seed, unless others were stated as well. Empty where
    there is none."""
    if content.margin <= 0 or not content.contrasts:
        return ""
    if len(content.margins) <= 1:
        return "A difference within the margin was called too small to matter before the first seed was run."
    metric = content.contrasts[0].metric
    texts = [margin_text(margin, metric) for margin in content.margins]
    return (
        f"Several margins were stated, one after another, in the unit of {metric.replace('_', ' ')}: "
        f"{', '.join(texts)}{f' {unit_of(metric)}' if unit_of(metric) else ''}. The verdicts are by the last one, "
        "which may have been chosen with results at hand; the intervals are the same for all."
    )


def outcomes_of(content: Content) -> list[Outcome]:
    """Every contrast with what was reached."""
    found = []
    for judged in content.contrasts:
        unit = unit_of(judged.metric)
        known = interval_text(judged) != "no interval"
        half = difference_text((judged.high - judged.low) / 2, judged.metric).lstrip("+") if known else ""
        found.append(
            Outcome(
                name=judged.name,
                n=judged.n,
                half_width=f"±{half} {unit}".rstrip() if known else "no interval",
                margin=f"{margin_text(judged.margin, judged.metric)} {unit}".rstrip(),
                verdict=judged.verdict,
            )
        )
    return found


def claims_of(content: Content, records: Sequence[tuple[str, Record]]) -> list[tuple[str, str, str]]:
    """What updates what in the challenger: for each model and rule the parameters and tensors, from its first record.

    `records` are (optimizer, record).
    """
    found: dict[tuple[str, str], tuple[str, str]] = {}
    models = {cell.key: cell.arm.model for cell in content.suite.cells()}
    for optimizer, record in records:
        if optimizer != content.name or not parameters_of(record):
            continue
        for rule, part in record.optimizer["claims"].items():
            numbers = (f"{int(part.get('parameters', 0)):,}", f"{int(part.get('tensors', 0)):,}")
            found.setdefault((models[record.key], str(rule)), numbers)
    return [
        (f"{model}: {rule}" if len(set(models.values())) > 1 else rule, *what) for (model, rule), what in found.items()
    ]


def links_of(files: Mapping[str, Path], folder: Path) -> list[Link]:
    """The files by what they are. Only those in the folder of the page, or below, get an address: others may not be
    where somebody reads the page."""
    links = []
    for what, path in files.items():
        beside = os.path.relpath(path, folder)
        inside = not beside.startswith(os.pardir) and not os.path.isabs(beside)
        name = Path(beside).as_posix() if inside else path.name
        links.append(Link(what, name, f"./{quote(name)}" if inside else ""))
    return links
