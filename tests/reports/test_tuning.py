"""How tuning is reported: edges, near-best trials, unequal tuning, and all formats."""

import csv
import io
import json
import math
import re
from dataclasses import replace

import pytest
from pydantic import ValidationError
from reports.trials import Set, scored, study, trial, tune

from optbench.optim.rules.gd import GD
from optbench.optim.search import Choice, Range
from optbench.reports.leaderboard import render, report_of
from optbench.reports.tuning import tolerance, tuning_of
from optbench.reports.tuning_grid import tuning_grid, tuning_notes_of, values_grid
from optbench.reports.tuning_text import UNTUNED, lines_of, near_text, space_text, value_text
from optbench.selection import narrowed
from optbench.suite import load_suite
from optbench.tuning.edges import edge_of
from optbench.tuning.record import Trial

HOSTILE = "<script>a|b</script>\x1b[31m=1 $x_1$"


@pytest.mark.parametrize(
    ("dimension", "value", "edge"),
    [
        # 5% of two decades is a factor of 10 ** 0.1 = 1.2589.
        (Range(low=1e-4, high=1e-2), 1.258e-4, "lower"),
        (Range(low=1e-4, high=1e-2), 1.26e-4, ""),
        (Range(low=1e-4, high=1e-2), 7.95e-3, "upper"),
        (Range(low=1e-4, high=1e-2), 7.9e-3, ""),
        (Range(low=1e-4, high=1e-2), 5e-5, "lower"),
        (Range(low=1e-4, high=1e-2), 0, ""),
        (Range(low=1e-4, high=1e-2), 1.0, "upper"),
        (Range(low=1, high=2, log=False), 1.049, "lower"),
        (Range(low=1, high=2, log=False), 1.06, ""),
        (Range(low=0, high=1, log=False), 0.96, "upper"),
        (Range(low=0, high=1, log=False), None, ""),
        (Choice(values=[0.9, 0.95, 0.99]), 0.9, "lower"),
        (Choice(values=[0.9, 0.95, 0.99]), 0.95, ""),
        (Choice(values=[0.9, 0.95, 0.99]), 0.99, "upper"),
        (Choice(values=[0.99, 0.95, 0.9]), 0.99, "upper"),
        # With two numbers, either is an end, which says nothing.
        (Choice(values=[1, 2]), 1, ""),
        (Choice(values=[False, True, 3]), 3, ""),
        (Choice(values=["a", "b", "c"]), "a", ""),
        (Choice(values=[[0.9, 0.95], [0.9, 0.99], [0.8, 0.9]]), [0.9, 0.95], ""),
    ],
)
def test_edges(dimension, value, edge):
    assert edge_of(dimension, value) == edge


def test_a_study_as_reports_show_it(bench):
    space = {"rule.lr": Range(low=1e-4, high=1e-2), "rule.nesterov": Choice(values=[False, True])}
    trials = [
        trial(0.90, "suite", rule__lr=1e-3, rule__nesterov=True),
        trial(0.80, rule__lr=4e-3, rule__nesterov=True),
        trial(None, rule__lr=9e-3, rule__nesterov=False),
        trial(None, failed="out_of_memory", rule__lr=8e-3, rule__nesterov=False),
        trial(0.507, rule__lr=2e-4, rule__nesterov=True),
        trial(0.5051, "tpe", rule__lr=3e-4, rule__nesterov=True),
        trial(0.503, "tpe", rule__lr=2.5e-4, rule__nesterov=True),
        trial(0.502, "tpe", rule__lr=1.1e-4, rule__nesterov=False),
    ]
    suite = bench.suite(seeds=2)
    found = study(suite, "adamw", trials, space=space, importance={"rule.lr": 0.75, "rule.nesterov": 0.25})
    (search,) = tuning_of(tune(suite, found)).searches
    assert (search.trials, search.failed) == (8, {"diverged": 1, "out_of_memory": 1})
    assert (search.own, search.before, search.after) == ("completed", 0.9, 0.502)
    # Within 1% of 0.502: 0.503 and 0.507, but by 0.00002 not more, and 0.5051.
    assert search.near == 4
    rate, nesterov = search.found
    assert (rate.before, rate.chosen, rate.edge, rate.importance) == (1e-3, 1.1e-4, "lower", 0.75)
    assert rate.near == (1.1e-4, 2e-4, 2.5e-4, 3e-4)
    assert (nesterov.before, nesterov.chosen, nesterov.edge) == (True, False, "")
    assert nesterov.near == (False, True)
    # Quasi-random trials alone are exchangeable: two failures, 0.80 and 0.507.
    assert search.expected == pytest.approx((None, None, (2 * 0.8 * 0 + 2 * 0.507 + 0.507 * 1 + 0.8 * 1) / 4, 0.507))
    assert search.so_far == (0.9, 0.8, 0.8, 0.8, 0.507, 0.5051, 0.503, 0.502)
    assert search.changed == ()


