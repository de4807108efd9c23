"""What a comparison says, in sentences: where the sides agree, where not, and what that means and does not mean."""

from __future__ import annotations

import math
from collections.abc import Iterator

from optbench.boards.comparison import FEWEST, Comparison, Line
from optbench.boards.scale import scale_sentences
from optbench.boards.words import (
    listed,
    our_gain,
    our_percent,
    ours_resolved,
    their_gain,
    their_percent,
    theirs_resolved,
    unit_of,
)
from optbench.metrics.columns import column


def sentences_of(found: Comparison) -> list[str]:
    """The answer, best first: signs, order, scale, what follows."""
    return [
        _compared(found),
        *_references(found),
        *_signs(found),
        _order(found),
        *scale_sentences(found.scale, found.ours, found.theirs.setting.scale),
        *_meaning(found),
    ]


def notes_of(found: Comparison) -> list[str]:
    """What to know about the figures of the table: variants, flags, grades, and what one side alone has."""
    return [*_variants(found), *_flags(found), *_grades(found), *_others(found)]


def _compared(found: Comparison) -> str:
    ours, setting = found.ours, found.theirs.setting
    models = f"{len(ours.models)} models together" if len(ours.models) > 1 else f"model {ours.models[0]}"
    better = column(ours.metric).direction
    return (
        f"The suite {found.suite} ({ours.metric}, {better} is better; {models}, strategy {ours.strategy}, "
        f"{ours.budget}) beside the board {found.theirs.board.name}, {setting.name} ({setting.metric}, "
        f"{setting.direction} is better)."
    )


def _references(found: Comparison) -> Iterator[str]:
    ours, theirs = found.ours, found.theirs
    if ours.reference in ours.sides and theirs.has_reference:
        yield f"Gains are over {found.reference}; positive is better on both sides."
        return
    missing = {"the suite": ours.reference not in ours.sides, "the board": not theirs.has_reference}
    lacking = [side for side, is_missing in missing.items() if is_missing]
    both = [line.name for line in found.lines]
    hint = f"; both have {listed(both)}, as in --reference {both[0]}" if both else ""
    lacks = f"{lacking[0]} has no" if len(lacking) == 1 else "neither side has"
    yield f"No gains can be compared: {lacks} {found.reference}{hint}."


def _signs(found: Comparison) -> Iterator[str]:
    if not found.lines:
        yield (
            f"No optimizer of the suite has a figure there: the suite has {listed(found.only_ours)}, the board has "
            f"{listed(found.only_theirs)}. Variants are not equated unless a board says so; --pair OURS=THEIRS does."
        )
        return
    for verdict, words in (("agree", "Agree in sign"), ("disagree", "Disagree in sign")):
        lines = [line for line in found.lines if line.verdict == verdict]
        if lines:
            yield f"{words}: {'; '.join(_described(line, found) for line in lines)}."
    for line in found.lines:
        if line.verdict == "undetermined" and found.theirs.has_reference and found.reference in found.ours.sides:
            yield f"Undetermined: {line.name}, {line.why}."


def _described(line: Line, found: Comparison) -> str:
    gain, other = line.ours.gain, line.theirs.gain
    if gain is None or other is None:
        raise ValueError(f"{line.name} has no gain on both sides")
    metric = found.ours.metric
    here = " ".join(part for part in (our_gain(gain, metric), unit_of(metric)) if part)
    if math.isfinite(gain.relative):
        here += f" ({our_percent(gain)})"
    there = their_gain(other, found.theirs)
    percent = their_percent(other)
    there = percent if found.theirs.implied else f"{there} ({percent})" if math.isfinite(other.relative) else there
    return (
        f"{line.name}, here {here} ({ours_resolved(gain)}), there {there} "
        f"({theirs_resolved(other, line.theirs.figure)})"
    )


def _order(found: Comparison) -> str:
    if found.rank is None:
        count = len(found.rank_names)
        have = "none" if count == 0 else f"{count} ({listed(found.rank_names)})"
        return f"No rank correlation: it needs {FEWEST} shared names with a figure on both sides, and there are {have}."
    rank = found.rank
    if math.isnan(rank.tau):
        return f"No rank correlation: on one side all {len(rank.names)} shared names are equal."
    ties = f", {rank.tied} tied" if rank.tied else ", no ties"
    text = (
        f"Order of the {len(rank.names)} shared names: Kendall tau-b {rank.tau:+.2f} ({rank.concordant} pairs in the "
        f"same order, {rank.discordant} in the other{ties}; p = {rank.p:.2g} against independent orders)."
    )
    if rank.blurred:
        text += f" {rank.blurred} of the pairs are within the error of reading there, so their order is not known."
    return text


