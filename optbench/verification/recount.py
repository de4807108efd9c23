"""The tables of a report, computed a second time: slowly, in plain Python, from the records alone.

Shares with reports what columns mean (`metrics.columns`) and nothing of what is done with them: neither frames nor
matrices nor the functions of statistics. The rules are those that docs/statistics.md states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from optbench.metrics.columns import column, worst
from optbench.panels.base import panel_key
from optbench.verification import looks
from optbench.verification.numbers import deviation, mean

if TYPE_CHECKING:
    from optbench.suite import Contrast, Suite

TOGETHER = (("accuracy", "format_error"), ("test_nll",), ("bits_per_byte",), ("test_loss",))
NAN = math.nan
Values = dict[tuple[int, int], float]
"""Numbers by place of the arm and seed; NaN for none."""


@dataclass(frozen=True)
class Spread:
    """Over seeds: mean, half-width of the 95% interval (infinite where it is not known: of too few, and of numbers that
    are all equal, unless they are so by rule), and their number."""

    mean: float
    half_width: float
    n: int

    @classmethod
    def over(cls, values: Sequence[float], *, looks_allowed: bool, by_rule: bool = False, size: float = 0.0) -> Spread:
        """Of the numbers among the values; by Student's t, or by what allows for seeds that were added look by look.
        `size` is that of what was subtracted to get them, where it is more than they are: rounding is relative to it.
        """
        numbers = [value for value in values if not math.isnan(value)]
        if any(math.isinf(value) for value in numbers):
            signs = set(filter(math.isinf, numbers))
            return cls(NAN if len(signs) > 1 else signs.pop(), math.inf, len(numbers))
        sd = deviation(numbers)
        width = math.inf
        if sd <= looks.ROUNDING * max(abs(mean(numbers)), size):
            width = 0.0 if by_rule else math.inf
        elif not math.isnan(sd):
            quantile = looks.critical(len(numbers), 0.05) if looks_allowed else t_quantile(len(numbers) - 1)
            width = quantile * sd / math.sqrt(len(numbers))
        return cls(mean(numbers), width, len(numbers))


@cache
def t_quantile(degrees: int) -> float:
    """The 97.5% point of Student's t."""
    from scipy.stats import t

    return float(t.ppf(0.975, degrees))


def t_two_sided(value: float, degrees: int) -> float:
    """The two-sided p of a t value."""
    from scipy.stats import t

    return float(2 * t.sf(abs(value), degrees))


