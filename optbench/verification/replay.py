"""A record beside the same cell trained again: bit-equal, within what seeds differ by, or different.

Bit-equal: everything in the record but `measured`, all columns of its curves, its answers and its weights. Where bits
differ, score and final loss of both runs are held against the 95% prediction interval of Student's t from the other
seeds of the arm, mean +- t(0.975, n - 1) sd sqrt(1 + 1/n). Where all curves are equal and the record is not, training
was repeated exactly, and the record was edited.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from pydantic import ValidationError

from optbench.cell import CellSpec
from optbench.errors import UserError
from optbench.models.stated import heard, in_words
from optbench.reports.escape import plain
from optbench.spec import canonical
from optbench.store import CHECKPOINTS, are_checkpoints
from optbench.verification.evidence import Evidence
from optbench.verification.numbers import deviation, mean, number
from optbench.verification.recount import t_quantile

Word = Literal["bit-equal", "within seed noise", "differs", "cannot be judged"]
LEAST_SEEDS = 2
"""Other seeds that are needed for an interval."""


@dataclass(frozen=True)
class Replay:
    """How a cell did when it was trained again. `differences` names what is not equal, `versions` what it was made with
    then and is made with now, where they differ; `why` says what the verdict rests on."""

    key: str
    name: str
    word: Word
    why: str
    differences: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether the replay supports the record."""
        return self.word in ("bit-equal", "within seed noise")

    def line(self) -> str:
        """The verdict in one line."""
        text = f"replay of {self.key} ({self.name}): {self.word}; {self.why}"
        if self.differences:
            text += f"; differs in {', '.join(self.differences[:6])}"
            text += f" and {len(self.differences) - 6} more" if len(self.differences) > 6 else ""
        if self.versions:
            return f"{text}; made with others: {', '.join(self.versions)}"
        return text if self.word == "bit-equal" else f"{text}; versions and device are alike"


def check_is_that_cell(chosen: Evidence) -> None:
    """Raises UserError where training here would make another cell than that of the record: with another checkpoint,
    say, of the same name. The record would be blamed for it."""
    content = chosen.content
    assert content is not None
    try:
        with heard() as named:
            key = CellSpec.model_validate(content["cell"]).key
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(plain(f"--replay: {chosen.key}: its cell is not valid here: {reason}")) from error
    if key == chosen.key:
        return
    stated = content.get(CHECKPOINTS, {}) if are_checkpoints(content.get(CHECKPOINTS, {})) else {}
    why = [
        f"{name} is {in_words(own)} here, and "
        + (f"{in_words(stated[name])} in the record" if name in stated else "the record does not state it")
        for name, own in named.identities.items()
        if stated.get(name) != own
    ]
    why = why or ["its cell, or a file or code that it was made with, was changed; verify without --replay says more"]
    raise UserError(plain(f"--replay: {chosen.key}: what is here makes another cell, {key}: {'; '.join(why)}"))


def compared(name: str, then: Evidence, now: Evidence, others: Sequence[Mapping[str, Any]], score: str) -> Replay:
    """The verdict. `others` are the records of the other seeds of the arm, `score` is what tables are ranked by."""
    recorded, again = then.content, now.content
    assert recorded is not None and again is not None
    versions = list(_other_versions(recorded, again))
    parts = list(_differences(then, now))
    if not parts:
        return Replay(then.key, name, "bit-equal", "record, curves, answers and weights", versions=versions)
    same_curves = "curves" in then.record.tables and not any(part.startswith("curves") for part in parts)
    if same_curves:
        why = "the curves are equal in every bit, and the rest is not: it was edited or damaged"
        return Replay(then.key, name, "differs", why, parts, versions)
    if recorded["outcome"] != again["outcome"]:
        why = f"the outcome was {recorded['outcome']} and is {again['outcome']}"
        return Replay(then.key, name, "differs", why, parts, versions)
    numbers = [own for own in dict.fromkeys((score, "final_loss")) if own in recorded["result"]]
    judged = [_within(own, recorded, again, others) for own in numbers]
    why = "; ".join(text for _, text in judged)
    if any(fits is None for fits, _ in judged) or not judged:
        return Replay(then.key, name, "cannot be judged", why or "it has no score", parts, versions)
    word: Word = "within seed noise" if all(fits for fits, _ in judged) else "differs"
    return Replay(then.key, name, word, why, parts, versions)


def _within(
    name: str, recorded: Mapping[str, Any], again: Mapping[str, Any], others: Sequence[Mapping[str, Any]]
) -> tuple[bool | None, str]:
    """Whether a number of both runs is within the prediction interval of the other seeds; None where none is known."""
    one, other = number(recorded["result"].get(name)), number(again["result"].get(name))
    found = [number(record["result"].get(name)) for record in others if record["outcome"] == "completed"]
    found = [value for value in found if math.isfinite(value)]
    both = f"{name} was {one:.6g} and is {other:.6g}"
    if len(found) < LEAST_SEEDS:
        return None, f"{both}: {len(found)} other seeds, and {LEAST_SEEDS} are needed to say what seeds differ by"
    n = len(found)
    width = t_quantile(n - 1) * deviation(found) * math.sqrt(1 + 1 / n)
    low, high = mean(found) - width, mean(found) + width
    fits = low <= min(one, other) and max(one, other) <= high
    return fits, f"{both}, interval of {n} other seeds {low:.6g} to {high:.6g}"


def _differences(then: Evidence, now: Evidence) -> Iterator[str]:
    recorded, again = then.content, now.content
    assert recorded is not None and again is not None
    for block in ("outcome", "plan"):
        if canonical({"x": recorded[block]}) != canonical({"x": again[block]}):
            yield block
    for block in ("result", "optimizer"):
        names = sorted({*recorded[block], *again[block]})
        for name in names:
            if name == "observed" and name not in recorded[block]:
                continue  # An archive does not keep what single steps were.
            if canonical({"x": recorded[block].get(name)}) != canonical({"x": again[block].get(name)}):
                yield f"{block}.{name}"
    for table in ("curves", "questions"):
        if table in then.record.tables and table in now.record.tables:
            yield from _columns(table, then.record.tables[table], now.record.tables[table])
    if then.record.weights is not None and then.record.weights != now.record.weights:
        yield "weights"


def _columns(table: str, one: pd.DataFrame, other: pd.DataFrame) -> Iterator[str]:
    if len(one) != len(other):
        yield f"{table} (rows: {len(one)} and {len(other)})"
        return
    for name in dict.fromkeys([*one.columns, *other.columns]):
        if name not in one or name not in other or not one[name].equals(other[name]):
            yield f"{table}.{name}"


def _other_versions(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    then, now = (dict(content["measured"].get("provenance", {})) for content in (recorded, again))
    one, other = dict(then.pop("versions", {})), dict(now.pop("versions", {}))
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            yield f"{name} {one.get(name)} then, {other.get(name)} now"
    for name in sorted({*then, *now} - {"dirty"}):
        if then.get(name) != now.get(name):
            yield f"{name} {then.get(name)} then, {now.get(name)} now"
