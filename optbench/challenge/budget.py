"""How a budget is divided: trials for every arm, seeds, panels, cost, page.

About 35% of it goes into trials and 50% into seeds. Every arm gets the same number of trials, at least 8 and at most
24. Half of the trials, the first among them, are not proposed by a model: 8 hold three points of a scrambled Sobol
sequence, 4 hold a single one, by which it is left to chance what is found. Above 24 expected bests hardly move. What
does not hold at least 8 trials and 3 seeds of every arm is refused, with the least budget that would; fewer trials are
for whoever asks for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from optbench.commands.tables import duration
from optbench.errors import UserError

TUNING = 0.35
"""The share of the budget that trials may take; fewer than the least are never tried."""
PANELS = 0.10
"""The share that panels may take."""
COST, LEAST_COST, MOST_COST = 0.07, 5.0, 300.0
"""The share of the profiler, and its bounds in seconds."""
FEWEST_TRIALS, MOST_TRIALS = 8, 24
FEWEST_SEEDS, MOST_PANEL_SEEDS = 3, 3
SLACK = 1.1
"""What estimated times are multiplied by: cells share memory and disk, and the last one of a round runs alone."""


@dataclass(frozen=True)
class Prices:
    """Wall-clock seconds of this machine: the cells of one trial of all arms, of one seed of all arms, the panels of
    one seed (with training it once more; infinite where that is not known), starting the workers once, and writing page
    and bundle. `workers` cells run at a time."""

    cells: float
    seed: float
    panels: float
    startup: float
    page: float
    workers: int = 1

    @property
    def trial(self) -> float:
        """One trial of all arms: two are run at a time, by workers that are started for them."""
        return self.cells + self.startup / 2

    def least(self, trials: int, budget: float) -> float:
        """Seconds below which so many trials and the fewest seeds do not fit."""
        training = self.startup + trials * self.trial + FEWEST_SEEDS * self.seed
        return SLACK * training + self.page + cost_seconds(budget)

    def measured(self, cells: float, startup: float) -> Prices:
        """The prices after the cells of a trial took so long: those of seeds and panels take longer in proportion."""
        ratio = cells / self.cells if self.cells > 0 else 1.0
        return replace(self, cells=cells, startup=startup, seed=self.seed * ratio, panels=self.panels * ratio)


@dataclass(frozen=True)
class Division:
    """What a budget is expected to hold. `reserve` are the seconds kept for what comes after the seeds."""

    trials: int
    seeds: int
    panel_seeds: int
    tuning: float
    reserve: float

    def sentence(self, budget: float, arms: int) -> str:
        """It in words."""
        of_panels = f", panels on {self.panel_seeds} of them" if self.panel_seeds else ", no panels"
        return (
            f"A budget of {duration(budget)} holds {self.trials} trials of each of {arms} arms (about "
            f"{duration(self.tuning)}) and about {self.seeds} fresh seeds of each{of_panels}."
        )


def cost_seconds(budget: float) -> float:
    """Seconds that the profiler may take."""
    return min(MOST_COST, max(LEAST_COST, COST * budget))


def divided(prices: Prices, budget: float, used: float, *, trials: int | None = None) -> Division:
    """The division of a budget of which `used` seconds are gone. `trials` fixes their number.

    Raises UserError where the fewest trials and seeds do not fit, with the least budget that would do.
    """
    fewest = FEWEST_TRIALS if trials is None else trials
    check_enough(prices, budget, used, trials=fewest)
    closing = prices.page + cost_seconds(budget)
    left = (budget - used - closing) / SLACK - prices.startup
    if trials is None:
        room = min(TUNING * budget, left - FEWEST_SEEDS * prices.seed)
        trials = max(FEWEST_TRIALS, min(MOST_TRIALS, math.floor(room / max(prices.trial, 1e-9))))
    after = left - trials * prices.trial
    spare = min(PANELS * budget, after - FEWEST_SEEDS * prices.seed)
    panel_seeds = panels_that_fit(prices, spare)
    of_panels = SLACK * panel_seeds * prices.panels if panel_seeds else 0.0
    seeds = max(FEWEST_SEEDS, math.floor((after - of_panels / SLACK) / max(prices.seed, 1e-9)))
    return Division(trials, seeds, panel_seeds, trials * prices.trial, closing + of_panels)


def check_enough(prices: Prices, budget: float, used: float, *, trials: int) -> None:
    """Raises UserError where so many trials and the fewest seeds do not fit into what is left."""
    least = used + prices.least(trials, budget)
    if least > budget:
        enough = spelled(_rounded_up(used, prices, trials))
        raise UserError(
            f"--budget {spelled(budget)}: too little: {trials} trials of every arm take about "
            f"{duration(trials * prices.trial)} here and {FEWEST_SEEDS} seeds about "
            f"{duration(FEWEST_SEEDS * prices.seed)}; the least is --budget {enough} (or a smaller suite: "
            "--only, fewer baselines)"
        )


def panels_that_fit(prices: Prices, seconds: float) -> int:
    """The number of seeds whose panels take no longer than so many seconds."""
    if not math.isfinite(prices.panels):
        return 0
    return max(0, min(MOST_PANEL_SEEDS, math.floor(seconds / max(SLACK * prices.panels, 1e-9))))


def spelled(seconds: float) -> str:
    """Seconds as the option takes them: 90s, 20m, 1.5h."""
    for unit, size in (("h", 3600.0), ("m", 60.0)):
        if seconds >= size and math.isclose(seconds / size, round(seconds / size, 2)):
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _rounded_up(used: float, prices: Prices, trials: int) -> float:
    """The least budget, in whole minutes (whole hours' tenths above two): the profiler's share grows with it."""
    least = used + prices.least(trials, 0.0)
    while used + prices.least(trials, least) > least:
        least = used + prices.least(trials, least) + 1.0
    step = 60.0 if least < 7200 else 360.0
    return step * math.ceil(least / step)
