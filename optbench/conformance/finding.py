"""What one conformance test found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One property of an optimizer: its `name`, whether it was `passed`, whether it is `required` of whatever is
    compared (else it is worth knowing, and stops nothing), and the `detail` in a sentence, with the numbers seen."""

    name: str
    required: bool
    passed: bool
    detail: str


def is_fit(findings: Iterable[Finding]) -> bool:
    """Whether everything that is required of whatever is compared was passed."""
    return all(finding.passed or not finding.required for finding in findings)
