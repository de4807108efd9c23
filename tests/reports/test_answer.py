"""The answer: what it says, and that it never says more than the standings support."""

import json
import math
import re
from itertools import pairwise

import numpy as np
import pytest

from optbench.errors import UserError
from optbench.reports.answer_text import listed
from optbench.reports.inference import FIXED
from optbench.reports.leaderboard import render, report_of
from optbench.reports.scale import models_text
from optbench.reports.stats import half_width
from optbench.rng import stream

EVIL = "=x|y_*[red]&\\cmd{$}%#~^<b>`\x1b[31m\n| z"
COSTS = {"gd": 0.9, "adamw": 1.0, "muon": 1.3, "sam": 2.0}


@pytest.fixture
def measured(bench):
    """A suite whose arms have the levels that `level` says, with a spread of half a point, and known costs."""

    def build(
        level, optimizers=("gd", "adamw", "muon", "sam"), *, seeds=6, spread=0.005, outcome=None, device="cuda", **more
    ):
        suite = bench.suite(optimizers, seeds=seeds, **more)
        noise = stream(0, "noise").normal(0, spread, size=(len(suite.arms), seeds))
        places = {id(arm): place for place, arm in enumerate(suite.arms)}
        for cell in suite.cells():
            value = level(cell)
            if value is None:
                continue
            what = "completed" if outcome is None else outcome(cell)
            cost = COSTS.get(cell.arm.optimizer, 1.0)
            bench.write(
                cell,
                value + noise[places[id(cell.arm)], cell.seed] if what == "completed" else None,
                outcome=what,
                result={"flops": 1e9 * cost, "state_bytes": 8e3 * cost, "questions": 512.0},
                measured={"step_seconds": 0.1 * cost, "peak_bytes": 1e6 * cost, "total_seconds": 60.0},
                provenance={"device_type": device},
            )
        return suite

    return build


def by_optimizer(**levels):
    return lambda cell: levels[cell.arm.optimizer]


def lines_of(suite, bench):
    return list(report_of(suite, bench.store).answer.lines)


@pytest.mark.parametrize("seeds", [1, 3])
def test_rows_that_are_all_alike_have_no_first(bench, seeds):
    suite = bench.suite(("adamw", "muon", "gd"), seeds=seeds)
    bench.fill(suite, lambda cell: 0.0)
    said = render(suite, bench.store, "table")
    assert "all 3 combinations came out alike: 0.0" in said and "none is first" in said
    assert "happened to come first" not in said and "has the best mean" not in said and "flattered" not in said


def test_a_clear_best_is_named_with_its_figure_its_cost_and_its_scale(bench, measured):
    suite = measured(by_optimizer(gd=0.2, adamw=0.3, muon=0.6, sam=0.31), models=("aa", "bb"), strategies=("u", "v"))
    lines = lines_of(measured(by_optimizer(gd=0.2, adamw=0.3, muon=0.6, sam=0.31), models=("aa", "bb")), bench)
    assert re.fullmatch(
        r"sums, 300 steps \(2 models of 0\.10M parameters\): use the optimizer muon: (59|60)\.\d ±0\.\d% of 512 test "
        r"questions right, mean over models \(6 seeds\); all 3 other combinations are resolved as worse\.",
        lines[0],
    )
    assert lines[1:] == [
        "Against adamw, muon costs 1.30 times the FLOPs, about 1.30 times the training time, about 1.30 times the peak "
        "memory and 1.30 times the optimizer state.",
        "By model, muon is best, all others resolved as worse, for aa, bb.",
    ]
    first = lines_of(suite, bench)[0]
    assert re.search(r"use the optimizer muon with the data strategy [uv]:", first)
    assert "resolved as worse" not in first


