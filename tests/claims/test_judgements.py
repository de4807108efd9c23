"""Claims over simulated records whose truth is known."""

import json
from textwrap import indent

import numpy as np
import pytest

from optbench.claims.claim import load_claims
from optbench.claims.evaluation import judge
from optbench.claims.rendering import json_text, markdown_text, table_text
from optbench.claims.words import deciding_text, reason_of
from optbench.reports.stats import power
from optbench.rng import stream

SEED_NOISE = 0.05


def simulated(gains, *, noise=0.005):
    """Seeds move all arms alike by `SEED_NOISE`; each arm has its gain and its own noise."""

    def value(cell):
        shared = stream(cell.seed, cell.arm.model).normal(0.0, SEED_NOISE)
        own = stream(cell.seed, f"{cell.arm.model} {cell.arm.optimizer}").normal(0.0, noise)
        return float(0.5 + shared + own + gains.get(cell.arm.optimizer, 0.0))

    return value


@pytest.mark.parametrize(
    ("gain", "where", "seeds", "verdict"),
    [
        (0.05, "above: 0", 12, "holds"),
        (-0.05, "below: 0", 12, "holds"),
        (0.0, "above: 0", 12, "no effect beyond the margin"),
        (0.0, "below: 0", 12, "no effect beyond the margin"),
        (-0.05, "above: 0", 12, "fails"),
        (0.012, "above: 0", 2, "undecided"),
        (0.05, "above: 0", 1, "undecided"),
    ],
)
def test_a_known_effect_gets_its_verdict(desk, gain, where, seeds, verdict):
    desk.fill(desk.suite(seeds), simulated({"sam": gain}))
    desk.claim(desk.test(where=where))
    assert desk.judged().verdict == verdict


@pytest.mark.parametrize(
    ("joint", "where", "margin", "gain", "verdict", "reason"),
    [
        ("minus: {optimizer: adamw}", "above: 0", 0.01, 0.0, "no effect beyond the margin", "all of the interval is"),
        ("minus: {optimizer: adamw}", "above: 0.05", 0.01, 0.05, "no effect beyond the margin", "at the threshold, wi"),
        ("", "above: 0.5", 0.04, 0.0, "no effect beyond the margin", "at the threshold, within the margin: all of the"),
        ("over: {optimizer: adamw}", "above: 1", 0.1, 0.0, "no effect beyond the margin", "all of the interval is wi"),
        ("over: {optimizer: adamw}", "above: 2", 0.1, 0.5, "no effect beyond the margin", "at the threshold, within "),
        ("over: {optimizer: adamw}", "above: 6", 0.5, 0.5, "fails", "all of the interval is below 6.5"),
    ],
)
def test_a_threshold_that_is_no_null_effect_is_not_called_one(desk, joint, where, margin, gain, verdict, reason):
    draws = simulated({"sam": gain})
    desk.fill(desk.suite(12), lambda cell: draws(cell) - stream(cell.seed, cell.arm.model).normal(0.0, SEED_NOISE))
    desk.claim(desk.test(joint=joint, where=where, margin=margin))
    finding = desk.judged().tests[0]
    assert finding.verdict == verdict
    assert reason_of(finding).startswith(reason)
    assert "other way" not in reason_of(finding)


def test_a_choice_that_holds_unadjusted_makes_a_contradicted_claim_underdetermined(desk):
    desk.fill(desk.suite(12), simulated({"functional_sam": 0.05}))
    desk.claim(desk.test(), choices=CHOICE.format(indent(desk.test(of="functional_sam"), "    ")))
    judgement = desk.judged()
    assert (judgement.tests[0].verdict, judgement.verdict) == ("no effect beyond the margin", "underdetermined")


def test_both_tests_must_hold(desk):
    desk.fill(desk.suite(12), simulated({"functional_sam": 0.05, "adamw": 0.05}))
    against_both = [desk.test(of="functional_sam", joint=f"minus: {{optimizer: {o}}}") for o in ("sam", "adamw")]
    desk.claim(*against_both)
    judgement = desk.judged()
    assert [finding.verdict for finding in judgement.tests] == ["holds", "no effect beyond the margin"]
    assert judgement.verdict == "no effect beyond the margin"
    assert judgement.shown is judgement.tests[1]


