"""Effects against slow references: loops over seeds and pairs, and scipy's own t test."""

import math

import numpy as np
import pytest
from scipy import stats

from optbench.claims.rendering import table_text
from optbench.rng import stream

SPREAD = {"phi-nano": 1.0, "llama-nano": 3.0}


def value(cell, *, gain=0.05):
    """Differs by model, seed and optimizer, with some noise in all of them."""
    draw = stream(cell.seed, f"{cell.arm.model} {cell.arm.optimizer}").normal(0.0, 0.02)
    return 0.5 * SPREAD[cell.arm.model] + 0.01 * cell.seed + draw + gain * (cell.arm.optimizer == "sam")


def by_seed(suite, number):
    """number(of, minus) averaged over models, by loops."""
    cells = {(cell.arm.model, cell.arm.optimizer, cell.seed): value(cell) for cell in suite.cells()}
    return [
        np.mean([number(cells[model, "sam", seed], cells[model, "adamw", seed]) for model in SPREAD])
        for seed in suite.seeds
    ]


FORMS = [
    ("minus: {optimizer: adamw}", "above: 0", 0.01, lambda of, minus: of - minus, lambda x: x),
    ("over: {optimizer: adamw}", "above: 1", 0.02, lambda of, minus: math.log(of / minus), math.exp),
    ("over: {optimizer: adamw}", "below: 1", 0.02, lambda of, minus: math.log(of / minus), math.exp),
    ("", "above: 0.9", 0.05, lambda of, minus: of, lambda x: x),
    ("", "below: 0.9", 0.05, lambda of, minus: of, lambda x: x),
]


@pytest.mark.parametrize(("joint", "where", "margin", "number", "back"), FORMS)
def test_estimate_interval_and_p_are_those_of_a_loop_and_of_scipy(desk, joint, where, margin, number, back):
    suite = desk.suite(seeds=7)
    desk.fill(suite, value)
    desk.claim(desk.test(joint=joint, where=where, margin=margin))
    finding = desk.judged().tests[0]
    numbers = by_seed(suite, number)
    low, high = stats.t.interval(0.95, 6, np.mean(numbers), stats.sem(numbers))
    test, effect = finding.test, finding.effect
    assert test.shown(effect.estimate) == pytest.approx(back(np.mean(numbers)))
    assert sorted((test.shown(effect.low), test.shown(effect.high))) == pytest.approx([back(low), back(high)])
    word, threshold = where.split(": ")
    up = word == "above"
    bound = float(threshold) + (margin if up else -margin)
    reference = stats.ttest_1samp(
        numbers, math.log(bound) if "over" in joint else bound, alternative="greater" if up else "less"
    )
    assert effect.p == pytest.approx(reference.pvalue)
    assert (effect.n, effect.pairs, effect.pairs_declared) == (7, 2, 2)


def test_a_seed_or_a_model_that_lacks_records_does_not_enter(desk):
    suite = desk.suite(seeds=5)
    desk.claim(desk.test())
    desk.fill(suite, lambda cell: None if (cell.arm.optimizer, cell.seed) == ("sam", 2) else value(cell))
    effect = desk.judged().tests[0].effect
    assert (effect.n, effect.seeds_declared, effect.pairs) == (4, 5, 2)


def test_a_missing_model_is_told_in_pairs_and_in_the_scale(desk):
    suite = desk.suite(seeds=5)
    desk.claim(desk.test())
    desk.fill(suite, lambda cell: None if cell.arm.model == "phi-nano" else value(cell))
    judgement = desk.judged()
    assert (judgement.tests[0].effect.pairs, judgement.tests[0].effect.pairs_declared) == (1, 2)
    assert judgement.scale == "1 model of 0.10M parameters, arithmetic, 20 steps"
    assert not judgement.is_complete


