"""Everything that the page of a challenge says, worked out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optbench.conformance.finding import Finding
    from optbench.profiling.rows import Profile
    from optbench.reports.leaderboard import Report
    from optbench.reports.verdicts import Judged
    from optbench.store import Store
    from optbench.suite import Suite
    from optbench.tuning.record import Tuned


@dataclass(frozen=True)
class Content:
    """A finished challenge.

    `name` is the challenger's display name, `source` the text of its code (empty where it is no file), `against` are
    the names of the baselines. `suite` is the suite that was run, tuned and with its added seeds, `report` what its
    records in `store` say, `contrasts` the challenger minus each baseline. `profiles` are the measured costs, one for
    each model that was profiled. `budget_seconds` is what was allowed, `spent` the seconds of each stage in its
    order. `plan` says in sentences what the budget was expected to resolve, `limits` what was not resolved or not
    done, and why. `command` repeats it; `files` are further files to name on the page, by what they are. `margins` are
    all that were ever stated, the last one being `margin`. `starts` says in words where the first trial of each arm
    came from.
    """

    name: str
    source: str
    against: Sequence[str]
    suite: Suite
    store: Store
    report: Report
    tuned: Tuned
    contrasts: Sequence[Judged]
    findings: Sequence[Finding]
    profiles: Sequence[Profile]
    margin: float
    budget_seconds: float
    spent: Mapping[str, float]
    plan: Sequence[str]
    limits: Sequence[str]
    command: str
    files: Mapping[str, Path]
    margins: Sequence[float]
    starts: Sequence[str]