def test_ties_are_named_and_the_cheapest_supported_row_too(bench, measured):
    suite = measured(by_optimizer(gd=0.2, adamw=0.3, muon=0.597, sam=0.6), spread=0.02, strategies=("u",))
    lines = lines_of(suite, bench)
    assert "use the optimizer" in lines[0] and "resolved as worse" not in lines[0]
    assert re.fullmatch(
        r"Not resolved from it, so perhaps as good: (sam|muon) \(\d\d\.\d\); 2 combinations are resolved as worse\.",
        lines[1],
    )
    (table,) = report_of(suite, bench.store).answer.tables
    assert set(table.rankings[0].supported) == {("muon", "u"), ("sam", "u")}
    assert table.cheapest.row == ("muon", "u")
    if table.rankings[0].best == ("sam", "u"):
        assert "Cheapest in FLOPs of those supported: muon (1.30)." in lines[2]
    assert re.search(
        r"About \d+ seeds would resolve a difference of 1 point between (sam and muon|muon and sam)", lines[-1]
    )
    assert re.search(r"by its own mean is flattered: ±\d\.\d allows for the choice\.", lines[-1])


def test_where_nothing_is_resolved_no_row_is_recommended(bench, measured):
    suite = measured(lambda cell: 0.5, spread=0.05, seeds=3)
    text = " ".join(lines_of(suite, bench))
    assert "these records do not say what to use" in text
    assert "none of the other 3 is resolved from it" in text
    assert not re.search(r"\buse the\b|worse", text)


def test_one_seed_proves_no_order_and_the_answer_says_what_would(bench, measured):
    lines = lines_of(measured(by_optimizer(gd=0.2, adamw=0.3, muon=0.6, sam=0.31), seeds=1, models="ab"), bench)
    assert re.match(
        r"sums, 300 steps \(2 models of 0\.10M parameters\): one run of each combination proves no order\. muon "
        r"happened to come first of 4: (59|60)\.\d% of 512 test questions right, mean over models \(1 seed\)\.$",
        lines[0],
    )
    assert any(line.startswith("First by model, in one run each: a muon (") for line in lines)
    assert re.match(
        r"To change that, raise seeds in suites/toy\.yaml and run: optbench run suites/toy\.yaml --results \S+ \(about "
        r"8 minutes for each seed\)\. From two seeds on, this report says how many more are needed\.",
        lines[-1],
    )
    assert not re.search(r"±|\buse the\b|best|worse|resolved", " ".join(lines))


def test_models_that_differ_are_told_apart(bench, measured):
    def level(cell):
        levels = {"adamw": 0.3, "muon": 0.6, "sam": 0.31, "gd": 0.2}
        if cell.arm.model == "odd":
            levels = {**levels, "sam": 0.65}
        if cell.arm.model == "tie":
            levels = {**levels, "sam": 0.6}
        return levels[cell.arm.optimizer]

    lines = lines_of(measured(level, models=("odd", "tie", "aa", "bb")), bench)
    line = next(line for line in lines if line.startswith("By model"))
    assert re.fullmatch(
        r"By model, muon is best, all others resolved as worse, for aa, bb; best or not resolved from the best for tie"
        r"( \(first: sam, \d\d\.\d ±\d\.\d\))?; resolved as worse for odd \(first: sam, 6[45]\.\d ±0\.\d\)\.",
        line,
    )


def test_a_model_where_nothing_is_resolved_is_no_agreement(bench, measured):
    def level(cell):
        return 0.5 if cell.arm.model == "flat" else {"muon": 0.7}.get(cell.arm.optimizer, 0.2)

    lines = lines_of(measured(level, models=("flat", "aa")), bench)
    assert any(
        re.fullmatch(r"By model, muon is best, all others resolved as worse, for aa; undecided for flat.*\.", line)
        for line in lines
    )


def test_where_no_row_has_all_models_each_model_answers_for_itself(bench, measured):
    def level(cell):
        if (cell.arm.optimizer in ("muon", "gd")) == (cell.arm.model == "aa"):
            return {"gd": 0.2, "adamw": 0.3, "muon": 0.6, "sam": 0.31}[cell.arm.optimizer]
        return None

    lines = lines_of(measured(level, models=("aa", "bb", "cc")), bench)
    assert lines[0].endswith("no combination has a figure for all models yet, so none is best over all of them.")
    assert re.fullmatch(
        r"aa: muon \((59|60)\.\d ±0\.\d\) is first of those with records; 1 combination is resolved as worse\.",
        lines[1],
    )
    assert lines[2].startswith("bb: ") and "muon" not in lines[2]


