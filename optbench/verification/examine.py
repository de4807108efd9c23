"""One record, looked at from all sides: its shape, its key, what lies beside it, and what follows from its cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from optbench.bundle import SOURCES
from optbench.cell import CellSpec
from optbench.errors import UserError
from optbench.models.stated import heard, in_words, stated_checkpoints
from optbench.store import CHECKPOINTS, CURVES, QUESTIONS, WEIGHTS
from optbench.verification.evidence import Evidence, Files
from optbench.verification.grades import grader_of, is_asked, wrong_examples, wrong_grades, wrong_questions
from optbench.verification.identity import Identity, identity_of_cell, identity_of_panel
from optbench.verification.outcomes import wrong_curves, wrong_result, wrong_shape
from optbench.verification.panels import missing_tables, wrong_findings
from optbench.verification.problem import LOOK_AGAIN, RUN_AGAIN, Findings
from optbench.verification.shown import Shown, Unavailable
from optbench.verification.statements import wrong_statements
from optbench.verification.weights import wrong_weights
from optbench.verification.yardstick import wrong_yardstick

EDITED = f"do not use it: put the original back, or {RUN_AGAIN}"
_DECIDING = ("numpy", "scipy")
"""The libraries that plans and orders are made with."""


@dataclass
class Examiner:
    """Examines records one after the other, remembering plans that several share."""

    _shown_at: dict[Path, Shown] = field(default_factory=dict)

    def examine(self, evidence: Evidence, found: Findings) -> bool:
        """Notes all that is wrong with a record whose files are read; says whether its shape is that of a record."""
        content = evidence.content
        if content is None:
            return False
        shape = list(wrong_shape(content))
        _note(found, evidence.where, shape, f"{RUN_AGAIN}, or read it with the version that wrote it")
        if any(word.startswith(("has no", "its ", "record of schema")) for word in shape):
            return False
        with stated_checkpoints(content.get(CHECKPOINTS, {}).get):
            self._content(evidence, content, found)
        return True

    def _content(self, evidence: Evidence, content: Mapping[str, Any], found: Findings) -> None:
        identity = self._identity(evidence, content, found)
        cell = identity.spec if identity.verdict in ("agrees", "not here") else None
        _note(found, evidence.where, wrong_result(content, cell), EDITED)
        if evidence.kept:
            self._beside(evidence, content, cell, found)
        if cell is not None and content["outcome"] != "out_of_memory":
            self._shown(evidence, content, cell, found)
        for name in evidence.panels:
            self._panel(evidence, name, cell, found)

    def _identity(self, evidence: Evidence, content: Mapping[str, Any], found: Findings) -> Identity:
        if content["key"] != evidence.key:
            then = f"put it back into the folder of that name, or {RUN_AGAIN}"
            found.add(evidence.where, f"holds the record of another cell, {content['key']}", then)
        with heard() as named:
            stated = list(content.get(CHECKPOINTS, {}).values())
            identity = identity_of_cell(content["key"], content["cell"], evidence.root / SOURCES, stated)
        if identity.verdict == "edited":
            found.add(evidence.where, f"its key {content['key']} does not belong to its cell ({identity.why})", EDITED)
        elif identity.verdict != "agrees":
            found.skip(f"key of {identity.verdict}: {identity.why}")
        if identity.verdict == "agrees":
            for name in sorted(named.stated):
                found.trust(f"{name}, {in_words(named.identities[name])}")
            wrong = wrong_statements(content.get(CHECKPOINTS, {}), named.identities)
            _note(found, evidence.where, wrong, EDITED)
        return identity

    def _beside(self, evidence: Evidence, content: Mapping[str, Any], cell: CellSpec | None, found: Findings) -> None:
        files, outcome, result = evidence.record, content["outcome"], content["result"]
        curves, questions = files.tables.get("curves"), files.tables.get("questions")
        if not files.sealed:
            # What a seal does not name was not there when it was written, as in a bundle without curves.
            missing = [CURVES] if outcome != "out_of_memory" else []
            missing += [QUESTIONS] if is_asked(result) else []
            missing += [WEIGHTS] if cell is not None and missing and _is_small(cell) else []
            for name in missing:
                if not (files.folder / name).exists():
                    found.add(files.place(name), "is missing", RUN_AGAIN)
        if curves is not None:
            _note(found, files.place(CURVES), wrong_curves(content, curves, cell), EDITED)
        if questions is not None:
            _note(found, files.place(QUESTIONS), self._answers(content, questions, cell, found), EDITED)
        if files.weights is not None:
            _note(found, files.place(WEIGHTS), wrong_weights(content, files.weights, cell), EDITED)

    def _answers(self, content: Mapping[str, Any], table: Any, cell: CellSpec | None, found: Findings) -> list[str]:
        wrong = list(wrong_questions(content, table))
        if cell is None or any("no column" in word or "truth values" in word for word in wrong):
            return wrong
        grade = grader_of(cell.task)
        if grade is None:
            found.skip(f"answers to the task {cell.task.kind} are not graded again")
        else:
            try:
                wrong += wrong_grades(table, grade)
            except ImportError as error:
                found.skip(f"answers are not graded again: {error}")
        return [*wrong, *wrong_examples(table, cell)]

    def _shown(self, evidence: Evidence, content: Mapping[str, Any], cell: CellSpec, found: Findings) -> None:
        shown = self._shown_at.setdefault(evidence.root, Shown(evidence.root))
        curves = evidence.record.tables.get("curves")
        try:
            wrong = shown.wrong(content, curves, cell, same_versions=_same_versions(content))
            _note(found, evidence.where, wrong, EDITED)
        except Unavailable as reason:
            found.skip(f"plan, tokens and FLOPs: {reason}")
        except (OSError, UserError) as error:
            found.skip(f"plan, tokens and FLOPs: {error}")

    def _panel(self, evidence: Evidence, name: str, cell: CellSpec | None, found: Findings) -> None:
        files, where = evidence.panels[name], evidence.sits_at(name)
        content = files.content
        if content is None:
            return
        wrong = [
            block for block in ("panel", "result", "notes", "measured") if not isinstance(content.get(block), dict)
        ]
        if wrong:
            found.add(where, f"has no {', '.join(wrong)}", LOOK_AGAIN)
            return
        if content.get("cell", evidence.key) != evidence.key:
            found.add(where, f"was found at another cell, {content['cell']}", LOOK_AGAIN)
        if content.get("key", name) != name:
            found.add(where, f"is of another panel, {content['key']}", LOOK_AGAIN)
        identity = identity_of_panel(name, content["panel"])
        if identity.verdict == "edited":
            found.add(where, f"its key {name} does not belong to its panel ({identity.why})", LOOK_AGAIN)
            return
        if identity.verdict != "agrees":
            found.skip(f"key of a panel {identity.verdict}: {identity.why}")
        if evidence.kept and not files.sealed:
            for table in missing_tables(content):
                if not (files.folder / f"{table}.parquet").exists():
                    found.add(files.place(f"{table}.parquet"), "is missing", LOOK_AGAIN)
        tables = files.tables if _is_whole(files, missing_tables(content)) else {}
        _note(found, where, wrong_findings(content, tables), LOOK_AGAIN)
        if identity.spec is not None and cell is not None and tables:
            try:
                wrong_here = wrong_yardstick(identity.spec, content, tables, cell, evidence.root)
                _note(found, where, wrong_here if _same_versions(content) else [], LOOK_AGAIN)
            except Unavailable as reason:
                found.skip(f"late and early examples: {reason}")


def _is_small(cell: CellSpec) -> bool:
    """Whether weights are kept with the record, as far as can be told: sizes may need a tokenizer that is not here."""
    try:
        return bool(cell.model.is_small)
    except (OSError, UserError):
        return False


def _is_whole(files: Files, names: Iterable[str]) -> bool:
    return all(name in files.tables for name in names)


def _same_versions(content: Mapping[str, Any]) -> bool:
    made = content["measured"].get("provenance", {})
    versions = made.get("versions", {}) if isinstance(made, Mapping) else {}
    return isinstance(versions, Mapping) and all(versions.get(name) == _here(name) for name in _DECIDING)


@cache
def _here(package: str) -> str:
    return version(package)


def _note(found: Findings, place: str, wrong: Iterable[str], then: str) -> None:
    for what in wrong:
        found.add(place, what, then)