def test_values_that_nobody_set_are_shown_where_the_trial_states_them(bench):
    suite = bench.suite(("adamw",))
    space = {"rule.lr": Range(low=1e-4, high=1e-2), "rule.options.beta": Range(low=0.1, high=0.9, log=False)}
    own = trial(0.5, "suite", rule__lr=1e-3).model_copy(update={"defaults": {"rule.options.beta": 0.9}})
    tune(suite, study(suite, "adamw", [own, trial(0.6, rule__lr=2e-3, rule__options__beta=0.3)], space=space))
    (search,) = tuning_of(suite).searches
    beta = search.found[1]
    assert (beta.before, beta.chosen, beta.edge, beta.near) == (0.9, 0.9, "upper", (0.9,))
    assert search.changed == (), "what was not set is not missing"


def test_near_best_is_a_point_of_a_fraction_and_a_hundredth_of_other_scores():
    assert tolerance(0.4, "accuracy") == 0.01
    assert tolerance(2.5, "test_nll") == pytest.approx(0.025)
    assert tolerance(-2.5, "my_own") == pytest.approx(0.025)


def test_values_that_the_suite_does_not_have_are_told(bench):
    suite = bench.suite(models=("m", "n"))
    space = {"rule.lr": Range(low=1e-4, high=1e-2), "training.schedule.warmup": Range(low=0, high=1, log=False)}
    best = trial(0.5, rule__lr=2e-3, training__schedule__warmup=0.1)
    tune(suite, study(suite, "adamw", [best], space=space))
    assert tuning_of(suite).searches[0].changed == ()
    first, *others = suite.arms
    object.__setattr__(first, "training", Set({"schedule.warmup": 0.2}))
    assert tuning_of(suite).searches[0].changed == ("training.schedule.warmup",)
    object.__setattr__(others[1], "optimizer_spec", Set({"estimator.rho": 1}))
    tuning = tuning_of(suite)
    assert tuning.searches[0].changed == ("rule.lr", "training.schedule.warmup")
    assert any("Not the values that tuning chose" in line and "rule.lr of adamw" in line for line in lines_of(tuning))


def said(suite):
    return " ".join(lines_of(tuning_of(suite)))


def test_equal_tuning_is_said_in_one_sentence(bench):
    suite = bench.suite()
    tune(suite, *(study(suite, name, scored(0.9, 0.5, 0.6)) for name in ("adamw", "muon")))
    assert said(suite) == (
        "Tuned alike: adamw and muon: 3 trials each, by test_nll on the validation split with seed 1000 of its own."
    )


def test_an_arm_without_trials_is_told_from_those_that_were_tuned(bench):
    suite = bench.suite(("adamw", "muon", "lion"))
    tune(suite, study(suite, "adamw", scored(0.9, 0.5)))
    tuning = tuning_of(suite)
    assert not tuning.is_equal
    assert tuning.trials == {"adamw": (2,), "muon": (0,), "lion": (0,)}
    assert (
        "Not tuned alike: adamw: 2 trials; muon and lion: no trials recorded: their values are the suite's own."
        in said(suite)
    )
    assert "A difference between them may be one of tuning." in said(suite)


def test_a_different_number_of_trials_is_not_alike(bench):
    suite = bench.suite()
    tune(suite, study(suite, "adamw", scored(0.9, 0.5)), study(suite, "muon", scored(0.9, 0.5, 0.4)))
    assert "Not tuned alike: muon: 3 trials; adamw: 2 trials." in said(suite)


def test_some_arms_of_an_optimizer_without_trials(bench):
    suite = bench.suite(("adamw",), models=("m", "n", "o"))
    tune(suite, study(suite, "adamw", scored(0.9, 0.5), model=["m"]), study(suite, "adamw", scored(0.9), model=["n"]))
    assert "adamw: 1 to 2 trials, none recorded for some of the arms." in said(suite)
    assert not tuning_of(suite).is_equal