CHOICE = "choices:\n  - name: other arm\n    tests:\n{}"


def test_a_verdict_that_flips_with_a_choice_is_underdetermined(desk):
    desk.fill(desk.suite(12), simulated({"sam": 0.05, "functional_sam": -0.05}))
    choice = CHOICE.format(indent(desk.test(of="functional_sam"), "    "))
    desk.claim(desk.test(), choices=choice)
    judgement = desk.judged()
    assert judgement.verdict == "underdetermined"
    assert judgement.contradicting == (["the criterion"], ["other arm"])
    assert "holds for the criterion; contradicted for other arm" in table_text([judgement], width=200)


def test_a_choice_that_is_undecided_is_listed_and_does_not_flip(desk):
    suite = desk.suite(12)
    desk.fill(suite, simulated({"sam": 0.05}))
    few = desk.suite(1, name="few")
    desk.fill(few, simulated({"sam": 0.05}))
    choice = CHOICE.format(indent(desk.test(), "    ").replace("toy", "few"))
    desk.claim(desk.test(), choices=choice)
    judgement = desk.judged()
    assert judgement.verdict == "holds"
    assert [found.verdict for found in judgement.choices] == ["undecided"]


def test_other_claims_raise_the_bar(desk):
    """An effect that holds alone, at p = 0.02 or so, does not hold beside many."""
    desk.fill(desk.suite(4), simulated({"sam": 0.023}, noise=0.006))
    path = desk.claim(desk.test())
    alone = judge(load_claims([path]), desk.store)[0]
    assert alone.verdict == "holds"
    assert alone.tests[0].p == alone.tests[0].effect.p
    for other in range(30):
        desk.claim(desk.test(), name=f"claim{other}")
    beside = judge(load_claims([path.parent]), desk.store)[0]
    assert (beside.verdict, beside.tests[0].p) == ("undecided", pytest.approx(min(1, 31 * alone.tests[0].p)))
    assert "not beside the other 30 tests" in table_text([beside], width=300)


def test_an_effect_just_at_the_margin_holds_in_few_of_many_worlds(desk):
    """The criterion says `by more than`: at an effect of the margin itself, it is false."""
    suite = desk.suite(5)
    desk.claim(desk.test())
    claims, held = load_claims([desk.root / "claims"]), 0
    for world in range(40):
        for cell in suite.cells():
            noise = stream(cell.seed, f"{world} {cell.arm.name}").normal(0.0, 0.01)
            desk.write(cell, {"accuracy": float(0.5 + noise + 0.01 * (cell.arm.optimizer == "sam"))})
        held += judge(claims, desk.store)[0].verdict == "holds"
    assert held <= 4  # 1 expected


def test_the_seeds_that_would_decide_are_those_that_have_the_power(desk):
    desk.fill(desk.suite(3), simulated({"sam": 0.02}, noise=0.01))
    desk.claim(desk.test())
    finding = desk.judged().tests[0]
    assert finding.verdict == "undecided"
    beyond = finding.effect.estimate - 0.01
    needed = int(finding.seeds_needed)
    assert power(finding.effect.sd, beyond, needed) >= 0.8
    assert power(finding.effect.sd, beyond, needed - 1) < 0.8 or needed == 4
    # 2 models x 2 arms x 60 s on 2 workers are 2 minutes a seed.
    assert finding.minutes_needed == pytest.approx(2 * (needed - 3))


def test_json_has_the_promised_fields_and_numbers_in_the_unit_of_the_metric(desk):
    desk.fill(desk.suite(12), simulated({"sam": 0.05}))
    desk.claim(desk.test())
    judgement = desk.judged()
    content = json.loads(json_text([judgement]))
    assert list(content) == ["claims"]
    (claim,) = content["claims"]
    assert list(claim)[:8] == ["name", "source", "verdict", "interval", "n", "scale", "criterion", "rerun"]
    low, high = claim["interval"]
    assert 0.03 < low < claim["estimate"] < high < 0.07
    assert (claim["n"], claim["verdict"], claim["complete"]) == (12, "holds", True)
    assert claim["scale"] == "2 models of 0.10M parameters, arithmetic, 20 steps"
    command = f"optbench run {desk.root / 'toy.yaml'} --only optimizer=sam,optimizer=adamw"
    assert claim["rerun"] == {"command": command, "minutes": 24.0}  # 48 cells of a minute on two workers
    assert claim["tests"][0]["minus"] == {"optimizer": "adamw"}


