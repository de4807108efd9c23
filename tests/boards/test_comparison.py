"""A suite beside a board, with answers worked out by hand."""

import itertools
import math
from dataclasses import replace

import pytest
from boards.conftest import BOARD, HEAD, rows
from reports.conftest import Model

from optbench.errors import UserError

INF = float("inf")
ADAMW = [2.0, 2.1, 2.2]
MUON = [1.9, 1.95, 2.12]


def line(found, name):
    return next(each for each in found.lines if each.name == name)


def test_gains_by_hand(stand):
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}))
    gain = line(found, "muon").ours.gain
    # Differences 0.10, 0.15, 0.08: mean 0.11, sd sqrt(0.0026 / 2); t(0.975, 2) = 4.302653.
    assert gain.absolute == pytest.approx(0.11)
    assert gain.absolute_half_width == pytest.approx(4.302653 * math.sqrt(0.0013) / math.sqrt(3), rel=1e-6)
    relative = [0.10 / 2.0, 0.15 / 2.1, 0.08 / 2.2]
    assert gain.relative == pytest.approx(sum(relative) / 3)
    spread = math.sqrt(sum((share - sum(relative) / 3) ** 2 for share in relative) / 2)
    assert gain.relative_half_width == pytest.approx(4.302653 * spread / math.sqrt(3), rel=1e-6)
    assert (gain.n, gain.resolved) == (3, True)
    assert line(found, "muon").ours.mean == pytest.approx(1.99)
    theirs = line(found, "muon").theirs.gain
    assert theirs.absolute == pytest.approx(0.3)
    assert theirs.relative == pytest.approx(0.1)
    assert theirs.resolved is None
    assert line(found, "muon").verdict == "agree"
    assert [each.verdict for each in found.lines] == ["reference", "agree"]


def test_a_worse_one_has_a_negative_gain_and_may_disagree(stand):
    found = stand.compare(stand.suite({"adamw": MUON, "muon": ADAMW}))
    assert line(found, "muon").ours.gain.absolute == pytest.approx(-0.11)
    assert line(found, "muon").verdict == "disagree"


def test_higher_is_better_here(stand):
    found = stand.compare(stand.suite({"adamw": [0.5, 0.5], "muon": [0.6, 0.7]}, metric="accuracy"))
    gain = line(found, "muon").ours.gain
    assert (gain.absolute, gain.relative) == (pytest.approx(0.15), pytest.approx(0.3))
    assert line(found, "muon").verdict == "agree"


def test_higher_is_better_there(stand):
    board = BOARD.replace("direction: lower", "direction: higher")
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}), board)
    assert line(found, "muon").theirs.gain.absolute == pytest.approx(-0.3)
    assert line(found, "muon").verdict == "disagree"


def test_many_optimizers_share_one_level(stand):
    """With Holm over six optimizers, 0.11 +- 0.09 is no longer resolved."""
    names = ["a", "b", "c", "d", "e"]
    values = {"adamw": ADAMW, "muon": MUON, **{name: [2.0, 2.2, 2.1] for name in names}}
    gain = line(stand.compare(stand.suite(values)), "muon").ours.gain
    assert gain.p < 0.05
    assert gain.p_holm == pytest.approx(min(1.0, 6 * gain.p))
    assert not gain.resolved


def test_one_seed_resolves_nothing(stand):
    gain = line(stand.compare(stand.suite({"adamw": [2.0], "muon": [1.0]})), "muon").ours.gain
    assert gain.absolute_half_width == INF
    assert not gain.resolved


def test_models_are_averaged_seed_by_seed(stand):
    values = {
        "adamw": {"m": [2.0, 2.2], "w": [4.0, 4.2]},
        "muon": {"m": [1.9, 2.0], "w": [3.7, 3.8]},
    }
    suite = stand.suite(values, models=("m", "w"))
    found = stand.compare(suite)
    # Means over models: 3.0, 3.2 and 2.8, 2.9; gains 0.2 and 0.3.
    gain = line(found, "muon").ours.gain
    assert gain.absolute == pytest.approx(0.25)
    assert gain.relative == pytest.approx((0.2 / 3.0 + 0.3 / 3.2) / 2)
    assert line(found, "adamw").ours.mean == pytest.approx(3.1)
    one = stand.compare(suite, model="m")
    assert line(one, "muon").ours.gain.absolute == pytest.approx(0.15)
    assert one.ours.models == ("m",)


