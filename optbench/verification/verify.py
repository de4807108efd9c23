"""All that can be said of records without training: one pass over them, then the tables that are made of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.archive import open_store
from optbench.errors import UserError
from optbench.reports.leaderboard import report_of
from optbench.verification.evidence import Evidence
from optbench.verification.examine import Examiner
from optbench.verification.problem import Findings
from optbench.verification.recount import Recount
from optbench.verification.seeds import compare_seeds
from optbench.verification.tables import differences
from optbench.verification.walk import evidence_at

if TYPE_CHECKING:
    from optbench.suite import Suite

MOST_FIGURES = 20
"""Wrong figures of tables that are named one by one."""


@dataclass
class Verdict:
    """What a verification found.

    `records` were read, `unsealed` of them (with their panels) have no seal, `archived` are lines of an archive, which
    has none. `cells` of the suite and how many have no record; 0 without a suite. `figures` of tables were computed a
    second time; `tables` says why they were not, where they were not.
    """

    findings: Findings = field(default_factory=Findings)
    records: int = 0
    unsealed: int = 0
    archived: int = 0
    cells: int = 0
    missing: int = 0
    figures: int = 0
    tables: str = ""

    @property
    def problems(self) -> int:
        """How many problems there are."""
        return len(self.findings.problems)


@dataclass
class _Read:
    """What is needed of records to make tables of them."""

    records: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    panels: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)
    verdicts: dict[str, Mapping[str, bool]] = field(default_factory=dict)

    def add(self, evidence: Evidence) -> None:
        """Keeps the numbers of a record, of its panels and of its answers."""
        content = evidence.content
        assert content is not None
        self.records[evidence.key] = content
        self.panels[evidence.key] = {
            name: files.content
            for name, files in evidence.panels.items()
            if files.content is not None and isinstance(files.content.get("result"), dict)
        }
        questions = evidence.record.tables.get("questions")
        if questions is not None and {"id", "correct"} <= set(questions.columns):
            pairs = zip(questions["id"].tolist(), questions["correct"].tolist(), strict=True)
            self.verdicts[evidence.key] = {str(name): bool(value) for name, value in pairs}


def verify_records(path: Path, keys: Collection[str] | None = None) -> Verdict:
    """Verifies every record at `path`, or those of `keys`. Raises UserError where nothing is there."""
    return _verified(path, keys)[0]


def verify_suite(suite: Suite, path: Path) -> Verdict:
    """Verifies the records of a suite, and the tables of its report. Raises UserError where nothing is at `path`."""
    keys = {cell.key for cell in suite.cells()}
    verdict, read = _verified(path, keys)
    verdict.cells, verdict.missing = len(keys), len(keys - set(read.records))
    if not read.records:
        verdict.tables = "no records to make any of"
        return verdict
    try:
        report = report_of(suite, open_store(path))
    except UserError as error:
        verdict.tables = f"a report refuses these records: {error}"
        return verdict
    recount = Recount(suite, read.records, read.panels, read.verdicts.get)
    wrong = 0
    for where, what, count in differences(report, recount):
        verdict.figures = count
        if what:
            wrong += 1
            if wrong <= MOST_FIGURES:
                verdict.findings.add(f"report of {suite.path}", f"{where} {what}", "the report is wrong: do not use it")
    if wrong > MOST_FIGURES:
        rest = f"{wrong - MOST_FIGURES} more figures differ from the records"
        verdict.findings.add(f"report of {suite.path}", rest, "the report is wrong: do not use it")
    return verdict


def _verified(path: Path, keys: Collection[str] | None) -> tuple[Verdict, _Read]:
    if not path.exists():
        raise UserError(f"{path}: is not there; verify takes a suite, a folder of records, an archive or a bundle")
    verdict, read, examiner = Verdict(), _Read(), Examiner()
    found = verdict.findings
    whole: list[tuple[str, dict[str, Any]]] = []
    for evidence in evidence_at(path, found, keys):
        verdict.records += 1
        verdict.archived += not evidence.kept
        verdict.unsealed += evidence.kept and not all(
            files.sealed for files in (evidence.record, *evidence.panels.values())
        )
        if examiner.examine(evidence, found):
            assert evidence.content is not None
            whole.append((evidence.where, evidence.content))
            read.add(evidence)
    compare_seeds(whole, found)
    if not verdict.records and not verdict.problems and keys is None:
        raise UserError(f"{path}: no records there; verify takes a suite, a folder of records, an archive or a bundle")
    return verdict, read