def test_without_records_a_claim_is_undecided_and_says_what_to_run(desk):
    desk.suite(12)
    desk.claim(desk.test())
    (claim,) = json.loads(json_text([desk.judged()]))["claims"]
    assert (claim["verdict"], claim["interval"], claim["n"], claim["reason"]) == ("undecided", None, 0, "no records")
    assert claim["rerun"]["minutes"] is None
    assert claim["rerun"]["command"].startswith("optbench run ")


def test_a_scale_that_was_not_run_is_only_declared(desk):
    desk.claim(desk.test())
    scale = "2 models of 0.10M parameters, arithmetic, 20 steps"
    suite = desk.suite(2)

    def told():
        table = table_text([desk.judged()], width=200)
        return [line.strip() for line in table.splitlines() if scale in line], table, markdown_text([desk.judged()])

    lines, table, text = told()
    assert lines == [f"A: declared: {scale} (not run yet)", f"declared: {scale} (not run yet)"]
    assert "run here" not in table + text
    assert text.count("(not run yet)") == 2
    desk.fill(suite, lambda cell: 0.5 if cell.seed == 0 and cell.arm.optimizer != "adamw" else None)
    assert told()[0] == [f"A: {scale}", f"run here: {scale}"]


def test_a_row_names_the_test_that_its_figures_are_of(desk):
    desk.suite(2)
    both = "of: {{optimizer: {}, strategy: uniform}}"
    against = "minus: {{optimizer: {}, strategy: uniform}}"

    def named(*tests):
        desk.claim(*tests)
        return deciding_text(desk.judged())

    assert named(desk.test()) == "accuracy vs adamw"
    assert named(desk.test(joint="over: {optimizer: adamw}", where="above: 1")) == "accuracy over adamw"
    assert named(desk.test(joint="")) == "accuracy of sam"
    wide = desk.test(joint=against.format("adamw")).replace("of: {optimizer: sam}", both.format("sam"))
    assert named(wide) == "accuracy vs adamw"
    assert named(desk.test(), desk.test(of="functional_sam")) == "accuracy of sam vs adamw"
    assert " accuracy of sam vs adamw " in table_text([desk.judged()]).splitlines()[1]


def test_the_deciding_test_of_several_is_the_one_that_is_named(desk):
    desk.fill(desk.suite(12), simulated({"functional_sam": 0.05, "adamw": 0.05}))
    desk.claim(*[desk.test(of="functional_sam", joint=f"minus: {{optimizer: {o}}}") for o in ("sam", "adamw")])
    assert deciding_text(desk.judged()) == "accuracy vs adamw"


@pytest.mark.parametrize(
    ("gain", "joint", "where", "margin", "opposite"),
    [
        (-0.05, "minus: {optimizer: adamw}", "above: 0", 0.01, True),
        (0.05, "minus: {optimizer: adamw}", "below: 0", 0.01, True),
        (-0.2, "over: {optimizer: adamw}", "above: 1", 0.1, True),
        (0.05, "minus: {optimizer: adamw}", "above: 0.1", 0.01, False),
        (0.0, "", "above: 0.8", 0.04, False),
        (0.0, "minus: {optimizer: adamw}", "above: 0", 0.01, False),
        (0.05, "minus: {optimizer: adamw}", "above: 0", 0.01, False),
    ],
)
def test_an_effect_the_other_way_is_marked_in_the_table(desk, gain, joint, where, margin, opposite):
    desk.fill(desk.suite(12), simulated({"sam": gain}))
    desk.claim(desk.test(joint=joint, where=where, margin=margin))
    judgement = desk.judged()
    (claim,) = json.loads(json_text([judgement]))["claims"]
    assert claim["opposite"] is claim["tests"][0]["opposite"] is opposite
    assert "(opposite)" not in claim["verdict"]
    if opposite:
        assert claim["verdict"] == "fails"
    row = table_text([judgement]).splitlines()[1]
    assert row.startswith("claim ") and ("fails (opposite)" in row) is opposite