def test_a_seed_that_lacks_a_cell_is_in_no_mean(stand):
    found = stand.compare(stand.suite({"adamw": [*ADAMW, 9.0], "muon": [*MUON, None]}))
    assert line(found, "muon").ours.gain.n == 3
    assert line(found, "muon").ours.gain.absolute == pytest.approx(0.11)


def test_an_optimizer_without_records_is_undetermined(stand):
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": [None, None, None]}))
    assert (line(found, "muon").verdict, line(found, "muon").why) == ("undetermined", "no seed is complete here")


def test_uniform_unless_said(stand):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON}, strategies=("upsample", "uniform"))
    for cell in suite.cells():
        if cell.arm.strategy == "upsample":
            stand.record(cell, {"adamw": 1.0, "muon": 3.0}[cell.arm.optimizer] + cell.seed * 0.1)
    assert stand.compare(suite).ours.strategy == "uniform"
    assert line(stand.compare(suite), "muon").ours.gain.absolute == pytest.approx(0.11)
    assert line(stand.compare(suite, strategy="upsample"), "muon").ours.gain.absolute == pytest.approx(-2.0)
    with pytest.raises(UserError, match="--strategy upsampl: .*did you mean upsample"):
        stand.compare(suite, strategy="upsampl")
    with pytest.raises(UserError, match="--model q: "):
        stand.compare(suite, model="q")


def test_strategies_without_uniform_are_chosen(stand):
    suite = stand.suite({"adamw": ADAMW}, strategies=("upsample", "augment"))
    with pytest.raises(UserError, match="no strategy `uniform`; choose one with --strategy: upsample, augment"):
        stand.compare(suite)
    alone = stand.suite({"adamw": ADAMW}, strategies=("augment",))
    assert stand.compare(alone).ours.strategy == "augment"


@pytest.mark.parametrize(
    "axis", [{"tasks": ("sums", "words")}, {"budgets": ({"steps": 10}, {"steps": 20})}], ids=["tasks", "budgets"]
)
def test_tasks_and_budgets_are_never_averaged(stand, axis):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON}, **axis)
    with pytest.raises(UserError, match="which are not averaged: choose one, as in --only"):
        stand.compare(suite)


def test_a_diverged_likelihood_is_worse_than_any(stand):
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": [1.9, INF, 2.1]}, metric="test_loss"))
    muon = line(found, "muon")
    assert muon.ours.gain.absolute == -INF
    assert (muon.ours.mean, muon.ours.diverged, muon.ours.cells) == (INF, 1, 3)
    assert (muon.verdict, muon.ours.gain.resolved) == ("disagree", False)


def test_a_diverged_reference_is_beaten(stand):
    found = stand.compare(stand.suite({"adamw": [2.0, INF], "muon": [1.9, 2.1]}))
    assert line(found, "muon").ours.gain.absolute == INF
    assert line(found, "muon").verdict == "agree"
    both = stand.compare(stand.suite({"adamw": [INF, INF], "muon": [INF, INF]}))
    assert (line(both, "muon").verdict, line(both, "muon").why) == ("undetermined", "both diverged here")


def test_a_diverged_accuracy_counts_as_zero(stand):
    suite = stand.suite({"adamw": [0.5, 0.5], "muon": [0.6, INF]}, metric="accuracy")
    assert line(stand.compare(suite), "muon").ours.gain.absolute == pytest.approx(-0.2)


