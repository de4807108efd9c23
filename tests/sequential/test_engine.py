"""Round after round on a bench without training: when it stops, what it adds, what it says."""

import math
from dataclasses import replace

import numpy as np
import pytest
from synthetic_bench import Bench, Contrast, MemoryJournal, same_runs, suite

from optbench.errors import UserError
from optbench.sequential.engine import ALIKE, pursue, seed_numbers
from optbench.sequential.pilot import least_hours

HOUR = 3600.0


def ended(given, bench, *, margin=0.02, seconds=1e9, journal=None, lines=None):
    told = [] if lines is None else lines
    return pursue(given, journal or MemoryJournal(), bench, margin=margin, seconds=seconds, tell=told.append)


def test_a_large_difference_is_resolved_soon_and_all_of_it_is_said():
    lines = []
    bench = Bench({"muon": 0.3}, {})
    found = ended(suite("muon", seeds=5), bench, lines=lines)
    (judged,) = found.contrasts
    assert (found.ended, judged.verdict, found.looks) == ("resolved", "better", 1)
    assert (judged.n, len(bench.values)) == (5, 10)
    assert lines[0].startswith("pilot: 10 cells to run before a first look")
    assert lines[-1].startswith("look 1: muon minus adamw +")
    assert "5 seeds, better" in lines[-1]
    assert found.sentences == ["The contrast is resolved after 1 look."]


def test_a_difference_below_the_margin_ends_as_none():
    found = ended(suite("muon", seeds=3), Bench({"muon": 0.001}, {"muon": 0.02, "adamw": 0.02}))
    assert found.contrasts[0].verdict == "no difference beyond the margin"
    assert found.contrasts[0].n > 5


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_the_pilot_has_three_seeds_of_the_arms_that_are_compared(seeds):
    given = suite("muon", seeds=seeds)
    given = replace(given, arms=[*given.arms, type(given.arms[0])("unrelated")])
    lines = []
    bench = Bench({"muon": 0.3}, {})
    found = ended(given, bench, lines=lines)
    first = next(line for line in lines if line.startswith("look 1"))
    assert "3 seeds" in first
    assert sum(key.startswith("unrelated ") for key in bench.values) == seeds
    added = found.suite.added.seeds
    assert list(added["muon"])[: 3 - seeds] == list(range(seeds, 3))
    assert "unrelated" not in added


def test_seeds_are_the_same_for_both_sides_and_skip_those_that_were_tuned_on():
    given = replace(suite("muon"), seeds=[0, 7, 2])
    given.tuning.seeds = [9, 10]
    assert [seed for seed, _ in zip(seed_numbers(given), range(4), strict=False)] == [8, 11, 12, 13]
    found = ended(given, Bench({"muon": 0.02}, {}), seconds=30 * 60)
    assert found.suite.added.seeds["muon"] == found.suite.added.seeds["adamw"]
    assert list(found.suite.added.seeds["muon"])[:3] == [8, 11, 12]


def test_arms_of_the_same_content_are_run_once():
    given = same_runs(suite("muon", "sam"), sam="muon")
    bench = Bench({"muon": 0.05}, {})
    found = ended(given, bench)
    assert found.ended == "resolved"
    assert found.suite.added.seeds["muon"] == found.suite.added.seeds["sam"]
    assert found.contrasts[0].estimate == found.contrasts[1].estimate
    assert not [key for key in bench.values if key.startswith("sam")]


def test_it_ends_with_the_time_and_says_what_is_missing():
    lines = []
    bench = Bench({"muon": 0.012}, {"muon": 0.1, "adamw": 0.1})
    found = ended(suite("muon"), bench, seconds=1800.5, lines=lines)
    assert found.ended == "budget"
    assert found.contrasts[0].verdict == "unresolved"
    assert (bench.clock, len(bench.values)) == (1800, 30), "half a second is too short for a whole seed"
    assert found.sentences[-2] == f"The time is over: 1 of 1 contrast is unresolved after {found.looks} looks."
    assert "more seeds (" in found.sentences[-1]
    (foresight,) = found.foresight
    assert foresight.startswith("muon minus adamw: about 12 more seeds fit into 24 min; a difference of ")
    assert foresight in lines


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("seconds", [700, 1111, 2222])
def test_the_budget_is_overrun_by_a_cell_of_each_worker_at_most(workers, seconds):
    bench = Bench({"muon": 0.012}, {"muon": 0.1, "adamw": 0.1}, takes={"muon": 90.0, "adamw": 40.0}, workers=workers)
    found = ended(suite("muon"), bench, seconds=seconds)
    assert found.ended == "budget"
    assert bench.clock <= seconds + 90
    assert bench.clock > seconds - 130, "what is left is less than a seed"