def test_studies_of_other_arms_are_left_out(bench):
    whole = bench.suite(("adamw", "muon", "lion"))
    suite = bench.suite()
    tune(suite, study(whole, "lion", scored(0.9, 0.5)))
    tuning = tuning_of(suite)
    assert tuning.searches == ()
    assert "Not tuned alike: adamw and muon: no trials recorded" in said(suite)
    bench.fill(suite, lambda cell: 0.5)
    assert "Tuning:" not in render(suite, bench.store, "table")


def test_what_selects_the_arms_of_a_study(bench):
    suite = bench.suite(("adamw",), models=("m", "n"), tasks=("sums",))
    by_model = study(suite, "adamw", scored(0.9), model=["n"], task=["sums"])
    assert [search.place for search in tuning_of(tune(suite, by_model)).searches] == ["n"]
    together = study(suite, "adamw", scored(0.9), model=["m", "n"], task=["sums"])
    assert [search.place for search in tuning_of(tune(suite, together)).searches] == [""]


def test_edges_and_seeds_that_are_reported_too_are_told(bench):
    suite = bench.suite(("adamw",), models=("m", "n"), seeds=3)
    trials = [trial(0.9, "suite", rule__lr=1e-3), trial(0.5, rule__lr=9.9e-3)]
    tune(suite, study(suite, "adamw", trials, model=["n"]), seeds=[2, 1000])
    assert "a wider one may do better: rule.lr of adamw on n (upper)." in said(suite)
    assert "Tuned and reported with the same seed (2)" in said(suite)
    assert "of its own" not in said(suite)


def test_a_study_whose_trials_all_failed_chose_nothing(bench):
    suite = bench.suite(("adamw",))
    tune(suite, study(suite, "adamw", scored(None, None)))
    tuning = tuning_of(suite)
    assert tuning.searches[0].near == 0
    assert "No trial has a score, so that nothing was chosen: adamw." in said(suite)
    texts = [entry.text for entry in tuning_grid(tuning).rows[0]]
    assert texts == ["adamw", "the optimizer", "2", "2 diverged", "diverged", "-", "0", "-"]
    # Without a column of places, two hold names.
    assert tuning_grid(tuning).names == 2
    assert values_grid(tuning).rows[0][-2].text == "-"


def test_the_tables(bench):
    space = {"rule.lr": Range(low=1e-4, high=1e-2), "rule.beta": Choice(values=[0.9, 0.95, 0.999])}
    suite = bench.suite(models=("m", "n"))
    trials = [
        trial(0.9, "suite", rule__lr=1e-3, rule__beta=0.9),
        trial(0.504, rule__lr=2e-3, rule__beta=0.95),
        trial(0.5, rule__lr=4e-3, rule__beta=0.999),
        trial(None, rule__lr=9e-3, rule__beta=0.9),
    ]
    found = [
        study(suite, "adamw", trials, space=space, importance={"rule.lr": 0.75, "rule.beta": 0.25}, model=["m"]),
        study(suite, "muon", scored(0.8, 0.7, 0.6, 0.65), declared_by="around", model=["n"]),
    ]
    tuning = tuning_of(tune(suite, *found))
    grid = tuning_grid(tuning)
    assert grid.title == "Tuning: test_nll on the validation split, nats, lower is better"
    assert [[entry.text for entry in row] for row in grid.rows] == [
        # Of 0.504, 0.5 and a failure, two are 0.5, 0.5 or 0.504.
        ["adamw", "m", "the optimizer", "4", "1 diverged", "0.9000", "0.5000", "2", "0.5013"],
        ["muon", "n", "rate /10 to x10", "4", "0", "0.8000", "0.6000", "1", "0.6167"],
    ]
    assert grid.header[-1] == "best of 2"
    grid = values_grid(tuning)
    assert [[entry.text for entry in row] for row in grid.rows] == [
        ["adamw", "m", "rule.lr", "0.001", "0.004", "75%", "0.002 to 0.004", "0.0001 to 0.01, log"],
        ["adamw", "m", "rule.beta", "0.9", "0.999, upper edge", "25%", "0.95, 0.999", "0.9, 0.95, 0.999"],
        ["muon", "n", "rule.lr", "0.001", "0.0012", "-", "0.0012", "0.0001 to 0.01, log"],
    ]
    assert any("within 1% of the best score" in note for note in tuning_notes_of(tuning))
    assert any("each counts as the worst" in note for note in tuning_notes_of(tuning))