def test_a_reference_of_zero_has_a_sign_and_no_ratio(stand):
    suite = stand.suite({"adamw": [0.0, 0.1, 0.12, 0.11], "muon": [0.3, 0.35, 0.33, 0.36]}, metric="accuracy")
    found = stand.compare(suite, rows(AdamW=0.0, Muon=-0.5))
    muon = line(found, "muon")
    assert (muon.verdict, muon.ours.gain.resolved) == ("agree", True)
    assert muon.ours.gain.absolute == pytest.approx(0.2525) and math.isnan(muon.ours.gain.relative)
    assert (muon.theirs.gain.absolute, muon.theirs.gain.sign) == (0.5, 1) and math.isnan(muon.theirs.gain.relative)
    assert line(stand.compare(suite, rows(AdamW=0.0, Muon=0.5)), "muon").verdict == "disagree"


@pytest.mark.parametrize("state", ["diverged", "not reached"])
def test_what_did_not_get_there_is_worse_there(stand, state):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON})
    found = stand.compare(suite, rows(AdamW=3.0, Muon=f"{{state: {state}}}"))
    assert line(found, "muon").theirs.gain.relative == -INF
    assert line(found, "muon").verdict == "disagree"
    found = stand.compare(suite, rows(AdamW=f"{{state: {state}}}", Muon=3.0))
    assert line(found, "muon").verdict == "agree"
    found = stand.compare(suite, rows(AdamW=f"{{state: {state}}}", Muon=f"{{state: {state}}}"))
    assert (line(found, "muon").verdict, line(found, "muon").why) == ("undetermined", "no gain there")


def test_equal_there_is_no_sign(stand):
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}), rows(AdamW=3.0, Muon=3.0))
    assert (line(found, "muon").verdict, line(found, "muon").why) == ("undetermined", "equal there")
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": ADAMW}))
    assert (line(found, "muon").verdict, line(found, "muon").why) == ("undetermined", "equal here")


def test_the_error_of_reading_of_both_figures_counts(stand):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON})
    text = rows(AdamW=3.028, Muon=3.024).replace("grade: published", "grade: digitised\nuncertainty: 0.002")
    gain = line(stand.compare(suite, text), "muon").theirs.gain
    assert gain.reading == pytest.approx(0.004)
    assert gain.resolved is False  # 0.004 apart, read to 0.002 each
    gain = line(stand.compare(suite, text.replace("3.024", "3.023")), "muon").theirs.gain
    assert gain.resolved is None


def test_a_stated_spread_resolves(stand):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON})
    text = rows(AdamW="{value: 3.28, n: 4}", Muon="{value: 3.278, n: 9}")
    text = text.replace("grade: published", "grade: published\nsigma: 0.0013\nsigma_from: the rules")
    gain = line(stand.compare(suite, text), "muon").theirs.gain
    width = 1.959964 * 0.0013 * math.sqrt(1 / 4 + 1 / 9)
    assert gain.half_width == pytest.approx(width, rel=1e-6)
    assert width == pytest.approx(0.00153, abs=1e-5)
    assert gain.resolved is True
    gain = line(stand.compare(suite, text.replace("3.278", "3.279")), "muon").theirs.gain
    assert gain.resolved is False
    read = text.replace("sigma: 0.0013", "sigma: 0.0013\nuncertainty: 0.0005")
    gain = line(stand.compare(suite, read), "muon").theirs.gain
    assert (gain.half_width, gain.resolved) == (pytest.approx(width + 0.001), False)
    unknown = text.replace(", n: 9", "")
    assert line(stand.compare(suite, unknown), "muon").theirs.gain.resolved is None