def _meaning(found: Comparison) -> Iterator[str]:
    lines = [line for line in found.lines if line.verdict in ("agree", "disagree")]
    if not lines:
        return
    yield (
        "Only signs, order and relative gains may be set side by side: the levels are of other data, models and "
        "metrics."
    )
    agree = [line for line in lines if line.verdict == "agree"]
    disagree = [line for line in lines if line.verdict == "disagree"]
    if agree:
        resolved = [line.name for line in agree if _is_resolved(line)]
        if resolved:
            yield (
                f"For {listed(resolved)} the signs agree and our difference is resolved: the direction is the same at "
                "this scale. It does not say that the size of the gain carries over."
            )
        if len(resolved) < len(agree):
            names = listed(line.name for line in agree if not _is_resolved(line))
            yield f"For {names} the signs agree and ours is not resolved: half of all signs agree by chance."
    if disagree:
        open_ = [line.name for line in disagree if not _is_resolved(line)]
        closed = [line for line in disagree if _is_resolved(line)]
        both = [line.name for line in closed if line.theirs.gain is not None and line.theirs.gain.resolved]
        ours = [line.name for line in closed if line.name not in both]
        if open_:
            yield f"For {listed(open_)} our difference is not resolved, so the other sign contradicts nothing."
        if ours:
            yield (
                f"For {listed(ours)} our difference is resolved and theirs is not known to be: theirs may be chance, "
                "or scale, data or tuning matter. More runs here would not tell which."
            )
        if both:
            yield (
                f"For {listed(both)} both differences are resolved: the answer depends on scale, data or tuning. It "
                "does not say which side is wrong."
            )


def _is_resolved(line: Line) -> bool:
    return line.ours.gain is not None and line.ours.gain.resolved


def _variants(found: Comparison) -> Iterator[str]:
    for line in found.lines:
        row = line.theirs.row
        if row.because and row.name == line.name:
            yield f"{row.method} stands for {line.name}: {row.because}."
        elif row.name != line.name:
            yield f"{row.method} is compared with {line.ours.optimizer} because --pair says so."


def _flags(found: Comparison) -> Iterator[str]:
    for line in found.lines:
        flags = [*line.theirs.row.flags, *line.theirs.figure.flags]
        if flags:
            yield f"{line.theirs.row.method}: {'; '.join(flags)}."
        gain = line.ours.gain
        if gain is not None and 0 < gain.models < gain.models_declared:
            yield (
                f"{line.ours.optimizer} here: the gain is over {gain.models} of {gain.models_declared} models, for the "
                "others lack records."
            )
        if line.ours.diverged:
            yield f"{line.ours.optimizer} here: {line.ours.diverged} of {line.ours.cells} cells diverged."


def _grades(found: Comparison) -> Iterator[str]:
    figures = [line.theirs.figure for line in found.lines]
    for grade in dict.fromkeys(figure.grade for figure in figures):
        text = f"Figures there: {grade}"
        example = next(figure for figure in figures if figure.grade == grade)
        if example.derived_by is not None:
            text += f", {example.derived_by}"
        if example.uncertainty is not None:
            text += f", to about {example.uncertainty:g}"
        yield f"{text}."
    for source in dict.fromkeys(figure.sigma_from for figure in figures if figure.sigma_from):
        sigma = next(figure.sigma for figure in figures if figure.sigma_from == source)
        yield f"Spread between runs there: {sigma:g} ({source})."
    yield from found.theirs.setting.notes
    yield from found.theirs.board.fields.notes


def _others(found: Comparison) -> Iterator[str]:
    if found.lines and found.only_ours:
        yield f"Only here: {', '.join(found.only_ours)}."
    if found.lines and found.only_theirs:
        yield f"Only there: {', '.join(found.only_theirs)}."
    if found.other_columns:
        yield f"Other columns of the board: {', '.join(found.other_columns)} (--column)."