def test_missing_and_full_and_diverged_rows_are_said(bench, measured):
    def outcome(cell):
        if cell.arm.optimizer == "sam":
            return "diverged"
        if cell.arm.optimizer == "gd":
            return "out_of_memory"
        return "diverged" if cell.arm.optimizer == "adamw" and cell.seed == 0 else "completed"

    optimizers = ("gd", "adamw", "muon", "sam", "lion")
    suite = measured(lambda cell: None if cell.arm.optimizer == "lion" else 0.5, optimizers, outcome=outcome)
    (line,) = [line for line in lines_of(suite, bench) if "Diverged" in line]
    assert line == (
        "Not ranked, records are missing: lion. Not ranked, out of memory: gd. Diverged, and last: sam. Diverged in "
        "part: adamw (1 of 6 runs); each such run counts as the worst there is."
    )


def test_rows_worse_at_the_level_of_ties_alone_are_not_counted_as_surely_worse(bench):
    """Five rows, six seeds: t = 4.2 is between the critical values 3.8 at 5% / 4 and 4.8 at 5% / 10."""
    suite = bench.suite(("muon", "lion", "sam", "adamw", "gd"), seeds=6)
    z = np.array([-5, -3, -1, 1, 3, 5.0])
    z /= z.std(ddof=1)
    levels = {"muon": 0.6, "sam": 0.2, "adamw": 0.1, "gd": 0.05}

    noise = stream(0, "unsure").normal(0, 0.002, size=(4, 6))

    def level(cell):
        muon = 0.6 + noise[0, cell.seed]
        if cell.arm.optimizer == "lion":
            return muon - 0.01 * (4.2 / math.sqrt(6) + z[cell.seed])
        place = list(levels).index(cell.arm.optimizer)
        return muon if place == 0 else levels[cell.arm.optimizer] + noise[place, cell.seed]

    bench.fill(suite, level)
    report = report_of(suite, bench.store)
    (ranking,) = report.answer.tables[0].rankings
    assert [row[0] for row in ranking.unsure] == ["lion"]
    strict, weak = "3 combinations are resolved as worse", "1 combination is resolved from it, but not at the level"
    assert f"; {strict}; {weak} that choosing the best of all asks." in report.answer.lines[0]


def test_one_row_with_one_seed_does_not_make_the_table_one_of_one_seed(bench, measured):
    levels = by_optimizer(gd=0.2, adamw=0.3, muon=0.9, sam=0.31)
    suite = measured(lambda cell: None if cell.arm.optimizer == "muon" and cell.seed else levels(cell))
    assert not [line for line in lines_of(suite, bench) if "one run of each" in line]


def test_on_a_cpu_peak_memory_is_the_whole_process_and_in_no_bill(bench, measured):
    levels = by_optimizer(gd=0.2, adamw=0.3, muon=0.6, sam=0.31)
    suite = measured(levels, device="cpu")
    report = report_of(suite, bench.store)
    (bill,) = [line for line in report.answer.lines if line.startswith("Against ")]
    assert "peak memory" not in bill and "times the optimizer state" in bill
    assert report.standings[0].fronts["memory"].price["m"] == "state_bytes"


def test_nothing_is_recommended_while_combinations_lack_records(bench, measured):
    levels = by_optimizer(gd=0.2, adamw=0.3, muon=0.9, lion=0.5)
    optimizers = ("gd", "adamw", "muon", "lion")
    suite = measured(lambda cell: None if cell.arm.optimizer == "lion" else levels(cell), optimizers)
    first = lines_of(suite, bench)[0]
    assert ": no answer yet, for 1 combination lacks records. Of the 3 with all of theirs, muon is first: 9" in first
    assert not [line for line in lines_of(suite, bench) if "use " in line]
    whole = lines_of(measured(levels, optimizers), bench)
    assert ": use the optimizer muon: 9" in whole[0]


