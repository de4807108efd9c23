"""Judgements as JSON data, as a table for a terminal, and as Markdown. Texts of files are escaped where shown."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from optbench.claims.evaluation import Finding, Judgement
from optbench.claims.scale import Rerun
from optbench.claims.words import (
    SCOPE,
    claim_reason,
    coverage_text,
    deciding_text,
    effect_text,
    interval_of,
    question_text,
    reason_of,
    unit_of,
)
from optbench.commands.tables import table
from optbench.reports.escape import markdown, plain
from optbench.reports.sentences import minutes_text


def content_of(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Everything as JSON data; what is infinite or unknown is null, fractions are fractions."""
    return {"claims": [_claim(judgement) for judgement in judgements]}


def json_text(judgements: Sequence[Judgement]) -> str:
    """Strict JSON."""
    return json.dumps(content_of(judgements), indent=1, allow_nan=False) + "\n"


def _claim(judgement: Judgement) -> dict[str, Any]:
    fields, shown = judgement.claim.fields, judgement.shown
    return {
        "name": fields.name,
        "source": fields.source,
        "verdict": str(judgement.verdict),
        "interval": _interval(shown),
        "n": shown.effect.n,
        "scale": judgement.scale,
        "criterion": fields.criterion,
        "rerun": _rerun(judgement.rerun),
        "reason": claim_reason(judgement),
        "opposite": judgement.is_opposite,
        "complete": judgement.is_complete,
        "estimate": _number(shown.test.shown(shown.effect.estimate)),
        "unit": unit_of(shown.test),
        "quotation": fields.quotation,
        "paraphrase": fields.paraphrase,
        "about": fields.about,
        "tests": [_finding(finding) for finding in judgement.tests],
        "choices": [
            {
                "name": found.choice.name,
                "verdict": str(found.verdict),
                "tests": [_finding(finding) for finding in found.tests],
                "rerun": _rerun(found.rerun),
            }
            for found in judgement.choices
        ],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    test, effect = finding.test, finding.effect
    against = {"difference": {"minus": dict(test.against)}, "ratio": {"over": dict(test.against)}, "level": {}}
    return {
        "suite": str(test.suite.path),
        "metric": test.metric,
        "of": dict(test.of),
        **against[test.form],
        "above" if test.sign > 0 else "below": test.threshold,
        "margin": test.margin,
        "verdict": str(finding.verdict),
        "opposite": finding.is_opposite,
        "reason": reason_of(finding),
        "estimate": _number(test.shown(effect.estimate)),
        "interval": _interval(finding),
        "unit": unit_of(test),
        "p": _number(effect.p),
        "p_holm": _number(finding.p) if finding.family > 1 else None,
        "family": finding.family,
        "n": effect.n,
        "seeds_declared": effect.seeds_declared,
        "pairs": effect.pairs,
        "pairs_declared": effect.pairs_declared,
        "diverged": effect.diverged,
        "seeds_needed": int(finding.seeds_needed) if math.isfinite(finding.seeds_needed) else None,
        "minutes_needed": _number(finding.minutes_needed),
    }


def _rerun(rerun: Rerun) -> dict[str, Any]:
    return {"command": rerun.command, "minutes": None if math.isnan(rerun.minutes) else round(rerun.minutes, 1)}


def _interval(finding: Finding) -> list[float] | None:
    interval = interval_of(finding)
    return None if interval is None else list(interval)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


PROVISIONAL = "*"
"""Marks the n of a claim whose numbers do not rest on all that was declared."""

_REPEAT, _RUN = "to repeat the runs so far", "to run all that is declared"
_HEADER = ("claim", "verdict", "effect [95% interval]", "of", "n", "scale")
_MORE = "Details of all these claims: --details; of one: name its file beside the folder."


def table_text(judgements: Sequence[Judgement], *, width: int = 100, detailed: Collection[str] | None = None) -> str:
    """A table, the scales it speaks of, and then each claim with its tests, wrapped at `width` columns.

    `detailed` names the claims that are shown with their tests; None is all.
    """
    letters, rows = _rows(judgements)
    blocks = [table(_HEADER, [[plain(text) for text in row] for row in rows])]
    lines = [f"{letter}: {plain(text)}" for letter, text in _legend(letters, judgements)]
    blocks.append("\n".join([*lines, *(line for note in _notes(judgements) for line in _wrapped(note, width))]))
    shown = _detailed(judgements, detailed)
    for judgement in shown:
        lines = [f"{plain(judgement.claim.name)}: {_verdict(judgement)}"]
        for depth, text in _details(judgement):
            indent = 2 * depth + 2
            # A command stays on its line, to be copied from there.
            is_command = text.startswith((_REPEAT, _RUN))
            lines += [" " * indent + plain(text)] if is_command else _wrapped(plain(text), width, indent=indent)
        blocks.append("\n".join(lines))
    if len(shown) < len(judgements):
        blocks.append(_MORE)
    return "\n\n".join(blocks) + "\n"


def markdown_text(judgements: Sequence[Judgement], *, detailed: Collection[str] | None = None) -> str:
    """The same as Markdown."""
    letters, rows = _rows(judgements)
    lines = ["| " + " | ".join(_HEADER) + " |", "| --- | --- | --- | --- | ---: | --- |"]
    lines += ["| " + " | ".join(markdown(text) for text in row) + " |" for row in rows]
    lines += ["", *(f"- {letter}: {markdown(text)}" for letter, text in _legend(letters, judgements))]
    lines += [line for note in _notes(judgements) for line in ("", markdown(note))]
    shown = _detailed(judgements, detailed)
    for judgement in shown:
        lines += ["", f"## {markdown(judgement.claim.name)}: {_verdict(judgement)}", ""]
        lines += [f"{'  ' * indent}- {markdown(text)}" for indent, text in _details(judgement)]
    if len(shown) < len(judgements):
        lines += ["", _MORE]
    return "\n".join(lines) + "\n"


def _rows(judgements: Sequence[Judgement]) -> tuple[dict[str, str], list[list[str]]]:
    """A letter for each scale, and the rows of the table. The scale is long and shared, hence the letters."""
    letters: dict[str, str] = {}
    rows = []
    for judgement in judgements:
        letter = letters.setdefault(judgement.scale, _letter(len(letters)))
        shown = judgement.shown
        rows.append(
            [
                judgement.claim.name,
                _verdict(judgement),
                effect_text(shown),
                deciding_text(judgement),
                f"{shown.effect.n}{_mark(judgement)}",
                letter,
            ]
        )
    return letters, rows


def _detailed(judgements: Sequence[Judgement], names: Collection[str] | None) -> list[Judgement]:
    return [judgement for judgement in judgements if names is None or judgement.claim.name in names]


def _verdict(judgement: Judgement) -> str:
    return f"{judgement.verdict} (opposite)" if judgement.is_opposite else str(judgement.verdict)


def _legend(letters: dict[str, str], judgements: Sequence[Judgement]) -> Iterator[tuple[str, str]]:
    """Each letter and its scale; where no claim of that scale has records, it is only declared."""
    run = {judgement.scale for judgement in judgements if judgement.is_run}
    for scale, letter in letters.items():
        yield letter, scale if scale in run else _declared(scale)


def _declared(scale: str) -> str:
    return f"declared: {scale} (not run yet)"


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else f"S{place + 1}"


def _mark(judgement: Judgement) -> str:
    return "" if judgement.is_complete else PROVISIONAL


def _notes(judgements: Sequence[Judgement]) -> list[str]:
    """How to read the table."""
    tests = sum(len(judgement.tests) for judgement in judgements)
    notes = [
        SCOPE,
        f"Intervals: 95%, Student's t over seeds. A claim that holds does so beside the {tests} primary tests of the "
        f"{len(judgements)} claims read here (Holm).",
    ]
    if not all(judgement.is_complete for judgement in judgements):
        effects = [finding.effect for judgement in judgements for finding in judgement.tests]
        why = []
        if any(effect.missing for effect in effects):
            why.append("some declared runs have no record yet, or ran out of memory; the verdict may change")
        if any(effect.undetermined for effect in effects):
            why.append("some runs are there and do not have the metric; more records will not change that")
        # What is left are times that were taken beside other cells, in an arm that has some taken alone.
        notes.append(f"{PROVISIONAL}: {'. Or: '.join(why) or 'some declared seeds or pairs of arms do not enter'}.")
    return notes


def _details(judgement: Judgement) -> Iterator[tuple[int, str]]:
    """Lines with their depth."""
    fields = judgement.claim.fields
    said = f'"{fields.quotation}"' if fields.quotation is not None else f"{fields.paraphrase} (paraphrased)"
    yield 0, f"{fields.source}: {said}"
    yield 0, f"said of: {fields.about}"
    yield 0, f"run here: {judgement.scale}" if judgement.is_run else _declared(judgement.scale)
    yield 0, f"criterion: {fields.criterion}"
    yield 0, f"why: {claim_reason(judgement)}"
    for finding in judgement.tests:
        yield from _test(finding, 0)
    for found in judgement.choices:
        yield 0, f"choice: {found.choice.name}: {found.verdict}"
        for finding in found.tests:
            yield from _test(finding, 1)
        if found.rerun.command != judgement.rerun.command:
            yield 1, _rerun_text(found.rerun)
    yield 0, _rerun_text(judgement.rerun)


def _test(finding: Finding, depth: int) -> Iterator[tuple[int, str]]:
    yield depth, f"test: {question_text(finding.test)}: {finding.verdict}"
    known = [text for text in (effect_text(finding), coverage_text(finding)) if text != "-"]
    yield depth + 1, f"{', '.join(known)}: {reason_of(finding)}"


def _rerun_text(rerun: Rerun) -> str:
    if rerun.is_recorded:
        minutes = "" if math.isnan(rerun.minutes) else f" ({minutes_text(rerun.minutes)})"
        return f"{_REPEAT}{minutes}: {rerun.command}"
    minutes = "" if math.isnan(rerun.minutes) else f" ({minutes_text(rerun.minutes)} from nothing)"
    return f"{_RUN}{minutes}: {rerun.command}"


def _wrapped(text: str, width: int, *, indent: int = 0) -> list[str]:
    first, rest = " " * indent, " " * (indent + 2)
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent=first,
        subsequent_indent=rest if indent else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
