"""Tuning as JSON data, and as columns of the arms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optbench.reports.tuning import Found, Search, Tuning, tolerance


def tuning_data(tuning: Tuning) -> dict[str, Any]:
    """How the suite was tuned: for each study its trials, scores, curve and values. What there is not is null."""
    return {
        "score": tuning.score,
        "split": "validation",
        "direction": tuning.direction,
        "seeds": list(tuning.seeds),
        "seeds_also_reported": list(tuning.shared),
        "equal": tuning.is_equal,
        "trials": {optimizer: list(counts) for optimizer, counts in tuning.trials.items()},
        "studies": [_study(search, tuning.score) for search in tuning.searches],
    }


def tuning_columns(tuning: Tuning, arms: Sequence[str]) -> dict[str, list[Any]]:
    """Columns of the named arms: the number of trials (0 without a study), those without a score, and the scores of the
    suite's own values and of the best."""
    by_arm: Mapping[str, Search] = {arm: search for search in tuning.searches for arm in search.arms}
    found = [by_arm.get(name) for name in arms]
    return {
        "tuning_trials": [0 if search is None else search.trials for search in found],
        "tuning_trials_without_score": [0 if search is None else sum(search.failed.values()) for search in found],
        "tuning_score_before": [None if search is None else search.before for search in found],
        "tuning_score_best": [None if search is None else search.after for search in found],
    }


def _study(search: Search, score: str) -> dict[str, Any]:
    return {
        "optimizer": search.optimizer,
        "tuned_on": search.place or None,
        "arms": list(search.arms),
        "declared_by": search.declared_by,
        "trials": search.trials,
        "without_score": dict(search.failed),
        "suite_values": search.own or None,
        "score_before": search.before,
        "score_best": search.after,
        "tolerance": None if search.after is None else tolerance(search.after, score),
        "near_best": search.near,
        "expected_best": list(search.expected),
        "best_so_far": list(search.so_far),
        "not_as_chosen": list(search.changed),
        "values": {found.path: _value(found) for found in search.found},
    }


def _value(found: Found) -> dict[str, Any]:
    return {
        "space": found.dimension.dump(),
        "before": _plain(found.before),
        "chosen": _plain(found.chosen),
        "edge": found.edge or None,
        "near_best": [_plain(value) for value in found.near],
        "importance": found.importance,
    }


def _plain(value: Any) -> Any:
    """The value as strict JSON: what is infinite or not a number is null."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