def test_a_diverged_cell_counts_as_the_worst_accuracy(desk):
    suite = desk.suite(seeds=3)
    desk.claim(desk.test())
    desk.fill(suite, value)
    for cell in suite.cells():
        if (cell.arm.optimizer, cell.arm.model, cell.seed) == ("sam", "phi-nano", 0):
            desk.write(cell, {}, outcome="diverged")
    numbers = by_seed(suite, lambda of, minus: of - minus)
    lost = next(value(c) for c in suite.cells() if (c.arm.optimizer, c.arm.model, c.seed) == ("sam", "phi-nano", 0))
    numbers[0] -= lost / 2
    effect = desk.judged().tests[0].effect
    assert effect.estimate == pytest.approx(np.mean(numbers))
    assert effect.diverged == 1


@pytest.mark.parametrize(
    ("values", "test", "reason"),
    [
        (lambda cell: None, {}, "no records"),
        (lambda cell: {"test_nll": 1.0}, {}, "no seed at which any pair of arms has accuracy"),
        (lambda cell: 0.5, {}, "all seeds give the same number, which leaves no spread to judge by"),
        # Sums in another order: what rounding leaves is no spread.
        (
            lambda cell: 0.3 + (cell.arm.optimizer == "sam") * (2 + cell.seed % 2) * math.ulp(0.3),
            {},
            "all seeds give the same number, which leaves no spread to judge by",
        ),
        (
            lambda cell: 0.3 + (cell.arm.optimizer == "sam") * (2 + cell.seed % 2) * math.ulp(0.3),
            {"joint": "over: {optimizer: adamw}", "where": "above: 1"},
            "all seeds give the same number, which leaves no spread to judge by",
        ),
        (lambda cell: value(cell) if cell.seed == 0 else None, {}, "one seed has no interval"),
        (
            lambda cell: value(cell) - 3,
            {"joint": "over: {optimizer: adamw}", "where": "above: 1"},
            "a ratio of accuracy needs values above 0",
        ),
    ],
)
def test_why_there_is_no_evidence(desk, values, test, reason):
    desk.fill(desk.suite(seeds=3), values)
    desk.claim(desk.test(**test))
    finding = desk.judged().tests[0]
    assert (finding.verdict, finding.effect.obstacle) == ("undecided", reason)


def test_runs_that_never_come_to_have_the_metric_leave_the_test_undecided(desk):
    """Where the slowest runs have no ratio, those that are left would say that it fell."""
    suite = desk.suite(seeds=8)
    desk.claim(desk.test(metric="last_first_ratio", joint="over: {optimizer: adamw}", where="below: 1", margin=0.05))

    def found(cell):
        ratio = {"last_first_ratio": (10.0 if cell.arm.optimizer == "adamw" else 5.0) + 0.1 * value(cell)}
        censored = cell.arm.optimizer == "sam" and cell.seed < 3
        return {"never_learned_directions": float(censored), **({} if censored else ratio)}

    desk.fill(suite, found)
    judgement = desk.judged()
    (finding,) = judgement.tests
    assert (finding.verdict, judgement.verdict, finding.effect.undetermined) == ("undecided", "undecided", 6)
    assert finding.effect.obstacle == (
        "last_first_ratio does not exist at 6 of 32 runs (it is left out where the panel eigen_directions cannot "
        "determine it; see their notes)"
    )
    assert math.isnan(finding.p)  # and the family of Holm is no smaller for it
    text = table_text([judgement], width=300)
    assert "some runs are there and do not have the metric" in text and "no record yet" not in text


