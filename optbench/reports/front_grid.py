"""The Pareto fronts beside the costs, as columns of texts."""

from __future__ import annotations

from optbench.reports.grid import Entry
from optbench.reports.pareto import ALLOWANCE, AXES, Front
from optbench.reports.prices import MEASURED
from optbench.reports.standings import Standings

RESOLVED, ON, OFF, BEATEN, NO_PLACE = "●", "○", "·", "", "-"
"""How a place is shown: on the front, resolved; not resolved, on it or off it by the means; beaten; no place at all."""
_CALLED = {"time": "time", "compute": "FLOPs", "peak_bytes": "memory", "state_bytes": "state"}
_MEANT = {
    "time": "training time",
    "compute": "FLOPs of training and probe",
    "peak_bytes": "peak memory",
    "state_bytes": "optimizer state",
}
_READ = {
    RESOLVED: "● on the front: every row that costs no more is resolved as worse.",
    ON: "○ on it by the means, not resolved.",
    OFF: "· off it by the means, not resolved.",
    BEATEN: "Empty: a row that costs no more is resolved as better.",
    NO_PLACE: "- no place: no figure, or a cell diverged or ran out of memory.",
}


def front_columns_of(table: Standings) -> dict[str, list[Entry]]:
    """The fronts of the first column of the standings, by their headers, in the order of the rows.

    None where fewer than two rows have a place: nothing is compared.
    """
    first = str(table.mean.columns[0])
    return {
        f"Pareto {_CALLED[front.price[first]]}": [Entry(symbol) for symbol in symbols_of(front, first)]
        for front in _shown(table)
    }


def symbols_of(front: Front, column: str) -> list[str]:
    """The place of every row in a column of the standings, as a symbol."""
    known = {"resolved": RESOLVED, "beaten": BEATEN, "": NO_PLACE}
    pairs = zip(front.mark[column], front.by_means[column], strict=True)
    return [(ON if by_means else OFF) if mark == "open" else known[mark] for mark, by_means in pairs]


def front_notes_of(table: Standings) -> list[str]:
    """What the fronts are of, and how to read the symbols that occur."""
    fronts, first = _shown(table), str(table.mean.columns[0])
    if not fronts:
        return []
    prices = [front.price[first] for front in fronts]
    over = "over all models" if len(table.mean.columns) > 1 else f"of {first}"
    against = " and against ".join(_MEANT[price] for price in prices)
    note = f"Pareto: {table.score} {over} against {against}."
    absent = [_MEANT[wanted] for wanted, _ in AXES.values() if wanted not in prices]
    if absent:
        note += f" Not used, for it was not measured alone for all rows, or is a whole process's: {', '.join(absent)}."
    if "time" in prices:
        note += " Time leaves out the strategy's probe."
    if any(price in MEASURED for price in prices):
        note += f" Less than {100 * ALLOWANCE:.0f}% apart is the same price."
    seen = {symbol for front in fronts for symbol in symbols_of(front, first)}
    return [note, " ".join(text for symbol, text in _READ.items() if symbol in seen)]


def _shown(table: Standings) -> list[Front]:
    first = str(table.mean.columns[0])
    return [front for front in table.fronts.values() if (front.mark[first] != "").sum() > 1]
