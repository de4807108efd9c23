"""Where the first trial of each arm comes from: equal trials are not equal chances where some begin at tuned values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optbench.reports.answer_text import listed

if TYPE_CHECKING:
    from optbench.challenge.entrant import Entrant
    from optbench.suite import Suite


def starts_of(suite: Suite, entrant: Entrant, against: Sequence[str]) -> list[str]:
    """Sentences for the page. `suite` has the challenger and its baselines, with the trials that the suite it was made
    of came with (`tuned:`), if it came with any."""
    counts = _recorded(suite)
    found = [
        "Equal trials are no equal chance: the first trial of an arm is what it starts with, and its search space may "
        "lie around that."
    ]
    if tuned := [f"{name} ({_trials(counts[name])})" for name in (entrant.name, *against) if name in counts]:
        found.append(f"Started with what earlier, recorded trials of the suite chose: {listed(tuned)}.")
    if untold := [name for name in against if name not in counts]:
        found.append(
            "Started with values of the suite or of a preset, of which it is not recorded whether they were tuned: "
            f"{listed(untold)}."
        )
    if entrant.name not in counts:
        rate = f"the rate of {entrant.lr_from}" if entrant.lr_from else "the values that it was given"
        found.append(f"{entrant.name} started with {rate}; trials before this challenge are not known of.")
    return found


def _recorded(suite: Suite) -> dict[str, int]:
    """The trials of a study of each optimizer, by its name: the most where studies differ."""
    studies = [] if suite.tuned is None else suite.tuned.studies
    there = {arm.name for arm in suite.arms}
    found: dict[str, int] = {}
    for study in studies:
        if there & set(study.arms):
            found[study.optimizer] = max(found.get(study.optimizer, 0), len(study.trials))
    return found


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"