def test_accuracies_are_in_percent_and_a_failure_counts_as_zero(bench):
    suite = bench.suite(("adamw",))
    trials = scored(0.1, 0.5, 0.504, None, 0.4)
    tuning = tuning_of(tune(suite, study(suite, "adamw", trials, lower=False), score="accuracy"))
    (row,) = tuning_grid(tuning).rows
    # Of 50, 50.4, 40 and 0, two at a time: three times 50.4, twice 50, once 40.
    assert [entry.text for entry in row][-4:] == ["10.0", "50.4", "2", "48.5"]
    notes = " ".join(tuning_notes_of(tuning))
    assert "within a point of the best score" in notes and "each counts as accuracy 0" in notes


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (3, "3"),
        (0.0012345, "0.00123"),
        (0.9995, "0.9995"),
        ([0.9, 0.999], "[0.9, 0.999]"),
        ("a", "a"),
    ],
)
def test_values_as_texts(value, text):
    assert value_text(value) == text


def test_many_choices_are_counted():
    assert space_text(Choice(values=[1, 2, 3, 4, 5])) == "5 values"
    assert space_text(Range(low=0, high=1, log=False)) == "0 to 1"


def test_near_text_of_words(bench):
    suite = bench.suite(("adamw",))
    trials = [trial(0.5, rule__kind="b"), trial(0.5, rule__kind="a"), trial(0.9, rule__kind="c")]
    found = study(suite, "adamw", trials, space={"rule.kind": Choice(values=["a", "b", "c"])})
    (search,) = tuning_of(tune(suite, found)).searches
    assert near_text(search.found[0]) == "a, b"


@pytest.fixture
def full(bench):
    """A tuned suite with records, whose names come from other people."""
    suite = bench.suite(("adamw", HOSTILE), seeds=2)
    bench.fill(suite, lambda cell: 0.5 + 0.01 * cell.seed)
    space = {HOSTILE: Range(low=1e-4, high=1e-2), "rule.kind": Choice(values=[HOSTILE, "b"])}
    trials = [
        trial(0.9, "suite", **{HOSTILE: 1e-3, "rule.kind": "b"}),
        trial(0.6, **{HOSTILE: 2e-3, "rule.kind": HOSTILE}),
        trial(0.7, **{HOSTILE: 3e-3, "rule.kind": "b"}),
    ]
    studies = [study(suite, name, trials, space=space) for name in ("adamw", HOSTILE)]
    return tune(suite, *studies)


@pytest.mark.parametrize(
    ("format", "escaped"),
    [
        ("table", "<script>a|b</script> [31m=1 $x_1$"),
        ("markdown", r"\<script\>a\|b\</script\> \[31m=1 \$x_1\$"),
        # Long names go on in the line below.
        ("latex", r"\textless{}script\textgreater{}a\textbar{}b\textless{}/script\textgreater{}"),
    ],
)
def test_every_format_for_readers_has_the_section_with_names_escaped(bench, full, format, escaped):
    text = render(full, bench.store, format, width=400)
    assert "Tuning: hyper-parameters before and after" in text
    assert "Tuned alike: adamw and " in text
    section = text[text.index("hyper-parameters before and after") :]
    # Optimizer, hyper-parameter and value. A LaTeX table as wide as this is cut, and its parts have fewer.
    names = max(line.count(escaped) for line in section.splitlines())
    assert names >= 2 if format == "latex" else names == 4
    assert format != "latex" or "<" not in re.sub(r"^%.*", "", section, flags=re.MULTILINE)
    assert "\x1b" not in text
    assert UNTUNED not in text and "no trials" not in text


def test_json_has_it_all(bench, full):
    content = json.loads(render(full, bench.store, "json"))
    tuning = content["tuning"]
    assert (tuning["score"], tuning["split"], tuning["equal"], tuning["seeds"]) == (
        "test_nll",
        "validation",
        True,
        [1000],
    )
    first, second = tuning["studies"]
    assert first["optimizer"] == "adamw" and second["optimizer"] == HOSTILE
    assert first["expected_best"] == pytest.approx([0.65, 0.6]) and first["best_so_far"] == [0.9, 0.6, 0.6]
    assert (first["trials"], first["score_before"], first["score_best"]) == (3, 0.9, 0.6)
    value = first["values"][HOSTILE]
    assert value["space"] == {"low": 1e-4, "high": 1e-2, "log": True}
    assert (value["before"], value["chosen"], value["near_best"]) == (1e-3, 2e-3, [2e-3])
    assert any(line.startswith("Tuned alike") for line in content["answer"]["lines"])


