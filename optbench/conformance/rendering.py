"""Findings as a table for a terminal, and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from optbench.conformance.finding import Finding, is_fit
from optbench.reports.escape import plain

MARKS = {(True, True): "passed", (True, False): "passed", (False, True): "FAILED", (False, False): "noted"}
"""By passed and required."""
INDENT = " " * 10
LEAST = 24
"""Characters of a line for the details, however narrow the terminal."""


def content_of(found: Mapping[str, Sequence[Finding]]) -> dict[str, Any]:
    """Everything as JSON data, by optimizer."""
    return {
        name: {"fit": is_fit(findings), "findings": [asdict(finding) for finding in findings]}
        for name, findings in found.items()
    }


def json_text(found: Mapping[str, Sequence[Finding]]) -> str:
    """Strict JSON."""
    return json.dumps(content_of(found), indent=1, allow_nan=False) + "\n"


def table_text(found: Mapping[str, Sequence[Finding]], *, width: int) -> str:
    """For each optimizer its verdict, what is required and what is only worth knowing, with details underneath."""
    return "\n\n".join(_block(name, findings, width) for name, findings in found.items()) + "\n"


def _block(name: str, findings: Sequence[Finding], width: int) -> str:
    lines = [plain(f"{name}: {_verdict(findings)}")]
    # One mistake, such as a wrong name, fails many properties: its text stands once.
    first: dict[str, str] = {}
    for finding in findings:
        if not finding.passed:
            first.setdefault(finding.detail, finding.name)
    for required, title in ((True, "required"), (False, "worth knowing")):
        own = [finding for finding in findings if finding.required is required]
        if own:
            lines += ["", title, *(line for finding in own for line in _rows(finding, width, first))]
    return "\n".join(lines)


def _rows(finding: Finding, width: int, first: Mapping[str, str]) -> list[str]:
    """`first` maps what is wrong to the property that it is told of."""
    of = finding.name if finding.passed else first[finding.detail]
    detail = finding.detail if of == finding.name else f"as for {of!r}"
    head = f"  {MARKS[finding.passed, finding.required]}  {plain(finding.name)}"
    return [
        head,
        *textwrap.wrap(plain(detail), max(width - 10, LEAST), initial_indent=" " * 10, subsequent_indent=" " * 10),
    ]


def _verdict(findings: Sequence[Finding]) -> str:
    required = [finding for finding in findings if finding.required]
    failed = sum(not finding.passed for finding in required)
    noted = sum(not finding.passed for finding in findings if not finding.required)
    verdict = (
        f"fails {failed} of {len(required)} required"
        if failed
        else f"fit to be compared, {len(required)} required passed"
    )
    return f"{verdict}; {noted} worth knowing" if noted else verdict