def test_cells_that_take_longer_than_planned_are_not_begun_after_the_end():
    bench = Bench({"muon": 0.012}, {"muon": 0.1, "adamw": 0.1}, planned_factor=0.01)
    found = ended(suite("muon", seeds=40), bench, seconds=600)
    assert found.ended == "budget"
    assert bench.clock <= 660


def test_a_pilot_that_may_be_long_is_timed_by_a_cell_of_each_arm_first():
    bench = Bench({"muon": 0.3}, {}, planned_factor=0.5)
    found = ended(suite("muon", seeds=20), bench, seconds=1300)
    assert [len(cells) for cells in bench.rounds][0] == 2
    assert found.contrasts[0].n in (10, 11), "as many whole seeds as fit"
    assert bench.clock <= 1360


def test_a_pilot_beyond_the_budget_is_refused_before_anything_is_run_with_what_would_do():
    bench, journal = Bench({}, {}), MemoryJournal()
    with pytest.raises(UserError, match=r"--max-hours 0.05: the 6 cells .* take 0.1 hours; --max-hours 0.12 would do"):
        ended(suite("muon"), bench, seconds=180, journal=journal)
    assert journal.entries is None
    assert not bench.values
    assert ended(suite("muon"), bench, seconds=0.12 * HOUR).looks >= 1


@pytest.mark.parametrize("seconds", [1.0, 59.0, 3600.0, 12345.0, 9.99e6])
def test_the_hours_that_would_do_do(seconds):
    assert seconds < 3600 * least_hours(seconds) < 1.25 * seconds


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"contrasts": []}, "declares no contrasts"),
        ({"metric": "step_seconds"}, "which is measured"),
        ({"metric": "tokens"}, "neither more nor less is better"),
        ({"of": "nobody"}, "no contrast has two arms"),
        ({"margin": 0.0}, "--until-resolved 0: a difference above 0"),
        ({"margin": math.nan}, "--until-resolved nan"),
        ({"margin": math.inf}, "--until-resolved inf"),
        ({"seconds": 0.0}, "--max-hours 0: a time above 0"),
        ({"seconds": math.nan}, "--max-hours nan"),
    ],
)
def test_what_cannot_be_resolved_is_refused(change, what):
    given, bench = suite("muon"), Bench({}, {})
    numbers = {name: change[name] for name in ("margin", "seconds") if name in change}
    if "contrasts" in change:
        given = replace(given, contrasts=[])
    if "metric" in change or "of" in change:
        of = {"optimizer": change.get("of", "muon")}
        given = replace(given, contrasts=[Contrast(of, {"optimizer": "adamw"}, change.get("metric", "accuracy"))])
    with pytest.raises(UserError, match=what):
        ended(given, bench, **numbers)
    assert not bench.rounds


def test_a_resolved_contrast_gets_no_further_seeds():
    effect, spread = {"muon": 0.3, "sam": 0.011}, {"adamw": 0.01, "muon": 0.01, "sam": 0.06}
    found = ended(suite("muon", "sam", seeds=5), Bench(effect, spread))
    assert found.ended == "resolved"
    assert len(found.suite.added.seeds.get("muon", ())) == 0
    assert len(found.suite.added.seeds["sam"]) > 5


def test_ctrl_c_keeps_what_is_there_and_the_same_call_goes_on():
    def stop(cell):
        if cell.seed == 6:
            raise KeyboardInterrupt
        return ""

    journal = MemoryJournal()
    bench = Bench({"muon": 0.015}, {}, on_run=stop)
    found = ended(suite("muon"), bench, journal=journal)
    assert found.ended == "interrupted"
    assert len(found.contrasts) == 1
    before = dict(bench.values)
    assert 6 in journal.entries.seeds["muon"], "meant, and run by the same call again"
    bench.on_run = None
    again = ended(suite("muon"), bench, journal=journal)
    assert again.ended == "resolved"
    assert before.items() <= bench.values.items()
    assert not [key for cells in bench.rounds[-1:] for cell in cells if (key := cell.key) in before]


def test_cells_that_fail_end_it_after_a_look():
    found = ended(suite("muon"), Bench({"muon": 0.015}, {}, on_run=lambda cell: "no luck" if cell.seed == 5 else ""))
    assert found.ended == "failed"
    assert {reason for reason, _ in found.failed.values()} == {"no luck"}
    assert found.looks > 1