@pytest.mark.parametrize(
    ("bound", "direction", "value", "sign"),
    [
        ("more than", "lower", 6, -1),  # takes more than 6 times: surely worse
        ("at least", "lower", 6, -1),
        ("less than", "lower", 0.5, 1),
        ("more than", "lower", 0.5, 0),  # may be anything from 0.5
        ("at most", "lower", 6, 0),
        ("at most", "higher", 0.9, -1),
        ("at least", "higher", 1.1, 1),
        ("at most", "higher", 1.1, 0),
        ("exactly", "higher", 1.1, 1),
        ("about", "lower", 1.1, -1),
    ],
)
def test_bounds_leave_a_sign_open_or_not(stand, bound, direction, value, sign):
    text = rows(Muon=f"{{value: {value}, bound: {bound}}}").replace(
        "about: 10 M", "form: ratio, relative_to: AdamW, about: 10 M"
    )
    text = text.replace("direction: lower", f"direction: {direction}")
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}), text)
    gain = line(found, "muon").theirs.gain
    assert gain.sign == sign
    assert gain.relative == pytest.approx(value - 1 if direction == "higher" else 1 - value)
    assert line(found, "muon").verdict == {0: "undetermined", 1: "agree", -1: "disagree"}[sign]


def test_a_percentage_is_a_gain_already(stand):
    text = rows(Muon="{value: 18, bound: at most}").replace(
        "about: 10 M", "form: gain, relative_to: AdamW, about: 10 M"
    )
    text = text.replace("direction: lower", "direction: higher")
    gain = line(stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}), text), "muon").theirs.gain
    assert gain.relative == pytest.approx(0.18)
    assert math.isnan(gain.absolute)
    assert gain.sign == 0
    # Relative to something else it is no gain over AdamW.
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}), text.replace("to: AdamW", "to: the same data"))
    assert line(found, "muon").theirs.gain is None
    assert not found.theirs.has_reference


def test_ratios_to_another_than_the_reference(stand):
    text = rows(AdamW=1.1, Muon=0.9).replace("about: 10 M", "form: ratio, relative_to: SGD, about: 10 M")
    gain = line(stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}), text), "muon").theirs.gain
    assert gain.relative == pytest.approx(0.2 / 1.1)


def test_no_adamw_on_either_side(stand):
    found = stand.compare(stand.suite({"sgd": ADAMW, "muon": MUON}))
    assert line(found, "muon").ours.gain is None
    assert (line(found, "muon").verdict, line(found, "muon").why) == ("undetermined", "no gain here")
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}), rows(SGD=3.0, Muon=2.0))
    assert not found.theirs.has_reference
    assert (line(found, "muon").verdict, line(found, "muon").why) == ("undetermined", "no gain there")


def test_another_reference(stand):
    suite = stand.suite({"sgd": ADAMW, "muon": MUON})
    found = stand.compare(suite, rows(SGD=3.0, Muon=2.0), reference="SGD")
    assert line(found, "muon").ours.gain.absolute == pytest.approx(0.11)
    assert line(found, "muon").theirs.gain.absolute == pytest.approx(1.0)
    assert line(found, "sgd").verdict == "reference"


def test_a_variant_stands_for_a_name_where_the_board_says_so(stand):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON})
    assert stand.compare(suite, rows(AdamW=3.0, **{"D-Muon": 2.9})).only_theirs == ["D-Muon"]
    board = rows(AdamW=3.0, X=2.9).replace("method: X", "method: D-Muon, stands_for: Muon, because: the only one")
    assert line(stand.compare(suite, board), "muon").theirs.row.method == "D-Muon"


def test_pairs_by_hand(stand):
    suite = stand.suite({"adamw": ADAMW, "muon_tuned": MUON, "muon": ADAMW})
    found = stand.compare(suite, pairs={"muon_tuned": "Muon"})
    assert line(found, "muon_tuned").theirs.row.method == "Muon"
    assert [each.name for each in found.lines] == ["adamw", "muon_tuned"]
    assert found.only_ours == ["muon"]
    for pairs, message in (
        ({"muon_tund": "Muon"}, "no optimizer of the suite is 'muon_tund'; did you mean muon_tuned"),
        ({"muon_tuned": "Muo"}, "no method of the board is 'Muo'; did you mean Muon"),
        ({"muon_tuned": "Muon", "muon": "Muon"}, "muon of the board is paired twice"),
    ):
        with pytest.raises(UserError, match=message):
            stand.compare(suite, pairs=pairs)