def test_a_best_row_with_diverged_runs_has_no_bill(bench, measured):
    levels = by_optimizer(gd=0.2, adamw=0.3, muon=0.9, sam=0.31)
    suite = measured(
        levels, outcome=lambda cell: "diverged" if (cell.arm.optimizer, cell.seed) == ("muon", 0) else "completed"
    )
    lines = lines_of(suite, bench)
    assert "muon" in lines[0] and not any("times the FLOPs" in line for line in lines)


def test_likelihoods_with_a_diverged_run_do_not_make_ties_of_the_others(bench):
    """One infinite mean marks the others as tied, with nothing resolved."""
    suite = bench.suite(("adamw", "muon", "sam"), seeds=1)
    for cell in suite.cells():
        failed = cell.arm.optimizer == "sam"
        result = {} if failed else {"test_nll": 0.5 if cell.arm.optimizer == "muon" else 0.9}
        bench.write(cell, None, outcome="diverged" if failed else "completed", result=result)
    lines = lines_of(suite, bench)
    assert "muon happened to come first of 2: test_nll 0.500 nats (lower is better; 1 seed)" in lines[0]
    assert "Diverged, and last: sam." in lines


def test_a_row_with_an_infinite_mean_is_last_and_not_resolved_as_worse(bench):
    suite = bench.suite(("adamw", "muon", "sam"), seeds=3)
    suite.ranked_by = "test_nll"
    for cell in suite.cells():
        failed = (cell.arm.optimizer, cell.seed) == ("sam", 0)
        result = {} if failed else {"test_nll": 0.5 + 0.1 * ((cell.seed + len(cell.arm.optimizer)) % 3)}
        bench.write(cell, None, outcome="diverged" if failed else "completed", result=result)
    ranking = report_of(suite, bench.store).answer.tables[0].rankings[0]
    assert ranking.failed == (("sam", "uniform"),) and ranking.worse == () and len(ranking.tied) == 1
    assert "Diverged, and last: sam." in lines_of(suite, bench)


def test_everything_diverged_and_nothing_recorded(bench):
    suite = bench.suite(seeds=2)
    assert lines_of(suite, bench) == ["sums, 300 steps (1 model of 0.10M parameters): no records to answer from yet."]
    for cell in suite.cells():
        bench.write(cell, None, outcome="diverged")
    (line,) = lines_of(suite, bench)
    assert line.endswith("every run that has a record diverged, so nothing is best.")


def test_a_column_without_a_direction_has_no_best(bench):
    suite = bench.suite(seeds=3)
    suite.ranked_by = "colour"
    bench.fill(suite, lambda cell: 0.5, result={"colour": 1.0})
    (line,) = lines_of(suite, bench)
    assert line.endswith("ranked by colour, of which neither more nor less is better, so nothing is best.")


def test_each_task_and_budget_is_answered(bench, measured):
    suite = measured(
        by_optimizer(gd=0.2, adamw=0.3, muon=0.6, sam=0.31),
        tasks=("sums", "words"),
        budgets=({"steps": 300}, {"passes": 300}),
    )
    starts = [line.split(" (")[0] for line in lines_of(suite, bench) if ": use the" in line]
    assert starts == ["sums, 300 steps", "sums, 300 passes", "words, 300 steps", "words, 300 passes"]


def test_contended_times_are_left_out_and_said_to_be(bench):
    suite = bench.suite(("adamw", "muon"))
    for cell in suite.cells():
        bench.write(cell, 0.5, result={"flops": 1e9}, measured={"contended": cell.arm.optimizer == "adamw"})
    line = next(line for line in lines_of(suite, bench) if "FLOPs" in line or "compared" in line)
    assert "training time" not in line
    suite = bench.suite(("adamw", "muon"), tasks=("other",))
    for cell in suite.cells():
        better = cell.arm.optimizer == "muon"
        bench.write(cell, 0.5 + better * 0.2, result={"flops": 1e9}, measured={"contended": not better})
    assert "Against adamw, muon costs 1.00 times the FLOPs; times were not measured alone." in lines_of(suite, bench)