def test_a_panel_that_did_not_look_yet_or_looked_at_other_arms_is_no_censoring(desk):
    suite = desk.suite(seeds=8)
    desk.claim(desk.test(metric="last_first_ratio", joint="over: {optimizer: adamw}", where="below: 1", margin=0.05))

    def found(cell):
        if cell.seed == 0:
            return {"test_loss": 0.1}
        if cell.arm.optimizer == "functional_sam":
            return {"never_learned_directions": 1.0}
        ratio = (10.0 if cell.arm.optimizer == "adamw" else 5.0) + 0.1 * value(cell)
        return {"never_learned_directions": 0.0, "last_first_ratio": ratio}

    desk.fill(suite, found)
    judgement = desk.judged()
    effect = judgement.tests[0].effect
    assert (judgement.verdict, effect.n, effect.missing, effect.undetermined) == ("holds", 7, 4, 0)
    assert "have no record yet" in table_text([judgement], width=300)


@pytest.mark.parametrize(
    ("sam", "adamw", "reason"),
    [
        ("nothing", "ratio", "no records of sam"),
        ("ratio", "nothing", "no records of adamw"),
        ("loss", "nothing", "no records of adamw"),
        ("loss", "ratio", "no record of sam has last_first_ratio, which the panel eigen_directions finds"),
        ("ratio", "loss", "no record of adamw has last_first_ratio, which the panel eigen_directions finds"),
        ("loss", "loss", "no record has last_first_ratio, which the panel eigen_directions finds"),
        ("nothing", "nothing", "no records"),
    ],
)
def test_what_is_missing_is_named(desk, sam, adamw, reason):
    desk.claim(desk.test(metric="last_first_ratio", joint="over: {optimizer: adamw}", where="below: 1", margin=0.05))
    found = {"nothing": None, "loss": {"test_loss": 0.1}, "ratio": {"last_first_ratio": 2.0}}
    desk.fill(desk.suite(seeds=3), lambda cell: found[{"sam": sam, "adamw": adamw}.get(cell.arm.optimizer, "ratio")])
    assert desk.judged().tests[0].effect.obstacle == reason


def test_a_run_that_diverged_before_a_panel_could_look_leaves_the_test_undecided(desk):
    suite = desk.suite(seeds=8)
    desk.claim(desk.test(metric="learned", joint="", where="below: 9", margin=0.05))
    desk.fill(suite, lambda cell: {"learned": value(cell)})
    assert desk.judged().verdict == "holds"
    cell = next(cell for cell in suite.cells() if cell.arm.optimizer == "sam")
    desk.write(cell, {}, outcome="diverged")
    assert desk.judged().verdict == "undecided"
    assert desk.judged().tests[0].effect.obstacle == "learned does not exist at 1 of 16 runs (1 diverged)"


def test_a_diverged_cell_has_no_finite_loss(desk):
    suite = desk.suite(seeds=3)
    desk.fill(suite, lambda cell: {"test_nll": value(cell)})
    desk.write(suite.cells()[0], {}, outcome="diverged")
    desk.claim(desk.test(metric="test_nll", where="below: 0"))
    assert desk.judged().tests[0].effect.obstacle == "a diverged cell has no finite test_nll"


def test_times_taken_beside_other_cells_are_no_evidence(desk):
    suite = desk.suite(seeds=4)
    desk.claim(desk.test(metric="step_seconds", joint="over: {optimizer: adamw}", where="above: 1", margin=0.1))

    def fill(*contended):
        for cell in suite.cells():
            slow = 3.0 if cell.arm.optimizer == "sam" else 1.0
            desk.write(
                cell, {}, measured={"step_seconds": slow + 0.01 * cell.seed}, contended=cell.arm.optimizer in contended
            )

    for contended in (("adamw", "sam"), ("adamw",), ("sam",)):
        fill(*contended)
        judgement = desk.judged()
        assert judgement.verdict == "undecided"
        assert "beside other running cells" in judgement.tests[0].effect.obstacle
    fill()
    assert desk.judged().verdict == "holds"
    desk.write(suite.cells()[0], {}, measured={"step_seconds": 9.0}, contended=True)
    judgement = desk.judged()
    assert (judgement.verdict, judgement.tests[0].effect.n) == ("holds", 3)
    assert "*: some declared seeds or pairs of arms do not enter." in table_text([judgement], width=300)
