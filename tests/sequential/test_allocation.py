"""Where seeds go: cheap contrasts first, shared runs counted once, nothing for what cannot be had in time."""

import math

import pytest
from synthetic_bench import Bench, MemoryJournal, suite

from optbench.reports.sequential import half_width_anytime
from optbench.sequential.allocation import BUSY_SECONDS, Open, cost, expected_seeds, next_levels, wall_of
from optbench.sequential.engine import pursue

LEVELS = {"adamw": 0, "muon": 0, "sam": 0, "sgd": 0}
SECONDS = dict.fromkeys(LEVELS, 1000.0)


def star(name, needed, n=4):
    return Open(f"{name} minus adamw", frozenset({"adamw", name}), n, needed)


def test_the_expected_number_decides_and_one_less_does_not():
    for estimate, margin in ((0.03, 0.02), (0.001, 0.02), (0.01, 0.02), (-0.04, 0.02)):
        more = expected_seeds(estimate, 0.03, 5, margin, level=0.025)
        target = max(abs(estimate), margin - abs(estimate))
        assert half_width_anytime(0.03, 5 + more, level=0.025) < target
        assert half_width_anytime(0.03, 5 + more - 1, level=0.025) >= target


def test_half_the_margin_is_the_hardest_mean():
    needed = [expected_seeds(mean, 0.03, 3, 0.02, level=0.05) for mean in (0.0, 0.005, 0.01, 0.015, 0.02)]
    assert max(needed) == needed[2]
    assert needed[0] < needed[1] < needed[2] > needed[3] > needed[4]


def test_what_is_not_known_or_would_take_thousands_is_infinite():
    assert expected_seeds(math.nan, 0.03, 3, 0.02, level=0.05) == math.inf
    assert expected_seeds(0.01, math.nan, 3, 0.02, level=0.05) == math.inf
    assert expected_seeds(0.01, 5.0, 3, 0.02, level=0.05) == math.inf


def test_the_cheapest_contrast_gets_all_seeds():
    found = next_levels([star("muon", 30), star("sam", 3)], LEVELS, SECONDS, workers=1, left=40_000)
    assert set(found) == {"adamw", "sam"}


def test_a_run_that_several_contrasts_share_is_paid_once():
    contrasts = [star("muon", 6), star("sam", 6), Open("lion minus sgd", frozenset({"lion", "sgd"}), 4, 5)]
    levels = {**LEVELS, "lion": 0}
    seconds = dict.fromkeys(levels, 1000.0)
    # Alone, lion minus sgd is cheaper (10 cells against 12); muon and sam together cost 18 cells for two, 9 each.
    found = next_levels(contrasts, levels, seconds, workers=1, left=100_000)
    assert set(found) == {"adamw", "muon", "sam"}
    assert len(set(found.values())) == 1


def test_a_run_that_is_ahead_costs_nothing():
    assert cost(star("muon", 5), {**LEVELS, "adamw": 5}, SECONDS) == 5000
    assert cost(star("muon", 5), {**LEVELS, "adamw": 2}, SECONDS) == 8000
    ahead = {**LEVELS, "adamw": 9, "sam": 9}
    found = next_levels([star("sam", 5), star("muon", 5)], ahead, SECONDS, workers=1, left=1e6)
    assert found == {"muon": 1}, "five cells of muon against ten of sam and adamw"


def test_a_cell_that_takes_long_counts_as_long():
    slow = {**SECONDS, "sam": 50_000.0}
    found = next_levels([star("muon", 8), star("sam", 2)], LEVELS, slow, workers=1, left=1e6)
    assert set(found) == {"adamw", "muon"}


def test_what_cannot_be_had_in_time_gets_what_is_left_last():
    far, near = star("muon", 500), star("sam", 10)
    assert set(next_levels([far, near], LEVELS, SECONDS, workers=1, left=30_000)) == {"adamw", "sam"}
    assert set(next_levels([far], LEVELS, SECONDS, workers=1, left=30_000)) == {"adamw", "muon"}
    unknown = star("muon", math.inf)
    assert set(next_levels([unknown, far], LEVELS | {"sgd": 0}, SECONDS, workers=1, left=1e9)) == {"adamw", "muon"}
    assert set(next_levels([unknown, near], LEVELS, SECONDS, workers=1, left=30_000)) == {"adamw", "sam"}


def test_no_block_of_which_a_cell_would_begin_too_late():
    assert next_levels([star("muon", 5)], LEVELS, SECONDS, workers=1, left=999) == {}
    assert next_levels([star("muon", 5)], LEVELS, SECONDS, workers=1, left=1001) == {"adamw": 1, "muon": 1}
    assert next_levels([star("muon", 5)], LEVELS, SECONDS, workers=2, left=1) == {"adamw": 1, "muon": 1}
    assert next_levels([star("muon", 5)], LEVELS, SECONDS, workers=1, left=0) == {}
    # The second contrast is too long for what is left; the first is not.
    slow = {**SECONDS, "sam": 5000.0}
    assert set(next_levels([star("sam", 1), star("muon", 20)], LEVELS, slow, workers=1, left=1500)) == {"adamw", "muon"}


def test_rounds_keep_workers_busy_and_give_no_more_than_is_needed():
    assert next_levels([star("muon", 50)], LEVELS, SECONDS, workers=8, left=1e6) == {"adamw": 4, "muon": 4}
    assert next_levels([star("muon", 2)], LEVELS, SECONDS, workers=8, left=1e6) == {"adamw": 2, "muon": 2}
    quick = dict.fromkeys(LEVELS, 1.0)
    many = next_levels([star("muon", 500, n=40)], LEVELS, quick, workers=1, left=1e6)
    assert many == {"adamw": 20, "muon": 20}, "half as many as there are"
    long = next_levels([star("muon", 500, n=400)], LEVELS, quick, workers=1, left=1e6)
    assert long == {"adamw": BUSY_SECONDS / 2, "muon": BUSY_SECONDS / 2}, "long enough a round"


def test_the_last_cell_begins_when_a_worker_is_free():
    assert wall_of([5, 3, 2], 2) == (3, 5)
    assert wall_of([5, 3, 2], 1) == (8, 10)
    assert wall_of([], 2) == (0, 0)


def everywhere(bench, journal, given, margin):
    """A seed to every arm, until everything is resolved: how many cells."""
    added = journal.add(margin, {})
    level = 0
    while True:
        of = type(given)(given.arms, given.contrasts, given.seeds, added)
        bench.run(bench.left(of), lambda: True)
        if all(seen.judged.verdict != "unresolved" for seen in bench.look(of)):
            return len(bench.values)
        level += 1
        added = journal.add(margin, {arm.name: list(range(3, 3 + level)) for arm in given.arms})


@pytest.mark.parametrize("seed", range(3))
def test_fewer_cells_than_a_seed_to_every_arm(seed):
    effect = {"muon": 0.1, "sam": 0.05, "lion": -0.12, "soap": 0.09}
    spread = {"adamw": 0.01, "muon": 0.02, "sam": 0.06, "lion": 0.02, "soap": 0.03}
    given = suite(*effect)
    greedy = Bench(effect, spread, seed=seed)
    ended = pursue(given, MemoryJournal(), greedy, margin=0.02, seconds=1e9, tell=lambda line: None)
    assert ended.ended == "resolved"
    plain = everywhere(Bench(effect, spread, seed=seed), MemoryJournal(), given, 0.02)
    assert len(greedy.values) < 0.75 * plain, (len(greedy.values), plain)