@pytest.mark.parametrize("format", ["table", "json", "csv"])
def test_values_that_are_no_numbers_are_null(bench, format):
    suite = bench.suite(("adamw",))
    bench.fill(suite, lambda cell: 0.5)
    values = Choice(values=[1.0, 2.0, 3.0])
    full = "out_of_memory"
    trials = [trial(None, "suite", full, a=math.inf), trial(None, failed=full, a=3.0), trial(0.5, a=[math.nan, 1.0])]
    text = render(tune(suite, study(suite, "adamw", trials, space={"a": values})), bench.store, format)
    if format != "json":
        assert text
        return
    (content,) = json.loads(text, parse_constant=pytest.fail)["tuning"]["studies"]
    assert (content["score_before"], content["score_best"], content["without_score"]) == (
        None,
        0.5,
        {"out_of_memory": 2},
    )
    assert content["values"]["a"]["chosen"] == [None, 1.0] and content["values"]["a"]["importance"] is None


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_is_a_finite_number_or_none(score):
    with pytest.raises(ValidationError, match="finite number"):
        trial(score)
    with pytest.raises(ValidationError, match="finite number"):
        Trial.model_validate_json(trial(0.5).model_dump_json().replace('"score":0.5', f'"score":{json.dumps(score)}'))
    assert trial(None).score is None


def test_csv_has_columns_of_each_arm(bench):
    suite = bench.suite(seeds=2)
    bench.fill(suite, lambda cell: 0.5)
    tune(suite, study(suite, "adamw", scored(0.9, None, 0.5)))
    adamw, muon = csv.DictReader(io.StringIO(render(suite, bench.store, "csv")))
    names = ["tuning_trials", "tuning_trials_without_score", "tuning_score_before", "tuning_score_best"]
    assert [adamw[name] for name in names] == ["3", "1", "0.9", "0.5"]
    assert [muon[name] for name in names] == ["0", "0", "", ""]


@pytest.mark.parametrize("format", ["table", "markdown", "latex"])
def test_without_trials_one_sentence_at_the_end(bench, format):
    suite = bench.suite(seeds=2)
    bench.fill(suite, lambda cell: 0.5)
    text = render(suite, bench.store, format, width=200)
    assert text.count("no trials are recorded") == 1
    assert "Hyper-parameters: as the suite says" in text.splitlines()[-1]
    assert "Tuning" not in text and "Tuned" not in text


def test_without_trials_data_are_null_and_columns_are_as_they_were(bench):
    suite = bench.suite(seeds=2)
    bench.fill(suite, lambda cell: 0.5)
    assert json.loads(render(suite, bench.store, "json"))["tuning"] is None
    assert "tuning" not in render(suite, bench.store, "csv").splitlines()[0]
    assert report_of(suite, bench.store).tuning is None


def test_a_narrow_terminal_gets_fewer_columns_before_a_table_is_cut(bench, full):
    wide, narrow = (render(full, bench.store, "table", width=width) for width in (400, 84))
    assert "space from" in wide and "tried" in wide
    assert "space from" not in narrow and "0.0001 to 0.01" not in narrow
    assert all(len(line) <= 84 for line in narrow.splitlines())


def test_values_that_were_given_to_arms_without_trials_are_told_apart():
    suite = load_suite("suites/quick.yaml")
    tuning = tuning_of(suite)
    assert tuning.is_equal
    assert {counts for counts in tuning.trials.values()} == {(12,) * 12}
    assert tuning.tried == {"strategy": ("uniform",)}
    (said,) = [line for line in lines_of(tuning) if line.startswith("The trials were run with")]
    assert (
        said
        == "The trials were run with strategy uniform alone; the other arms have the values that were chosen there."
    )
    moved = replace(
        suite,
        arms=[
            replace(arm, optimizer_spec=arm.optimizer_spec.model_copy(update={"rule": GD(lr=0.5)}))
            if (arm.optimizer, arm.strategy) == ("gd", "upsample")
            else arm
            for arm in suite.arms
        ],
    )
    assert not tuning_of(moved).is_equal
    assert tuning_of(moved).trials["gd"].count(0) == 4
    uniform = narrowed(suite, ["strategy=uniform"])
    assert tuning_of(uniform).tried == {}