def test_four_models_are_answered_in_eight_lines(bench, measured):
    for spread, seeds in ((0.005, 6), (0.1, 3), (0.05, 1)):
        suite = measured(
            lambda cell: 0.3 + 0.1 * (cell.arm.optimizer == "muon") + 0.01 * len(cell.arm.model),
            models=("a", "bb", "ccc", "dddd"),
            strategies=("uniform", "upsample", "augment"),
            seeds=seeds,
            spread=spread,
        )
        lines = lines_of(suite, bench)
        assert 3 <= len(lines) <= 8
        assert all(line == line.strip() and line[-1] == "." and "\n" not in line for line in lines)


def test_the_sentences_claim_nothing_that_ties_do_not_allow(bench):
    """Random levels and spreads: 'use' only with support, 'resolved as worse' never of a row that is tied."""
    draws = stream(0, "property")
    seen = set()
    for trial in range(30):
        seeds = int(draws.integers(1, 6))
        levels = draws.choice([0.3, 0.32, 0.5], size=4)
        spread = float(draws.choice([0.002, 0.02, 0.1]))
        suite = bench.suite([f"opt{place}" for place in range(4)], tasks=(f"task{trial}",), seeds=seeds)
        for cell in suite.cells():
            bench.write(cell, float(levels[int(cell.arm.optimizer[3:])] + draws.normal(0, spread)))
        report = report_of(suite, bench.store)
        (table,) = report.standings
        text = " ".join(report.answer.lines)
        ranking = report.answer.tables[0].rankings[0]
        resolved = bool(table.tied["m"].any())
        worse = {row for row in table.mean.index if resolved and not table.tied["m"][row]}
        # Bold is the stronger claim.
        assert resolved or not table.supported["m"].any()
        assert set(ranking.worse) == worse
        assert set(ranking.candidates) == set(table.mean.index) - worse
        assert ranking.best == table.mean["m"].idxmax()
        supported = bool(table.supported["m"][ranking.best])
        assert ("resolved as worse" in text) == (": use the optimizer" in text) == supported
        assert set(ranking.unsure) <= worse
        weakly = bool(ranking.unsure) or (resolved and not supported)
        assert ("the level that choosing the best of all asks" in text) == weakly
        if not supported:
            assert not re.search(r"\bbetter\b|\bworse\b|\bbest,|\buse the optimizer\b", text)
        for row in ranking.tied:
            assert not re.search(rf"{row[0]}[^;.]*(better|worse)", text)
        seen.add((resolved, supported, seeds > 1))
    assert seen >= {(True, True, True), (False, False, True), (False, False, False)}


def test_a_best_row_that_is_not_bold_is_not_recommended(bench):
    """Four rows, six seeds: p = 0.013 is enough against the best alone (5% / 3), not among all six pairs (5% / 6)."""
    suite = bench.suite(("aa", "bb", "cc", "dd"), seeds=6)
    rows = {
        "aa": [0.06, 0.26, 0.09, 0.27, 0.05, 0.23],
        "bb": [0.0] * 6,
        "cc": [0.28, -0.22, 0.28, -0.12, 0.18, 0.08],
        "dd": [-0.3, 0.2, 0.1, 0.3, -0.2, 0.35],
    }
    for cell in suite.cells():
        bench.write(cell, 0.4 + rows[cell.arm.optimizer][cell.seed])
    (table,) = report_of(suite, bench.store).standings
    assert table.tied["m"].droplevel(1).to_dict() == {"aa": True, "bb": False, "cc": True, "dd": True}
    assert not table.supported["m"].any()
    lines = lines_of(suite, bench)
    assert "these records do not say what to use. aa has the best mean of 4, 56.0 ±" in lines[0]
    assert lines[1].endswith(
        "1 combination is resolved from it, but not at the level that choosing the best of all asks."
    )


def test_the_wider_half_width_covers_a_chosen_row_and_the_plain_one_does_not():
    """Ten equal rows, five seeds: the best of them by its own mean."""
    draws = stream(0, "chosen")
    values = draws.normal(size=(4000, 10, 5))
    means = values.mean(axis=2)
    best = means.argmax(axis=1)
    chosen = values[np.arange(4000), best]
    deviations = chosen.std(axis=1, ddof=1)
    plain = np.abs(chosen.mean(axis=1)) <= half_width(deviations, 5)
    wider = np.abs(chosen.mean(axis=1)) <= FIXED.half_width_chosen(0.0, deviations, 5, 10)
    assert plain.mean() < 0.9
    assert wider.mean() >= 0.95
    assert FIXED.half_width_chosen(0.0, 1.0, 5, 1) == half_width(1.0, 5)
    assert math.isinf(FIXED.half_width_chosen(0.0, 1.0, 1, 3))