@dataclass
class Recount:
    """The cells of a suite as numbers. `records` are records as JSON data by key, `panels` findings by key and panel;
    `verdicts` gives the answers of a key by question, or None where there are none."""

    suite: Suite
    records: Mapping[str, Mapping[str, Any]]
    panels: Mapping[str, Mapping[str, Mapping[str, Any]]]
    verdicts: Callable[[str], Mapping[str, bool] | None]
    outcome: dict[tuple[int, int], str] = field(default_factory=dict)
    key: dict[tuple[int, int], str] = field(default_factory=dict)
    contended: dict[tuple[int, int], bool] = field(default_factory=dict)
    values: dict[str, Values] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = {arm.name: place for place, arm in enumerate(self.suite.arms)}
        for cell in self.suite.cells():
            at = (places[cell.arm.name], cell.seed)
            self.key[at] = cell.key
            record = self.records.get(cell.key)
            self.outcome[at] = "missing" if record is None else str(record["outcome"])
            self.contended[at] = record is not None and bool(record["measured"].get("contended", False))
            if record is not None:
                looked = self.panels.get(cell.key, {})
                found = [looked[key] for key in map(panel_key, cell.panels) if key in looked]
                for name, value in _numbers(record, found):
                    self.values.setdefault(name, {})[at] = value
        self._score()

    @property
    def seeds(self) -> list[int]:
        """All seeds of the suite."""
        return sorted(set(seed for _, seed in self.outcome))

    def number(self, name: str, arm: int, seed: int) -> float:
        """A number as it enters means; NaN where there is none."""
        return self.values.get(name, {}).get((arm, seed), NAN)

    def over_seeds(self, name: str, arm: int) -> Spread:
        """Mean, half-width and number of seeds of a metric at an arm."""
        return self.spread(name, [self.number(name, arm, seed) for seed in self.seeds])

    def spread(self, name: str, values: Sequence[float], *, size: float = 0.0) -> Spread:
        """Of one number of that name per seed, by the interval that the suite allows."""
        known = column(name)
        looked = self.suite.added is not None
        return Spread.over(values, looks_allowed=looked, by_rule=known.counted or known.exact, size=size)

    def _score(self) -> None:
        """A diverged cell counts as the worst of a column that its task has; times taken beside other cells do not
        count in an arm that has some taken alone."""
        diverged = [at for at, outcome in self.outcome.items() if outcome == "diverged"]
        arms_alone = {arm for (arm, seed), busy in self.contended.items() if self._is_there(arm, seed) and not busy}
        applies = {name: self._tasks_with(name) for name in (*self.values, "accuracy", "test_nll", "test_loss")}
        for name in set(self.values) | {name for name in applies if not math.isnan(worst(name))}:
            own = self.values.setdefault(name, {})
            if not math.isnan(worst(name)):
                for at in diverged:
                    if applies.get(name, self._tasks_with(name))(self.suite.arms[at[0]].task):
                        own[at] = worst(name)
            if column(name).measured:
                for at in [at for at in own if self.contended[at] and at[0] in arms_alone]:
                    own[at] = NAN

    def _is_there(self, arm: int, seed: int) -> bool:
        return self.outcome[arm, seed] != "missing"

    def _tasks_with(self, name: str) -> Callable[[str], bool]:
        base = name.partition("/")[0]
        group = next((group for group in TOGETHER if base in group), (name,))
        completed = [at for at, outcome in self.outcome.items() if outcome == "completed"]
        known: dict[str, bool] = {}
        for at in completed:
            task = self.suite.arms[at[0]].task
            has = any(not math.isnan(self.values.get(member, {}).get(at, NAN)) for member in group)
            known[task] = known.get(task, False) or has
        return lambda task: known.get(task, True)


def contrast_of(recount: Recount, contrast: Contrast) -> dict[str, float]:
    """Estimate, half-width, p, seeds and pairs of a declared contrast, with its error over questions."""
    suite, metric = recount.suite, contrast.metric
    axes = [arm.axes() for arm in suite.arms]
    pairs = []
    for place, names in enumerate(axes):
        if all(names[axis] == word for axis, word in contrast.of.items()):
            wanted = {**names, **contrast.minus}
            pairs += [(place, other) for other, theirs in enumerate(axes) if theirs == wanted and other != place]
    cells = recount.outcome
    # Seeds that were added for some pairs alone are no seeds of the contrast.
    all_of = [all((a, seed) in cells and (b, seed) in cells for a, b in pairs) for seed in recount.seeds]
    declared = [seed for seed, whole in zip(recount.seeds, all_of, strict=True) if pairs and whole]
    there = {
        (pair, seed): not math.isnan(recount.number(metric, pair[0], seed))
        and not math.isnan(recount.number(metric, pair[1], seed))
        for pair in pairs
        for seed in declared
    }
    kept, seeds = _nothing_missing(pairs, declared, there)
    differences = []
    for seed in seeds if kept else []:
        own = [recount.number(metric, a, seed) - recount.number(metric, b, seed) for a, b in kept]
        differences.append(NAN if any(not math.isfinite(value) for value in own) else mean(own))
    finite = bool(differences) and all(math.isfinite(value) for value in differences)
    n, estimate = len(differences), mean(differences) if finite else NAN
    sd = deviation(differences) if finite else NAN
    counted = column(metric).counted
    # Numbers that are equal up to the rounding of their sums have no spread.
    if n > 1 and finite and len(set(differences)) == 1:
        sd = 0.0 if counted else NAN
    if not counted and sd <= looks.ROUNDING * _largest(recount, metric, kept, seeds):
        sd = NAN
    error = _question_error(recount, kept, seeds) if metric == "accuracy" and kept else NAN
    width = wider = math.inf
    if not math.isnan(sd):
        # Seeds that were added look by look have another interval, at a level that they all hold at together.
        level = 0.05 / suite.family
        quantile = t_quantile(n - 1) if suite.added is None else looks.critical(n, level)
        width = quantile * sd / math.sqrt(n) if sd > 0 else 0.0
        wider = quantile * math.sqrt(sd**2 / n + error**2) if error > 0 else math.inf
    p_of = _p if suite.added is None else looks.p_value
    return {
        "estimate": estimate,
        "half_width": width,
        "low": estimate - width,
        "high": estimate + width,
        "sd": sd,
        "p": p_of(estimate, sd, n, counted=counted),
        "n": float(n),
        "pairs": float(len(kept)),
        "pairs_declared": float(len(pairs)),
        "seeds_declared": float(len(declared)),
        "question_se": error,
        "low_all": estimate - wider,
        "high_all": estimate + wider,
    }