def test_a_failure_whose_interval_reaches_to_both_sides_of_0_is_not_opposite(desk):
    """[-1.2, +0.4] points: neither within 1 point of 0, nor all below 0."""
    desk.fill(desk.suite(12), lambda cell: 0.5 + (cell.arm.optimizer == "sam") * (0.012 * (-1) ** cell.seed - 0.004))
    desk.claim(desk.test())
    judgement = desk.judged()
    assert (judgement.verdict, judgement.is_opposite) == ("fails", False)
    assert judgement.shown.effect.low < -0.01 < 0 < judgement.shown.effect.high < 0.01


def test_a_bound_says_that_the_margin_is_in_it(desk):
    desk.fill(desk.suite(12), simulated({"sam": -0.05}))
    desk.claim(desk.test())
    assert reason_of(desk.judged().tests[0]).startswith("all of the interval is below +1.0 (the margin), and below 0")
    desk.claim(desk.test(where="above: 0.1"))
    assert reason_of(desk.judged().tests[0]) == "all of the interval is below +11.0 (the threshold and the margin)"


def test_a_command_repeats_runs_or_makes_them_and_stands_there_once(desk):
    suite = desk.suite(2)
    same = CHOICE.format(indent(desk.test(metric="test_nll", where="below: 0"), "    "))
    other = indent(desk.test(of="functional_sam"), "    ")
    desk.claim(desk.test(), choices=f"{same}  - name: third\n    tests:\n{other}")
    command = desk.judged().rerun.command

    def commands():
        lines = [line.strip() for line in table_text([desk.judged()]).splitlines()]
        return [line for line in lines if "optbench run" in line]

    assert commands()[1] == f"to run all that is declared: {command}"
    desk.fill(suite, lambda cell: 0.5 if cell.seed == 0 else None)
    assert commands()[1] == f"to run all that is declared (about 4 minutes from nothing): {command}"
    desk.fill(suite, simulated({}))
    assert commands()[1] == f"to repeat the runs so far (about 4 minutes): {command}"
    assert len(commands()) == 2
    assert "functional_sam" in commands()[0]


def test_texts_of_files_are_shown_and_not_run(desk):
    desk.suite(2)
    path = desk.claim(desk.test())
    path.write_text(path.read_text().replace("quotation: better", 'quotation: "<b>|x\\e[31m"'))
    judgement = desk.judged()
    assert "\x1b" not in table_text([judgement]) + markdown_text([judgement])
    assert r"\<b\>\|x" in markdown_text([judgement])


def test_a_command_is_one_line(desk):
    desk.suite(2)
    desk.claim(desk.test())
    judgement = desk.judged()
    assert any(line.endswith(judgement.rerun.command) for line in table_text([judgement], width=60).splitlines())


def test_every_table_says_what_a_verdict_speaks_of(desk):
    desk.fill(desk.suite(3), simulated({}))
    desk.claim(desk.test())
    judgements = [desk.judged()]
    for text in (" ".join(table_text(judgements).split()), markdown_text(judgements)):
        assert "speaks of the scale in its row and of no other" in text
        assert "2 models of 0.10M parameters" in text


def test_intervals_cover_the_truth(desk):
    """At n = 3, with noise of seeds: 95 of 100, by the pairing that cancels what seeds share."""
    suite = desk.suite(3)
    desk.claim(desk.test())
    claims, covered = load_claims([desk.root / "claims"]), []
    for world in range(60):
        for cell in suite.cells():
            shared = stream(cell.seed, f"{world} {cell.arm.model}").normal(0.0, SEED_NOISE)
            own = stream(cell.seed, f"{world} {cell.arm.name}").normal(0.0, 0.01)
            desk.write(cell, {"accuracy": float(0.5 + shared + own + 0.02 * (cell.arm.optimizer == "sam"))})
        effect = judge(claims, desk.store)[0].tests[0].effect
        covered.append(effect.low < 0.02 < effect.high)
    assert np.mean(covered) >= 0.88  # 60 worlds
