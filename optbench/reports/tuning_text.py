"""What is said of tuning in sentences: whether all arms had their share, and where more may help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optbench.optim.search import Choice, Dimension
from optbench.reports.answer_text import MOST, listed
from optbench.reports.figures import NOTHING
from optbench.reports.tuning import Found, Search, Tuning
from optbench.tuning.edges import is_number

UNTUNED = "Hyper-parameters: as the suite says; no trials are recorded (optbench tune)."
"""Of a suite without trials."""

DECLARED = {"suite": "the suite", "rule": "the optimizer", "file": "its file", "around": "rate /10 to x10"}
"""Where the space of a study comes from, as tables say it."""


def lines_of(tuning: Tuning) -> Iterator[str]:
    """The sentences of the answer: the number of trials of every optimizer, and what casts doubt on the comparison."""
    counts = _counts(tuning)
    if tuning.is_equal:
        yield f"Tuned alike: {'; '.join(counts)}, by {_judge(tuning)}."
    else:
        told = f"Not tuned alike: {'; '.join(counts)}."
        judge = f" Trials were compared by {_judge(tuning)}." if tuning.searches else ""
        yield f"{told}{judge} A difference between them may be one of tuning."
    if tuning.tried:
        where = "; ".join(f"{axis} {listed(names)}" for axis, names in tuning.tried.items())
        yield f"The trials were run with {where} alone; the other arms have the values that were chosen there."
    hopeless = [_called(search) for search in tuning.searches if search.after is None]
    if hopeless:
        yield f"No trial has a score, so that nothing was chosen: {listed(hopeless)}."
    edges = [
        f"{found.path} of {_called(search)} ({found.edge})" for search in tuning.searches for found in search.at_edge
    ]
    if edges:
        yield f"Best at an edge of the range that was tried, so a wider one may do better: {listed(edges)}."
    changed = [f"{path} of {_called(search)}" for search in tuning.searches for path in search.changed]
    if changed:
        yield f"Not the values that tuning chose, in at least one arm: {listed(changed)}."
    if tuning.shared:
        seeds = listed([str(seed) for seed in tuning.shared])
        yield f"Tuned and reported with the same seed ({seeds}): scores are then better than fresh seeds would give."


def value_text(value: Any) -> str:
    """A value of a hyper-parameter: numbers with three digits, near 1 with four; a list in brackets."""
    if value is None:
        return NOTHING
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not is_number(value):
        return str(value)
    return f"{value:.4g}" if 0.9 < abs(value) < 1 else f"{value:.3g}"


def chosen_text(found: Found) -> str:
    """The chosen value, and at which edge of its range it is."""
    return value_text(found.chosen) + (f", {found.edge} edge" if found.edge else "")


def space_text(dimension: Dimension) -> str:
    """The values that were allowed: `0.001 to 0.1, log`, or the choices."""
    if isinstance(dimension, Choice):
        texts = [value_text(value) for value in dimension.values]
        return ", ".join(texts) if len(texts) <= MOST else f"{len(texts)} values"
    return f"{value_text(dimension.low)} to {value_text(dimension.high)}{', log' if dimension.log else ''}"


def near_text(found: Found) -> str:
    """The values of the near-best trials: from the smallest to the largest, or all of them."""
    if not found.near:
        return NOTHING
    if len(found.near) > 1 and not isinstance(found.dimension, Choice) and all(map(is_number, found.near)):
        return f"{value_text(found.near[0])} to {value_text(found.near[-1])}"
    texts = [value_text(value) for value in found.near]
    return ", ".join(texts) if len(texts) <= MOST else f"{len(texts)} values"


def failures_text(failed: Mapping[str, int]) -> str:
    """How many trials had no score, and why: `2 diverged, 1 out of memory`."""
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in failed.items()) or "0"


def _called(search: Search) -> str:
    return f"{search.optimizer} on {search.place}" if search.place else search.optimizer


def _judge(tuning: Tuning) -> str:
    seeds = f"seed {tuning.seeds[0]}" if len(tuning.seeds) == 1 else f"{len(tuning.seeds)} seeds"
    return f"{tuning.score} on the validation split with {seeds}{'' if tuning.shared else ' of its own'}"


def _counts(tuning: Tuning) -> list[str]:
    """For every number of trials the optimizers that had it, the fewest last: `adamw and muon: 12 trials each`."""
    by_count: dict[tuple[int, ...], list[str]] = {}
    for optimizer, counts in tuning.trials.items():
        by_count.setdefault(tuple(sorted(set(counts), reverse=True)), []).append(optimizer)
    return [
        f"{_names(names)}: {_trials(counts, len(names))}" for counts, names in sorted(by_count.items(), reverse=True)
    ]


def _names(names: Sequence[str]) -> str:
    # All of them, however many: what is left out of this list would be taken to be tuned.
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _trials(counts: Sequence[int], optimizers: int) -> str:
    each = " each" if optimizers > 1 else ""
    if counts[0] == 0:
        values = "their values are" if optimizers > 1 else "its values are"
        return f"no trials recorded: {values} the suite's own"
    known = [count for count in counts if count]
    most = f"{known[-1]} to {known[0]} trials" if len(known) > 1 else f"{known[0]} trial{'s' if known[0] != 1 else ''}"
    return most + each + (", none recorded for some of the arms" if len(known) < len(counts) else "")
