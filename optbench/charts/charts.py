"""All charts of a report: which there are, drawing those that its records allow, and saying what each shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optbench.charts import cost, curves, heat_map, learning_times, scatter, sharpness, tunability
from optbench.charts.curve_data import Curves, curves_of
from optbench.charts.files import save as save
from optbench.charts.left_out import LeftOut
from optbench.charts.style import capital, drawing, label, seeds_in_words, spoken
from optbench.errors import UserError, suggestion
from optbench.metrics.columns import column
from optbench.reports.grid import place_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from optbench.reports.leaderboard import Report
    from optbench.reports.standings import Standings
    from optbench.store import Store


@dataclass(frozen=True)
class Source:
    """What a chart of one table is drawn from; the curves are read once for the two charts that show them."""

    report: Report
    table: Standings
    store: Store
    read: dict[str, Curves | LeftOut]

    def curves(self) -> Curves:
        """The learning curves. Raises LeftOut where there are none."""
        if "curves" not in self.read:
            try:
                self.read["curves"] = curves_of(self.report, self.table, self.store)
            except LeftOut as reason:
                self.read["curves"] = reason
        found = self.read["curves"]
        if isinstance(found, LeftOut):
            raise found
        return found


@dataclass(frozen=True)
class Chart:
    """A chart: `draw` makes the figure of one table, or raises LeftOut; `caption` says what it shows and how to read
    it, with the score for {score}. `of_results`: it shows results of the suite, whose seeds the caption then tells."""

    draw: Callable[[Source], Figure]
    caption: str
    of_results: bool = True


def _cost(source: Source) -> Figure:
    return scatter.draw(cost.data_of(source.report, source.table))


def _heat_map(source: Source) -> Figure:
    return heat_map.draw(heat_map.data_of(source.report, source.table), source.table)


def _curves(source: Source) -> Figure:
    return curves.draw(source.curves(), source.table, "step")


def _curves_by_passes(source: Source) -> Figure:
    data = source.curves()
    if not data.passes_differ:
        raise LeftOut("all optimizers take the same passes for a step, so this is the chart against steps")
    return curves.draw(data, source.table, "passes")


def _sharpness(source: Source) -> Figure:
    return scatter.draw(sharpness.data_of(source.report, source.table))


def _learning_times(source: Source) -> Figure:
    return learning_times.draw(learning_times.data_of(source.report, source.table, source.store), source.table)


def _tunability(source: Source) -> Figure:
    return tunability.draw(tunability.data_of(source.report, source.table))


CHARTS: dict[str, Chart] = {
    "heat_map": Chart(
        _heat_map,
        "{score} of every optimizer (rows) with every model (columns), one map per strategy. Darker is better. A star "
        "marks a tie with the best of its column over all strategies.",
    ),
    "cost": Chart(
        _cost,
        "{score} against what it cost: FLOPs of training with the strategy's probe in full, and the time of training "
        "where it was measured alone, both as multiples of the anchor's. Better is up or down as the axis says, "
        "cheaper is left; the dashed line is the Pareto front of the means. Color and shape: optimizer; filling: "
        "strategy.",
    ),
    "learning_curves": Chart(
        _curves,
        "Training loss of the batch before each update, against steps; one chart per model and strategy. Strategies "
        "train on other examples, so compare lines of one chart. Lower is better; a training loss says nothing of "
        "test questions.",
    ),
    "learning_curves_by_passes": Chart(
        _curves_by_passes,
        "The same losses against forward + backward passes of a batch (a forward alone counts 1/3): optimizers that "
        "look twice at a batch get half as many steps for the same passes.",
    ),
    "sharpness": Chart(
        _sharpness,
        "{score} against the sharpness of the final weights, lower is flatter, logarithmic. One point per optimizer "
        "and strategy; what looks like a trend over models may be the models' own difference, so look at each.",
    ),
    "learning_times": Chart(
        _learning_times,
        "The share of training examples learned for good (right at every later look) by each moment of the run; the "
        "height at the end is what was learned at all. Further up and left is faster.",
    ),
    "tunability": Chart(
        _tunability,
        "What tuning bought: the mean best score of k trials on the validation split, over all choices of k of the "
        "quasi-random ones, for each optimizer. A line that is flat early is easily tuned; one that still falls or "
        "rises at its end may not be tuned yet. Thin steps: the best so far in the order in which trials were run; "
        "open markers at 0: the suite's own values.",
        of_results=False,
    ),
}
"""The charts in the order in which they are shown."""


def drawings(report: Report, store: Store) -> tuple[dict[str, Figure], dict[str, str]]:
    """The figures that the records allow, and for every other the reason why it is left out, both by name.

    A report of one table has the names of CHARTS; of several tables each has its number in the name, as in `cost-2`.
    Raises nothing for what is missing or damaged: that is a reason.
    """
    figures: dict[str, Figure] = {}
    reasons: dict[str, str] = {}
    tables = _tables(report)
    read: list[dict[str, Curves | LeftOut]] = [{} for _ in tables]
    with drawing():
        for name, chart, place in _names(report):
            try:
                figures[name] = chart.draw(Source(report, tables[place], store, read[place]))
            except LeftOut as reason:
                reasons[name] = str(reason)
    return figures, reasons


def draw(report: Report, store: Store) -> dict[str, Figure]:
    """The figures that the records allow, by name, in the order of CHARTS; see `drawings`."""
    return drawings(report, store)[0]


def missing(report: Report, store: Store) -> dict[str, str]:
    """The charts that the records do not allow, each with the reason; see `drawings`."""
    return drawings(report, store)[1]


def caption_of(name: str, report: Report) -> str:
    """What the chart of that name shows, of how many seeds, in which unit, and how to read it; plain text.

    Raises UserError for a name that no chart of the report has.
    """
    known = {name: (chart, place) for name, chart, place in _names(report)}
    if name not in known:
        raise UserError(f"no chart of this report is named {name!r}; {suggestion(name, known)}")
    chart, place = known[name]
    table = _tables(report)[place]
    if not chart.of_results:
        return f"{label(place_of(table), 80)}: {chart.caption}".replace(r"\$", "$")
    counts = table.n.to_numpy()[table.n.to_numpy() > 0]
    seeds = seeds_in_words(int(counts.min()), table.seeds) if len(counts) else "no seed"
    kinds = f"95% {table.inference.kind}intervals over seeds{table.inference.validity}"
    spread = "no interval exists" if table.seeds < 2 else f"bars and bands are {kinds}"
    if name.startswith("heat_map") and table.seeds > 1:
        spread = "intervals are in the table"
    score = column(table.score)
    unit = "%" if score.unit == "fraction" else score.unit
    words = f"{spoken(table.score)}{f' ({unit})' if unit else ''}, {score.direction} is better,"
    text = chart.caption.format(score=capital(words))
    return f"{label(place_of(table), 80)}: {seeds}, {spread}. {text}".replace(r"\$", "$")


def _tables(report: Report) -> list[Standings]:
    return list(report.standings)


def _names(report: Report) -> Iterator[tuple[str, Chart, int]]:
    """Name, chart and place of the table of every chart that the report could have."""
    count = len(_tables(report))
    for name, chart in CHARTS.items():
        for place in range(count):
            yield (name if count == 1 else f"{name}-{place + 1}"), chart, place
