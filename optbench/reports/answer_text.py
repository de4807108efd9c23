"""The answer in sentences, for a reader who has seen nothing else of the project."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optbench.metrics.columns import column
from optbench.reports.figures import figure
from optbench.reports.sentences import minutes_text

if TYPE_CHECKING:
    from optbench.reports.answer import Bill, Ranking, TableAnswer
    from optbench.reports.standings import Row

MOST = 4
"""So many names are listed; of more, the rest is counted."""


@dataclass(frozen=True)
class Hints:
    """What would change the answer: the suite's file, and the command that runs it."""

    path: str
    run: str


def lines_of(answer: TableAnswer, hints: Hints) -> Iterator[str]:
    """The sentences of one task and budget, the answer itself first."""
    first = answer.rankings[0]
    words = _Words(answer)
    if column(answer.score).direction == "neither":
        yield f"{words.place}: ranked by {answer.score}, of which neither more nor less is better, so nothing is best."
        return
    if not any(ranking.means for ranking in answer.rankings):
        yield f"{words.place}: {_nothing(answer)}"
        return
    one_seed = all(count <= 1 for ranking in answer.rankings for count in ranking.seeds.values())
    if first.best is None:
        yield f"{words.place}: no combination has a figure for all models yet, so none is best over all of them."
    elif one_seed:
        yield from _one_run(words, first)
    elif first.is_resolved:
        yield from _resolved(words, first, lacking=len(_lacking(answer, first)))
    else:
        yield from _unresolved(words, first)
    if answer.bill is not None and len(first.means) > 1:
        yield from _costs(words, answer, answer.bill)
    if len(answer.rankings) > 1:
        yield from _models(words, first, answer.rankings[1:], one_seed=one_seed)
    yield from _left_out(words, answer, first)
    yield from _what_next(words, answer, first, hints, one_seed=one_seed)


class _Words:
    """How rows and scores of one table are called."""

    def __init__(self, answer: TableAnswer) -> None:
        rows = {row for ranking in answer.rankings for row in (*ranking.means, *ranking.unknown, *ranking.failed)}
        self._optimizers, self._strategies = ({row[part] for row in rows} for part in (0, 1))
        self._pooled = answer.rankings[0].column if len(answer.rankings) > 1 else ""
        self.with_probe = " (probe included)" if len(self._strategies) > 1 else ""
        self._score, self._questions = answer.score, answer.questions
        self.place = f"{answer.task}, {answer.budget} ({answer.scale})"

    def row(self, row: Row) -> str:
        """A combination, by the names that tell it from the others: `muon + augment`."""
        optimizer, strategy = row
        if len(self._strategies) == 1:
            return optimizer
        return strategy if len(self._optimizers) == 1 else f"{optimizer} + {strategy}"

    def introduced(self, row: Row) -> str:
        """The same with the words that a newcomer needs."""
        optimizer, strategy = row
        if len(self._strategies) == 1:
            return f"the optimizer {optimizer}"
        return f"the optimizer {optimizer} with the data strategy {strategy}"

    def figure(self, ranking: Ranking, row: Row) -> str:
        """`57.3 ±1.2`, in percent where the score is a fraction."""
        mean, width = ranking.means[row]
        return figure(mean, self._score) + (f" ±{figure(width, self._score, digits=2)}" if math.isfinite(width) else "")

    def score(self, ranking: Ranking, row: Row) -> str:
        """The figure with what it is of: `57.3 ±1.2% of 512 test questions right (12 seeds)`."""
        known = column(self._score)
        seeds = f"{ranking.n} seed{'s' if ranking.n != 1 else ''}"
        if row in ranking.alike:
            seeds += ", all with this score"
        value = self.figure(ranking, row)
        over = ", mean over models" if ranking.column == self._pooled else ""
        if self._score == "accuracy":
            asked = f"{self._questions} " if self._questions else ""
            return f"{value}% of {asked}test questions right{over} ({seeds})"
        unit = "%" if known.unit == "fraction" else f" {known.unit}" if known.unit else ""
        return f"{self._score} {value}{unit} ({known.direction} is better{over}; {seeds})"

    def rows(self, ranking: Ranking, rows: Sequence[Row]) -> str:
        """Several combinations with their means."""
        return listed(f"{self.row(row)} ({figure(ranking.means[row][0], self._score)})" for row in rows)