def holm_of(p_values: Sequence[float], family: int) -> list[float]:
    """Holm's step-down adjustment; what is not known or not shown counts among the `family` declared."""
    adjusted = [NAN] * len(p_values)
    highest = 0.0
    known = sorted((place for place, p in enumerate(p_values) if not math.isnan(p)), key=lambda place: p_values[place])
    for rank, place in enumerate(known):
        highest = max(highest, (family - rank) * p_values[place])
        adjusted[place] = min(highest, 1.0)
    return adjusted


def _numbers(record: Mapping[str, Any], panels: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    blocks = [dict(record["result"]), dict(record["measured"]), *(dict(found["result"]) for found in panels)]
    if "total_seconds" in blocks[1]:
        blocks[1]["total_seconds"] += math.fsum(found.get("measured", {}).get("seconds", 0.0) for found in panels)
    for block in blocks:
        for name, value in block.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield name, float(value)


def _nothing_missing(
    pairs: list[tuple[int, int]], seeds: list[int], there: Mapping[tuple[tuple[int, int], int], bool]
) -> tuple[list[tuple[int, int]], list[int]]:
    """Drops the pair or seed with the largest missing share, a seed where both are alike, until nothing is missing."""
    pairs, seeds = list(pairs), list(seeds)
    while pairs and seeds and not all(there[pair, seed] for pair in pairs for seed in seeds):
        by_pair = [sum(not there[pair, seed] for seed in seeds) / len(seeds) for pair in pairs]
        by_seed = [sum(not there[pair, seed] for pair in pairs) / len(pairs) for seed in seeds]
        if max(by_seed) >= max(by_pair):
            del seeds[by_seed.index(max(by_seed))]
        else:
            del pairs[by_pair.index(max(by_pair))]
    return (pairs, seeds) if pairs and seeds else ([], [])


def _largest(recount: Recount, metric: str, pairs: Sequence[tuple[int, int]], seeds: Sequence[int]) -> float:
    arms = {arm for pair in pairs for arm in pair}
    return max((abs(recount.number(metric, arm, seed)) for arm in arms for seed in seeds), default=0.0)


def _p(estimate: float, sd: float, n: int, *, counted: bool) -> float:
    if n < 2 or math.isnan(estimate) or math.isnan(sd):
        return NAN
    if sd == 0:
        return (1.0 if estimate == 0 else 0.0) if counted else NAN
    return t_two_sided(estimate / (sd / math.sqrt(n)), n - 1)


def _question_error(recount: Recount, pairs: Sequence[tuple[int, int]], seeds: Sequence[int]) -> float:
    """The standard error of the mean difference over questions, the trained models held fixed; tasks are strata."""
    totals: dict[str, dict[str, float]] = {}
    for a, b in pairs:
        task = recount.suite.arms[a].task
        for seed in seeds:
            left, right = (recount.verdicts(recount.key[arm, seed]) for arm in (a, b))
            failed = [recount.outcome[arm, seed] == "diverged" for arm in (a, b)]
            if (left is None and not failed[0]) or (right is None and not failed[1]):
                return NAN
            own = totals.setdefault(task, {})
            asked = left if left is not None else right
            for question in asked or {}:
                one = float(left[question]) if left is not None else 0.0
                other = float(right[question]) if right is not None else 0.0
                own[question] = own.get(question, 0.0) + one - other
    spread = [deviation(list(own.values())) ** 2 / len(own) for own in totals.values() if len(own) > 1]
    return math.sqrt(math.fsum(spread)) / (len(pairs) * len(seeds))
