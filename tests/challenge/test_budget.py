"""How a budget is divided, and when it is refused."""

import math

import pytest

from optbench.challenge.budget import FEWEST_SEEDS, Prices, cost_seconds, divided, panels_that_fit, spelled
from optbench.errors import UserError

PRICES = Prices(cells=10.0, seed=10.0, panels=25.0, startup=4.0, page=20.0)


def test_trials_take_about_a_third_of_the_budget():
    found = divided(PRICES, 600.0, 0.0)
    assert found.trials == math.floor(0.35 * 600 / 12)  # cells, and half a start of the workers
    assert found.tuning == found.trials * 12.0


@pytest.mark.parametrize("budget", [200.0, 600.0, 3600.0, 86400.0])
def test_everything_that_is_planned_fits(budget):
    found = divided(PRICES, budget, 0.0)
    planned = found.tuning + found.seeds * PRICES.seed + PRICES.startup + found.reserve
    assert 8 <= found.trials <= 24
    assert found.seeds >= FEWEST_SEEDS
    assert planned <= budget


def test_more_time_never_buys_less():
    found = [divided(PRICES, budget, 0.0) for budget in range(180, 4000, 20)]
    assert [each.trials for each in found] == sorted(each.trials for each in found)
    assert found[-1].seeds > found[0].seeds
    assert {each.panel_seeds for each in found} == {0, 1, 2, 3}


def test_time_that_is_gone_buys_nothing():
    fresh, late = divided(PRICES, 900.0, 0.0), divided(PRICES, 900.0, 300.0)
    assert late.seeds < fresh.seeds
    assert late.seeds * PRICES.seed + late.tuning + late.reserve <= 600.0


def test_too_small_a_budget_is_refused_with_one_that_would_do():
    with pytest.raises(UserError, match="--budget 1m: too little: 8 trials") as refused:
        divided(PRICES, 60.0, 0.0)
    said = str(refused.value)
    least = float(said.partition("the least is --budget ")[2].partition("m")[0]) * 60
    assert divided(PRICES, least, 0.0).trials == 8
    with pytest.raises(UserError, match="too little"):
        divided(PRICES, least - 60.0, 0.0)


def test_the_least_budget_allows_for_what_is_gone():
    with pytest.raises(UserError) as refused:
        divided(PRICES, 3000.0, 2990.0)
    least = float(str(refused.value).partition("the least is --budget ")[2].partition("m")[0]) * 60
    assert divided(PRICES, least, 2990.0).trials >= 8


def test_a_fixed_number_of_trials_is_taken_or_refused():
    assert divided(PRICES, 600.0, 0.0, trials=7).trials == 7
    assert divided(PRICES, 600.0, 0.0, trials=1).trials == 1
    with pytest.raises(UserError, match="60 trials of every arm"):
        divided(PRICES, 600.0, 0.0, trials=60)


def test_measured_trials_stretch_seeds_and_panels():
    measured = PRICES.measured(30.0, 6.0)
    assert (measured.cells, measured.seed, measured.panels, measured.startup) == (30.0, 30.0, 75.0, 6.0)


def test_panels_of_unknown_price_are_not_planned():
    assert panels_that_fit(Prices(1.0, 1.0, math.inf, 1.0, 1.0), 1e9) == 0
    assert panels_that_fit(PRICES, 60.0) == 2


def test_the_profiler_has_bounds():
    assert [cost_seconds(budget) for budget in (10.0, 1000.0, 1e6)] == [5.0, 70.0, 300.0]


@pytest.mark.parametrize(("seconds", "text"), [(90.0, "1.5m"), (45.0, "45s"), (7200.0, "2h"), (5400.0, "1.5h")])
def test_times_are_spelled_as_the_option_takes_them(seconds, text):
    from optbench.challenge.request import seconds_of

    assert spelled(seconds) == text
    assert seconds_of(text) == seconds
