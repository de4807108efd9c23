"""A suite beside a board: by name, by sign of the gain over the same reference, and by rank."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from optbench.boards.board import Board
from optbench.boards.names import normalised
from optbench.boards.ours import Ours, OurSide, ours_of
from optbench.boards.scale import Scale, our_scale
from optbench.boards.theirs import Theirs, TheirSide, theirs_of, within
from optbench.errors import UserError, suggestion

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Suite

FEWEST = 5
"""Below so many shared names a rank correlation says nothing: of four in random order, one in 24 agrees entirely."""

REFERENCE = "adamw"
"""What gains are over unless said otherwise."""
Verdict = Literal["reference", "agree", "disagree", "undetermined"]


@dataclass(frozen=True)
class Line:
    """One name that both sides have. `why` says what leaves a sign undetermined, empty otherwise."""

    name: str
    ours: OurSide
    theirs: TheirSide
    verdict: Verdict
    why: str


@dataclass(frozen=True)
class RankAgreement:
    """Kendall's tau (variant b) of the two orders over `names`, the better first in both.

    `tau` is NaN where all are equal on one side; `p` is its two-sided p against independent orders. `concordant`,
    `discordant` and `tied` count pairs, tied on either side. `blurred` counts the pairs that are apart on their side
    by no more than the error of reading.
    """

    names: tuple[str, ...]
    tau: float
    p: float
    concordant: int
    discordant: int
    tied: int
    blurred: int


@dataclass(frozen=True)
class Comparison:
    """A suite beside one setting of a board. `rank` is None below five shared names."""

    suite: str
    ours: Ours
    theirs: Theirs
    lines: Sequence[Line]
    rank: RankAgreement | None
    rank_names: Sequence[str]
    only_ours: Sequence[str]
    only_theirs: Sequence[str]
    scale: Scale
    other_columns: Sequence[str]

    @property
    def reference(self) -> str:
        """The normalised name of the optimizer that gains are over."""
        return self.ours.reference


def compare(
    suite: Suite,
    store: Store,
    board: Board,
    *,
    metric: str = "",
    column: str = "",
    strategy: str = "",
    model: str = "",
    reference: str = REFERENCE,
    pairs: Mapping[str, str] | None = None,
) -> Comparison:
    """Compares. Empty texts: what the suite is ranked by, the setting of the board, of those in its own metric,
    that shares most names with the suite, uniform data, all models. `pairs` equates optimizers of the suite with
    methods of the board by hand.

    Raises UserError as `ours_of` and `theirs_of` do, and for pairs of unknown names.
    """
    reference = normalised(reference)
    ours = ours_of(suite, store, metric=metric, strategy=strategy, model=model, reference=reference)
    named = _named(ours, board, pairs or {})
    if not column:
        column = max(_of_its_own_metric(board), key=lambda name: _shared(named, board, name), default="")
    if not column:
        raise UserError(f"{board.path}: no setting is for comparing: each has the direction `neither`")
    theirs = theirs_of(board, column, named.get(reference, reference))
    _check_alike(board, column, metric, ours.metric)
    # The one that nobody asked for may be missing on both sides: the sentences then name another that both have.
    if reference not in (REFERENCE, *ours.sides, *theirs.sides):
        raise UserError(
            f"--reference {reference}: neither the suite nor the board has it; {suggestion(reference, named)}"
        )
    lines = [
        _line(name, ours.sides[name], theirs.sides[partner], reference)
        for name, partner in named.items()
        if partner in theirs.sides
    ]
    if any(line.verdict == "reference" for line in lines):
        lines.sort(key=lambda line: line.verdict != "reference")
    ranked = _ranked(lines, theirs)
    met = {line.name for line in lines}
    partners = {line.theirs.row.name for line in lines}
    return Comparison(
        suite=suite.name,
        ours=ours,
        theirs=theirs,
        lines=lines,
        rank=_rank(ranked, ours, theirs) if len(ranked) >= FEWEST else None,
        rank_names=[line.name for line in ranked],
        only_ours=[side.optimizer for name, side in ours.sides.items() if name not in met],
        only_theirs=[side.row.method for name, side in theirs.sides.items() if name not in partners],
        scale=our_scale(suite, ours),
        other_columns=[name for name in board.comparable() if name != column],
    )


def _named(ours: Ours, board: Board, pairs: Mapping[str, str]) -> dict[str, str]:
    """For each normalised name of ours the name of theirs that it is compared with."""
    named = {name: name for name in ours.sides}
    methods = {row.method: row.name for row in board.rows}
    known = {**methods, **{row.name: row.name for row in board.rows}}
    optimizers = {side.optimizer: name for name, side in ours.sides.items()}
    for own, other in pairs.items():
        if own not in optimizers:
            raise UserError(
                f"--pair {own}={other}: no optimizer of the suite is {own!r}; {suggestion(own, optimizers)}"
            )
        if other not in known:
            raise UserError(f"--pair {own}={other}: no method of the board is {other!r}; {suggestion(other, methods)}")
        named[optimizers[own]] = known[other]
    taken: dict[str, str] = {}
    for name in sorted(named, key=lambda name: ours.sides[name].optimizer not in pairs):
        if named[name] in taken and ours.sides[name].optimizer not in pairs:
            named[name] = ""
        elif named[name] in taken:
            raise UserError(f"--pair: {named[name]} of the board is paired twice")
        else:
            taken[named[name]] = name
    return named


def _check_alike(board: Board, column: str, asked: str, ours: str) -> None:
    """Raises UserError where a column of another metric, such as a time, would meet the score of the suite unasked."""
    theirs = board.settings[column].metric
    if theirs != board.fields.metric and not asked:
        raise UserError(
            f"--column {column}: is {theirs}, and the suite's score is {ours}: say with --metric which column of "
            "the suite it is like (step_seconds, train_seconds, peak_bytes, ...)"
        )


def _of_its_own_metric(board: Board) -> list[str]:
    """The settings that state no metric of their own: what the board is about, and not the costs beside it."""
    return [name for name in board.comparable() if board.settings[name].metric == board.fields.metric]


def _shared(named: Mapping[str, str], board: Board, column: str) -> tuple[int, int]:
    """How many shared names have a figure in the column, and how many rows have one at all."""
    rows = [row for row in board.rows if column in row.figures]
    return sum(row.name in named.values() for row in rows), len(rows)


def _line(name: str, ours: OurSide, theirs: TheirSide, reference: str) -> Line:
    if name == reference:
        return Line(name, ours, theirs, "reference", "")
    if ours.gain is None or math.isnan(ours.gain.absolute):
        return Line(name, ours, theirs, "undetermined", _why_not_here(ours))
    if theirs.gain is None or math.isnan(theirs.gain.known):
        return Line(name, ours, theirs, "undetermined", "no gain there")
    if theirs.gain.sign == 0:
        why = "a bound there that leaves the sign open" if theirs.gain.side else "equal there"
        return Line(name, ours, theirs, "undetermined", why)
    if ours.gain.absolute == 0:
        return Line(name, ours, theirs, "undetermined", "equal here")
    same = (ours.gain.absolute > 0) == (theirs.gain.sign > 0)
    return Line(name, ours, theirs, "agree" if same else "disagree", "")


def _why_not_here(ours: OurSide) -> str:
    if ours.gain is None:
        return "no gain here"
    return "no seed is complete here" if ours.gain.n == 0 else "both diverged here"


def _ranked(lines: Sequence[Line], theirs: Theirs) -> list[Line]:
    """The lines that have a place in both orders: bounds have none, nor has what is missing."""
    return [
        line
        for line in lines
        if not math.isnan(line.ours.mean)
        and line.theirs.figure.bound in ("exactly", "about")
        and theirs.setting.form != "gain"
    ]


def _rank(lines: Sequence[Line], ours: Ours, theirs: Theirs) -> RankAgreement:
    from scipy.stats import kendalltau, rankdata

    here = np.array([line.ours.mean for line in lines]) * (1 if ours.higher else -1)
    there = np.array([_level(line, theirs) for line in lines])
    found = kendalltau(rankdata(here), rankdata(there), variant="b")
    concordant = discordant = tied = blurred = 0
    for a, b in itertools.combinations(range(len(lines)), 2):
        product = _sign(here[a], here[b]) * _sign(there[a], there[b])
        concordant += product > 0
        discordant += product < 0
        tied += product == 0
        reading = sum(lines[place].theirs.figure.uncertainty or 0.0 for place in (a, b))
        blurred += reading > 0 and within(there[a] - there[b], reading)
    return RankAgreement(
        tuple(line.name for line in lines),
        float(found.statistic),
        float(found.pvalue),
        concordant,
        discordant,
        tied,
        blurred,
    )


def _level(line: Line, theirs: Theirs) -> float:
    """The value on their side, more of it better; whoever diverged or did not arrive is last."""
    figure = line.theirs.figure
    if figure.state != "measured":
        return -math.inf
    return figure.value if theirs.higher else -figure.value


def _sign(a: float, b: float) -> int:
    return int(a > b) - int(a < b)