def test_models_are_counted_by_size(bench):
    from dataclasses import replace

    arms = bench.suite(("adamw",), models=("a", "b")).arms
    assert models_text(arms) == "2 models of 0.10M parameters"
    assert models_text(arms[:1]) == "1 model of 0.10M parameters"
    sized = type(arms[0].model_spec)
    large = replace(arms[1], model_spec=sized(2_779_683_840))
    assert models_text([arms[0], large]) == "2 models of 0.10M to 2.78B parameters"
    assert models_text([replace(arms[0], model_spec=sized(40))]) == "1 model of 40 parameters"
    assert models_text([arms[0], replace(arms[1], model_spec=None)]) == "2 models (a, b)"

    class Absent:
        def dimensions(self):
            raise UserError("no config.json here")

    assert models_text([replace(arms[0], model_spec=Absent())]) == "1 model (a)"


def test_long_lists_are_cut():
    assert listed("abcd") == "a, b, c, d"
    assert listed("abcde") == "a, b, c and 2 more"


@pytest.mark.parametrize("format", ["table", "markdown", "latex"])
def test_names_stay_text_in_the_answer(bench, measured, format):
    suite = measured(lambda cell: 0.9 if cell.arm.optimizer == EVIL else 0.2, (EVIL, "muon"), models=(EVIL,))
    text = render(suite, bench.store, format, width=1000)
    line = next(line for line in text.splitlines() if "use the optimizer" in line)
    assert "\x1b" not in text
    if format == "markdown":
        assert r"=x\|y\_\*\[red\]\&\\cmd{\$}%\#\~^\<b\>\`" in line
    if format == "latex":
        assert r"=x\textbar{}y\_{*}{[}red{]}\&\textbackslash{}cmd\{\$\}\%\#\textasciitilde{}\textasciicircum{}" in line


def test_every_format_for_readers_says_the_answer_first(bench, measured):
    suite = measured(by_optimizer(gd=0.2, adamw=0.3, muon=0.6, sam=0.31))
    suite.contrasts.append(bench.contrast("muon", "adamw"))
    for format in ("table", "markdown", "latex"):
        text = render(suite, bench.store, format, width=300)
        places = [text.index(word) for word in ("use the optimizer muon", "muon minus adamw", "higher is better")]
        assert all(before < after for before, after in pairwise(places))


def test_json_has_the_answer_as_sentences_and_as_data(bench, measured):
    suite = measured(by_optimizer(gd=0.2, adamw=0.3, muon=0.597, sam=0.6), spread=0.02)
    answer = json.loads(render(suite, bench.store, "json"), parse_constant=lambda word: pytest.fail(word))["answer"]
    assert answer["lines"] == lines_of(suite, bench) == answer["tables"][0]["lines"]
    (ranking,) = answer["tables"][0]["rankings"]
    assert {ranking["best"]["optimizer"], ranking["not_resolved_from_best"][0]["optimizer"]} == {"muon", "sam"}
    assert {row["optimizer"] for row in ranking["resolved_as_worse"]} == {"gd", "adamw"}
    assert ranking["half_width_chosen"] > ranking["best"]["half_width"] > 0
    assert ranking["plan"]["difference"] == 0.01
    cost = answer["tables"][0]["cost"]
    assert cost["relative_to"] == {"optimizer": "adamw", "strategy": "uniform"}
    assert cost["compute"] == pytest.approx(COSTS[cost["optimizer"]])
    one = json.loads(render(measured(lambda cell: 0.5, seeds=1), bench.store, "json"))["answer"]["tables"][0]
    assert one["rankings"][0]["half_width_chosen"] is None and one["rankings"][0]["plan"] is None