def test_a_paired_reference(stand):
    found = stand.compare(
        stand.suite({"adamw": ADAMW, "muon": MUON}), rows(NAdamW=3.0, Muon=2.0), pairs={"adamw": "NAdamW"}
    )
    assert line(found, "muon").theirs.gain.absolute == pytest.approx(1.0)
    assert line(found, "adamw").verdict == "reference"


def test_two_spellings_in_one_suite_are_refused(stand):
    suite = stand.suite({"adamw": ADAMW, "AdamW": ADAMW})
    with pytest.raises(UserError, match="adamw and AdamW of the suite are both 'adamw'"):
        stand.compare(suite)


def test_the_column_that_shares_most_names(stand):
    board = (
        HEAD
        + """\
settings: {first: {about: a}, second: {about: b}, third: {about: c, direction: neither}}
rows:
  - {method: AdamW, figures: {first: 1.0, second: 2.0, third: 3.0}}
  - {method: Muon, figures: {second: 3.0, third: 3.0}}
  - {method: Lion, figures: {third: 3.0}}
"""
    )
    suite = stand.suite({"adamw": ADAMW, "muon": MUON, "lion": MUON})
    found = stand.compare(suite, board)
    assert (found.theirs.setting.name, found.other_columns) == ("second", ["first"])
    assert stand.compare(suite, board, column="first").theirs.setting.name == "first"
    with pytest.raises(UserError, match="no setting is for comparing"):
        stand.compare(suite, BOARD.replace("direction: lower", "direction: neither"))


def test_metrics_without_a_better_direction_are_refused(stand):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON})
    with pytest.raises(UserError, match="--metric test_los: .*did you mean test_loss"):
        stand.compare(suite, metric="test_los")
    with pytest.raises(UserError, match="--metric tokens: "):
        stand.compare(suite, metric="tokens")


def test_a_suite_without_records(stand):
    with pytest.raises(UserError, match="no records of the suite toy in .*optbench run"):
        stand.compare(stand.suite({"adamw": [None], "muon": [None]}))


def test_times_beside_other_cells_are_not_judged(stand):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON})
    for cell in suite.cells():
        seconds = {"adamw": 1.0, "muon": 2.0}[cell.arm.optimizer] + 0.01 * cell.seed * len(cell.arm.optimizer)
        stand.record(cell, 2.0, measured={"step_seconds": seconds, "contended": True})
    gain = line(stand.compare(suite, metric="step_seconds"), "muon").ours.gain
    assert gain.p_holm < 0.05
    assert gain.contended and not gain.resolved


FIVE = {"adamw": 3.0, "muon": 2.6, "soap": 2.7, "lion": 3.1, "mars": 2.8}


def ranked(stand, here, there, **board):
    suite = stand.suite({name: [value, value + 0.01] for name, value in here.items()})
    return stand.compare(suite, rows(**there), **board)


def brute_force(here, there):
    """tau-b by its definition, from all pairs."""
    concordant = discordant = ties_here = ties_there = 0
    for a, b in itertools.combinations(here, 2):
        product = (here[a] - here[b]) * (there[a] - there[b])
        concordant += product > 0
        discordant += product < 0
        ties_here += here[a] == here[b]
        ties_there += there[a] == there[b]
    pairs = len(here) * (len(here) - 1) / 2
    tau = (concordant - discordant) / math.sqrt((pairs - ties_here) * (pairs - ties_there))
    return tau, concordant, discordant


@pytest.mark.parametrize("there", [*itertools.islice(itertools.permutations([1.0, 2.0, 2.0, 4.0, 5.0]), 0, 120, 11)])
def test_tau_is_that_of_a_count_over_all_pairs(stand, there):
    there = dict(zip(FIVE, there, strict=True))
    rank = ranked(stand, FIVE, there).rank
    tau, concordant, discordant = brute_force(FIVE, there)
    assert rank.tau == pytest.approx(tau)
    assert (rank.concordant, rank.discordant, rank.tied) == (concordant, discordant, 1)