def listed(words: Iterable[str]) -> str:
    """`a, b, c and 5 more`."""
    every = list(words)
    if len(every) <= MOST:
        return ", ".join(every)
    return f"{', '.join(every[: MOST - 1])} and {len(every) - MOST + 1} more"


def _joined(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _nothing(answer: TableAnswer) -> str:
    if any(ranking.failed for ranking in answer.rankings):
        return "every run that has a record diverged, so nothing is best."
    return "no records to answer from yet."


def _one_run(words: _Words, first: Ranking) -> Iterator[str]:
    assert first.best is not None
    others = len(first.tied) + len(first.worse)
    if others == 0:
        yield f"{words.place}: nothing to compare {words.row(first.best)} with yet: {words.score(first, first.best)}."
        return
    if first.all_alike:
        yield _alike(words, first)
        return
    yield (
        f"{words.place}: one run of each combination proves no order. {words.row(first.best)} happened to come first "
        f"of {others + 1}: {words.score(first, first.best)}."
    )


def _lacking(answer: TableAnswer, first: Ranking) -> list[Row]:
    """The combinations that may turn out best once they have the records they lack."""
    return [row for row in first.unknown if row not in answer.out_of_memory]


def _resolved(words: _Words, first: Ranking, *, lacking: int) -> Iterator[str]:
    """`lacking` combinations have no records of every model: while they have not, nothing is recommended."""
    assert first.best is not None
    known = len(first.candidates) + len(first.worse)
    worse = _beaten(first)
    if not first.is_supported:
        yield (
            f"{words.place}: these records do not say what to use. {words.row(first.best)} has the best mean of "
            f"{known}, {words.score(first, first.best)}."
        )
        yield f"{_ties(words, first)}; {_weakly(len(first.worse))}."
    elif lacking:
        missing = "1 combination lacks" if lacking == 1 else f"{lacking} combinations lack"
        yield (
            f"{words.place}: no answer yet, for {missing} records. Of the {known} with all of theirs, "
            f"{words.row(first.best)} is first: {words.score(first, first.best)}."
        )
        yield f"{_ties(words, first)}; {worse}."
    elif first.tied:
        yield f"{words.place}: use {words.introduced(first.best)}: {words.score(first, first.best)}."
        yield f"{_ties(words, first)}; {worse}."
    else:
        yield f"{words.place}: use {words.introduced(first.best)}: {words.score(first, first.best)}; {worse}."


def _beaten(ranking: Ranking) -> str:
    """How many are resolved as worse although the best was chosen from the same data, and how many only nearly are."""
    strictly = len(ranking.worse) - len(ranking.unsure)
    rest = ranking.tied or ranking.unsure or ranking.unknown or ranking.failed
    parts = [_worse(strictly, all_others=not rest)] * bool(strictly) + [_weakly(len(ranking.unsure))] * bool(
        ranking.unsure
    )
    return "; ".join(parts)


def _worse(count: int, *, all_others: bool) -> str:
    if count == 1:
        return "the other combination is resolved as worse" if all_others else "1 combination is resolved as worse"
    if count == 2 and all_others:
        return "both other combinations are resolved as worse"
    return f"{'all ' * all_others}{count} {'other ' * all_others}combinations are resolved as worse"


def _weakly(count: int) -> str:
    """Rows that are no ties and yet not surely worse: the level of ties does not allow for the choice of the best."""
    rows = "1 combination is" if count == 1 else f"{count} combinations are"
    return f"{rows} resolved from it, but not at the level that choosing the best of all asks"


def _ties(words: _Words, ranking: Ranking) -> str:
    if not ranking.tied:
        return "No row is tied with it"
    return f"Not resolved from it, so perhaps as good: {words.rows(ranking, ranking.tied)}"


def _unresolved(words: _Words, first: Ranking) -> Iterator[str]:
    assert first.best is not None
    if not first.tied:
        yield f"{words.place}: nothing to compare {words.row(first.best)} with yet: {words.score(first, first.best)}."
        return
    if first.all_alike:
        yield _alike(words, first)
        return
    others = "the other one is not" if len(first.tied) == 1 else f"none of the other {len(first.tied)} is"
    yield (
        f"{words.place}: these records do not say what to use. {words.row(first.best)} has the best mean, "
        f"{words.score(first, first.best)}, and {others} resolved from it."
    )


def _alike(words: _Words, first: Ranking) -> str:
    assert first.best is not None
    return (
        f"{words.place}: all {len(first.means)} combinations came out alike: {words.score(first, first.best)}. Nothing "
        "tells them apart, and none is first."
    )


def _costs(words: _Words, answer: TableAnswer, bill: Bill) -> Iterator[str]:
    cheapest = answer.cheapest
    aside = ""
    if cheapest is not None and cheapest.row != bill.row:
        aside = f" Cheapest in FLOPs of those supported: {words.row(cheapest.row)} ({cheapest.compute:.2f})."
    if math.isnan(bill.compute) and math.isnan(bill.time):
        return
    if bill.row == bill.against:
        yield f"{words.row(bill.row)} is what costs are compared with.{aside}"
        return
    parts = (
        (bill.compute, f"{bill.compute:.2f} times the FLOPs{words.with_probe}"),
        (bill.time, f"about {bill.time:.2f} times the training time"),
        (bill.peak, f"about {bill.peak:.2f} times the peak memory"),
        (bill.state, f"{bill.state:.2f} times the optimizer state"),
    )
    known = [text for value, text in parts if not math.isnan(value)]
    untimed = "; times were not measured alone" if math.isnan(bill.time) else ""
    yield (f"Against {words.row(bill.against)}, {words.row(bill.row)} costs {_joined(known)}{untimed}.{aside}")


def _models(words: _Words, first: Ranking, models: Sequence[Ranking], *, one_seed: bool) -> Iterator[str]:
    if first.best is None:
        for ranking in models[:MOST]:
            yield f"{ranking.column}: {_alone(words, ranking)}."
        if len(models) > MOST:
            yield f"{len(models) - MOST} more models: see the table."
        return
    if one_seed:
        firsts = [ranking for ranking in models if ranking.best is not None]
        yield f"First by model, in one run each: {listed(_first(words, ranking) for ranking in firsts)}."
        return
    kinds: dict[str, list[str]] = {"alone": [], "within": [], "worse": [], "open": [], "absent": []}
    for ranking in models:
        kinds[_kind(first.best, ranking)].append(_seen(words, first.best, ranking))
    says = {
        "alone": "best, all others resolved as worse, for",
        "within": "best or not resolved from the best for",
        "worse": "resolved as worse for",
        "open": "undecided for",
        "absent": "without a figure for",
    }
    parts = [f"{says[kind]} {listed(names)}" for kind, names in kinds.items() if names]
    yield f"By model, {words.row(first.best)} is {'; '.join(parts)}."


def _kind(best: Row, ranking: Ranking) -> str:
    """How the best row over all models stands at one of them."""
    if best not in ranking.means:
        return "absent"
    if not ranking.is_supported:
        return "open"
    if best in ranking.worse:
        return "open" if best in ranking.unsure else "worse"
    return "within" if ranking.tied or ranking.unsure or ranking.unknown or ranking.failed else "alone"


def _seen(words: _Words, best: Row, ranking: Ranking) -> str:
    """The model, and who is first there if another."""
    if ranking.best is None or ranking.best == best:
        return ranking.column
    return f"{ranking.column} (first: {words.row(ranking.best)}, {words.figure(ranking, ranking.best)})"


def _first(words: _Words, ranking: Ranking) -> str:
    assert ranking.best is not None
    return f"{ranking.column} {words.row(ranking.best)} ({words.figure(ranking, ranking.best)})"


def _alone(words: _Words, ranking: Ranking) -> str:
    """What one model says where nothing is said over all of them."""
    if ranking.best is None:
        return "every run diverged" if ranking.failed else "no records yet"
    value = f"{words.row(ranking.best)} ({words.figure(ranking, ranking.best)})"
    if not ranking.tied and not ranking.worse:
        return f"{value}, with nothing to compare it with"
    if not ranking.is_supported:
        return f"{value} has the best mean, and that it is the best is not resolved"
    ties = f", not resolved from {listed(words.row(row) for row in ranking.tied)}" if ranking.tied else ""
    advice = f"{value} is first of those with records" if ranking.unknown else f"use {value}"
    return f"{advice}{ties}; {_beaten(ranking)}"


def _left_out(words: _Words, answer: TableAnswer, first: Ranking) -> Iterator[str]:
    parts = []
    if first.unknown and first.best is not None:
        full = [row for row in first.unknown if row in answer.out_of_memory]
        rest = _lacking(answer, first)
        parts += [f"Not ranked, records are missing: {listed(map(words.row, rest))}."] * bool(rest)
        parts += [f"Not ranked, out of memory: {listed(map(words.row, full))}."] * bool(full)
    if first.failed:
        parts.append(f"Diverged, and last: {listed(map(words.row, first.failed))}.")
    if answer.partly_diverged:
        rows = (f"{words.row(row)} ({few} of {many} runs)" for row, (few, many) in answer.partly_diverged.items())
        parts.append(f"Diverged in part: {listed(rows)}; each such run counts as the worst there is.")
    if parts:
        yield " ".join(parts)


def _what_next(words: _Words, answer: TableAnswer, first: Ranking, hints: Hints, *, one_seed: bool) -> Iterator[str]:
    """What would settle what is open, and what the choice of the best by its own mean does to its figure."""
    if one_seed:
        minutes = answer.minutes_per_seed
        time = "" if math.isnan(minutes) else f" ({minutes_text(minutes)} for each seed)"
        yield (
            f"To change that, raise seeds in {hints.path} and run: {hints.run}{time}. From "
            "two seeds on, this report says how many more are needed."
        )
        return
    parts = []
    if first.plan is not None and first.best is not None:
        parts.append(_planned(words, answer, first))
    elif first.best in first.alike and first.tied and first.tied[0] in first.alike and not first.all_alike:
        pair = _joined([words.row(row) for row in first.candidates[:2]])
        parts.append(
            f"{pair} each scored the same at every seed, which leaves no spread to judge their difference by; more "
            "seeds may show one."
        )
    if first.tied and not first.all_alike and math.isfinite(first.half_width_chosen):
        width = figure(first.half_width_chosen, answer.score, digits=2)
        parts.append(f"The best of several by its own mean is flattered: ±{width} allows for the choice.")
    if parts:
        yield " ".join(parts)


def _planned(words: _Words, answer: TableAnswer, first: Ranking) -> str:
    assert first.plan is not None and first.best is not None
    plan = first.plan
    size = "a difference of 1 point" if column(answer.score).unit == "fraction" else "a difference of the size seen"
    pair = f"between {words.row(first.best)} and {words.row(plan.second)}"
    if math.isinf(plan.seeds):
        return f"No practical number of seeds would resolve {size} {pair}."
    time = "" if math.isnan(plan.minutes) else f": {minutes_text(plan.minutes)}"
    more = f" ({plan.missing:.0f} more{time})" if plan.missing else ", and they are here"
    return f"About {plan.seeds:.0f} seeds would resolve {size} {pair}{more}."
