"""How a challenge ended, as it is printed and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from optbench.conformance.finding import Finding
    from optbench.reports.verdicts import Judged

Ended = Literal["done", "not conforming", "failed", "interrupted"]
CODES: Mapping[Ended, int] = {"done": 0, "not conforming": 1, "failed": 1, "interrupted": 130}


@dataclass(frozen=True)
class Finished:
    """How it ended. `files` are what was written, by what they are; `table` is the report for a terminal; `failed` says
    why cells have no record."""

    ended: Ended
    findings: Sequence[Finding] = ()
    contrasts: Sequence[Judged] = ()
    plan: Sequence[str] = ()
    limits: Sequence[str] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    spent: Mapping[str, float] = field(default_factory=dict)
    table: str = ""
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def code(self) -> int:
        """The exit code."""
        return CODES[self.ended]


def content_of(finished: Finished) -> dict[str, Any]:
    """It as JSON data; an end of an interval that is not known is null."""
    return {
        "contrasts": [
            {
                "name": each.name,
                "estimate": _finite(each.estimate),
                "interval": [_finite(each.low), _finite(each.high)],
                "n": each.n,
                "verdict": each.verdict,
                "metric": each.metric,
                "margin": each.margin,
            }
            for each in finished.contrasts
        ],
        "page": _path(finished, "page"),
        "bundle": _path(finished, "bundle"),
        "latex": _path(finished, "LaTeX row"),
        "suite": _path(finished, "suite"),
        "tuned": _path(finished, "tuned values"),
        "ended": finished.ended,
        "findings": [
            {"name": each.name, "required": each.required, "passed": each.passed, "detail": each.detail}
            for each in finished.findings
        ],
        "plan": list(finished.plan),
        "limits": list(finished.limits),
        "spent": dict(finished.spent),
        "failed": dict(finished.failed),
    }


def text_of(finished: Finished) -> str:
    """It for a terminal."""
    lines: list[str] = []
    wrong = [each for each in finished.findings if not each.passed]
    if finished.ended == "not conforming":
        lines.append("Not compared: the optimizer does not do what every optimizer must.")
    if wrong:
        lines += [f"  {'required' if each.required else 'note'}: {each.name}: {each.detail}" for each in wrong]
        lines.append("")
    if finished.failed:
        lines.append(f"{len(finished.failed)} cells failed; the same command again tries them once more:")
        lines += [f"  {name}: {why}" for name, why in finished.failed.items()]
    if finished.contrasts:
        lines += [each.sentence for each in finished.contrasts]
        lines += ["", finished.table.rstrip("\n"), ""]
    lines += [f"  {each}" for each in finished.limits]
    lines += ["", *(f"{what}: {path}" for what, path in finished.files.items())] if finished.files else []
    return "\n".join(lines).strip("\n")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _path(finished: Finished, what: str) -> str | None:
    return finished.files[what].as_posix() if what in finished.files else None