def test_tau_knows_which_way_is_better(stand):
    # The same order of numbers, and the other of merit.
    board = rows(**FIVE).replace("direction: lower", "direction: higher")
    suite = stand.suite({name: [value, value + 0.01] for name, value in FIVE.items()})
    assert stand.compare(suite, board).rank.tau == pytest.approx(-1)
    assert stand.compare(suite, rows(**FIVE)).rank.tau == pytest.approx(1)
    assert stand.compare(suite, rows(**FIVE)).rank.p == pytest.approx(2 / 120)


def test_four_names_have_no_tau(stand):
    four = {name: value for name, value in FIVE.items() if name != "mars"}
    found = ranked(stand, four, FIVE)
    assert found.rank is None
    assert found.rank_names == ["adamw", "muon", "soap", "lion"]


def test_what_has_no_place_is_in_no_order(stand):
    found = ranked(stand, FIVE, {**FIVE, "mars": "{value: 2.8, bound: at most}"})
    assert found.rank is None and "mars" not in found.rank_names
    about = ranked(stand, FIVE, {**FIVE, "mars": "{value: 2.8, bound: about}"})
    assert about.rank.tau == pytest.approx(1)


def test_who_did_not_get_there_is_last(stand):
    worst = ranked(stand, {**FIVE, "lion": 9.0}, {**FIVE, "lion": "{state: diverged}"})
    assert worst.rank.tau == pytest.approx(1)
    suite = stand.suite({**{name: [value] for name, value in FIVE.items()}, "lion": [INF]})
    assert stand.compare(suite, rows(**FIVE)).rank.tau == pytest.approx(1)


def test_all_equal_has_no_order(stand):
    assert math.isnan(ranked(stand, FIVE, dict.fromkeys(FIVE, 3.0)).rank.tau)


def test_pairs_within_the_error_of_reading_are_counted(stand):
    there = {"adamw": 3.000, "muon": 3.004, "soap": 3.009, "lion": 3.1, "mars": 3.2}
    text = rows(**there).replace("grade: published", "grade: digitised\nuncertainty: 0.002")
    suite = stand.suite({name: [value] for name, value in FIVE.items()})
    assert stand.compare(suite, text).rank.blurred == 1
    assert stand.compare(suite, rows(**there)).rank.blurred == 0


def test_records_of_two_devices_are_refused(stand):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON})
    stand.record(suite.cells()[0], 2.0, provenance={"device_type": "cuda"})
    with pytest.raises(UserError, match="different types of device"):
        stand.compare(suite)


def test_the_scales_of_both_sides(stand):
    suite = stand.suite({"adamw": {"m": ADAMW, "w": ADAMW}, "muon": {"m": MUON, "w": MUON}}, models=("m", "w"))
    arms = [replace(arm, model_spec=Model(500_000)) if arm.model == "w" else arm for arm in suite.arms]
    moved = replace(suite, arms=arms)
    for cell in moved.cells():
        stand.record(cell, 2.0)
    scale = stand.compare(moved).scale
    assert (scale.parameters, scale.tokens, scale.batch_tokens) == ((1e5, 5e5), 1e6, 1e4)
    assert scale.devices == ("a processor",)


def test_a_reference_that_nobody_has_is_refused(stand):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON})
    with pytest.raises(UserError, match="--reference nope: neither the suite nor the board has it"):
        stand.compare(suite, reference="nope")


def test_a_cost_never_meets_a_score_unasked(stand):
    """A setting with a metric of its own is not chosen unasked, and is refused without --metric."""
    extra = BOARD.replace("settings:", "settings:\n  price: {about: x, metric: time, unit: s, direction: lower}", 1)
    priced = extra.replace("figures: {", "figures: {price: 1.0, ")
    suite = stand.suite({"adamw": ADAMW, "muon": MUON})
    assert stand.compare(suite, priced).theirs.setting.name != "price"
    with pytest.raises(UserError, match="--column price: is time, and the suite's score is test_loss"):
        stand.compare(suite, priced, column="price")
    assert stand.compare(suite, priced, column="price", metric="test_loss").theirs.setting.name == "price"