def test_a_later_call_with_a_smaller_margin_adds_to_what_is_there():
    journal, bench = MemoryJournal(), Bench({"muon": 0.001}, {"muon": 0.02, "adamw": 0.02})
    wide = ended(suite("muon"), bench, journal=journal, margin=0.05)
    fine = ended(suite("muon"), bench, journal=journal, margin=0.01)
    assert wide.ended == fine.ended == "resolved"
    assert fine.contrasts[0].n > wide.contrasts[0].n
    assert fine.suite.added.margin == 0.01
    assert list(journal.entries.margins) == [0.05, 0.01]
    again = ended(suite("muon"), bench, journal=journal, margin=0.01)
    assert again.looks == 1
    assert again.contrasts == fine.contrasts


def test_seeds_that_stay_incomplete_are_not_waited_for():
    """Cells that ran out of memory have a record and no score."""

    class Short(Bench):
        def look(self, of):
            kept = dict(self.values)
            for key in [key for key in self.values if key.startswith("sam") and int(key.split()[1]) > 3]:
                self.values[key] = None
            found = super().look(of)
            self.values = kept
            return found

    bench = Short({"muon": 0.05, "sam": 0.012}, {})
    found = ended(suite("muon", "sam", seeds=3), bench, seconds=1e6)
    assert found.ended == "exhausted"
    by_name = {own.name: own for own in found.contrasts}
    assert by_name["muon minus adamw"].verdict == "better"
    assert by_name["sam minus adamw"].n == 4
    assert bench.clock < 1e5, "no seeds for what they do not help"
    assert found.sentences[-2:] == [
        f"More seeds are no help: 1 of 2 contrasts is unresolved after {found.looks} looks.",
        "sam minus adamw: unresolved at 4 seeds; cells of the seeds that were added ran out of memory",
    ]


def test_a_budget_that_ends_before_added_seeds_begin_is_not_taken_for_memory():
    """The seeds are in the journal and not in the records, for no cell was begun in time."""

    class Slow(Bench):
        def length(self, arm):
            return 60.0 if len(self.values) < 6 else 5000.0

        def seconds(self, of):
            return {cell.arm.name: 60.0 for cell in of.cells() if cell.key in self.values}

    bench = Slow({"muon": 0.012}, {"muon": 0.1, "adamw": 0.1})
    found = ended(suite("muon", seeds=3), bench, seconds=3600)
    assert found.ended == "budget"
    assert found.contrasts[0].verdict == "unresolved"
    assert not any("memory" in line for line in found.sentences)


def test_two_names_of_one_run_get_no_seeds():
    bench = Bench({}, {})
    found = ended(same_runs(suite("muon"), muon="adamw"), bench, seconds=1e6)
    assert (found.ended, found.looks) == ("exhausted", 1)
    assert len(bench.values) == 3, "the pilot, and the same runs once"
    assert found.sentences[-1] == "muon minus adamw: unresolved at 3 seeds; both of its sides are the very same runs"


@pytest.mark.parametrize("gain", [0.0, 0.25])
def test_seeds_that_all_give_the_same_difference_are_not_added_for_ever(gain):
    """Two sides that answer nothing right, or one optimizer beside itself: no interval exists, however many seeds."""
    bench = Bench({"muon": gain, "sam": 0.05}, {"adamw": 0.0, "muon": 0.0, "sam": 0.03})
    found = ended(suite("muon", "sam"), bench, seconds=1e6)
    muon, sam = found.contrasts
    assert (muon.verdict, sam.verdict) == ("unresolved", "better")
    assert found.ended == "exhausted"
    assert ALIKE <= muon.n < 2 * ALIKE
    assert found.sentences[-1].startswith(f"muon minus adamw: unresolved at {muon.n} seeds; all of them gave the same")


REPETITIONS = 400


def test_false_alarms_of_the_whole_engine_stay_below_the_level():
    """Two contrasts without any difference, looked at seed after seed up to some 25 of them: either is called different
    with a chance of 5% at most."""
    alarms, looks, none = 0, 0, 0
    for seed in range(REPETITIONS):
        bench = Bench({}, {}, seed=seed, workers=4)
        found = ended(suite("muon", "sam", seeds=4), bench, margin=0.06, seconds=75 * 60.0 / 4)
        verdicts = [own.verdict for own in found.contrasts]
        alarms += any(verdict in ("better", "worse") for verdict in verdicts)
        none += verdicts.count("no difference beyond the margin")
        looks += found.looks
    assert looks / REPETITIONS > 5, "a fixed number of seeds would prove nothing"
    assert none > REPETITIONS / 4
    limit = 0.05 * REPETITIONS + 2 * np.sqrt(0.05 * 0.95 * REPETITIONS)
    assert alarms <= limit, alarms
