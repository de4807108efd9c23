"""Every trap is seen, by the property that it breaks and no other; what is right passes."""

import pytest
import torch
from examined import PLUGINS, by_name, examine, failed, plugin, spec, target, tried_alone

from optbench.conformance.likeness import differs_from_known_rules
from optbench.conformance.rates import follows_the_factor
from optbench.conformance.subject import PATIENCE, Subject

MOVES, USES = "moves every parameter", "uses the gradient"
FACTOR, ZERO = "follows the schedule's factor", "rests at a factor of zero"
RESUMES, REPEATS, INSTANCES = "resumes bit for bit", "repeats bit for bit", "instances are independent"
ELSE, NO_GRADIENT, EVALUATED = "touches nothing else", "bears a gradient of zero", "is evaluated at the right weights"
SAM = "is itself under SAM with rho 0"
ALIKE, GRAD, GENERATORS = "treats hidden matrices alike", "leaves p.grad alone", "leaves the global generators"
ORDER, MEMORY, WAITS = "ignores the order of parameters", "states its memory", "never waits for the device"
DESCENDS, ARITHMETIC, KNOWN = (
    "descends a quadratic",
    "keeps its arithmetic in every type",
    "is no known rule in disguise",
)
ROUNDING = "does not amplify rounding"

CASES = {
    # name: what is required and fails, what is worth knowing, words of the first detail.
    "adamw_by_hand": (set(), {KNOWN}, "as torch.optim.AdamW(lr=0.001, betas=(0.9, 0.95), eps=1e-08, weight_decay="),
    "one_norm": (set(), set(), ""),
    "own_noise": (set(), {ORDER, MEMORY}, "numbers are drawn for one after the other"),
    "float32_only": (set(), set(), ""),
    "state_beside": ({RESUMES}, {MEMORY, KNOWN}, "what the next step needs is not all in its state"),
    "state_in_object": ({RESUMES}, {MEMORY}, "cannot be saved without pickle: rule.engines[0].state.0.momentum is a"),
    "rate_read_once": ({FACTOR, ZERO}, {DESCENDS, KNOWN}, "0.75, 0.25 and a constant factor of 1 give the same"),
    "first_factor": ({FACTOR, ZERO}, {KNOWN}, "a constant factor of 1 give the same mix, mix_bias, tall"),
    "compounding": ({FACTOR}, {DESCENDS, KNOWN}, "it would be, so that earlier factors are kept, or compound"),
    "decoupled_decay": (set(), set(), ""),
    "in_turns": (set(), {ORDER}, ""),
    "looks_first": (set(), set(), ""),
    "late_and_deaf": ({FACTOR, ZERO}, {DESCENDS}, "a factor of 0 at step 11 moves mix"),
    "undamped_decay": ({ZERO}, set(), "a factor of 0 at step 1 moves mix, mix_bias"),
    "global_noise": (set(), {GENERATORS, ORDER}, "from the global generator of torch: dropout then draws other masks"),
    "buffer_overwritten": (set(), {ARITHMETIC}, "norm 1 under bfloat16 weights and 7."),
    "first_parameter_only": (
        {MOVES, USES},
        {ALIKE, ORDER, DESCENDS},
        "100 steps with gradients everywhere did not move mix_bias,",
    ),
    "forgets_biases": ({MOVES, USES}, {DESCENDS}, "did not move mix_bias, gain, head.bias, mix_bias (tied head)"),
    "decays_only": ({USES}, {DESCENDS}, "the same weights, bit for bit, in mix_bias, gain, head.bias"),
    "gradient_scaled": (set(), {GRAD}, "p.grad is written over in embedding.weight, gain"),
    "square_only": (
        set(),
        {ALIKE},
        "hidden (square): its orthogonalisation, vector: its sign, hidden (tall): its",
    ),
    "divides_by_norm": ({NO_GRADIENT}, set(), "with a gradient of zero from the first step on mix, mix_bias"),
    "reads_numbers": (set(), {WAITS}, "in a step it reads a number 9 times"),
    "by_position": (set(), {ORDER}, "with the parameters in the opposite order"),
    "ascends": (set(), {DESCENDS}, "at none of 6 rates from 0.01 to 1000 times its own"),
    "grows": (set(), {MEMORY}, "and 10720 after 4 steps: its state grows"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_defect_and_nothing_else_is_found(name):
    findings = plugin(name)
    required, known, words = CASES[name]
    assert failed(findings, required=True) == required
    assert failed(findings, required=False) == known
    details = " ".join(found.detail for found in findings.values() if not found.passed)
    assert words in details, details
    assert all(found.detail and "Traceback" not in found.detail for found in findings.values())


def tried(check, name, dtype=torch.float64):
    return check(Subject(spec(target(name)), dtype))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("decoupled_decay", "from equal weights and gradients each step is its factor times the step at a factor of 1"),
        ("half_scheduled", "step 2 at a factor of 0.5 is not 0.5 times that at 1, by 0.4"),
        ("half_scheduled", "the factor does not scale all of a step; 2 times the base rate (lr)"),
        ("decoupled_compounding", "step 3 at a factor of 0.75 is not 0.75 times that at 1, by 0.5"),
        (
            "decoupled_compounding",
            "after steps at 1 it would be, so that earlier factors are kept, or compound; 2 times",
        ),
        (
            "ignores_the_rate",
            "2 times the base rate (lr) changes no step of mix, mix_bias, tall, wide, square, gain and",
        ),
    ],
)
def test_the_factor_alone_may_scale_each_step_where_nothing_else_does(name, words):
    outcome = tried(follows_the_factor, name)
    assert outcome.passed is (name == "decoupled_decay")
    assert words in outcome.detail
    assert tried(follows_the_factor, name, torch.float32).passed is outcome.passed


def test_what_moves_late_is_waited_for_and_tried_as_long():
    assert "moved within 9 steps (head.bias moved in the last of them), root" in plugin("in_turns")[MOVES].detail
    late = plugin("looks_first")
    assert "moved within 11 steps (mix moved in the last of them), root" in late[MOVES].detail
    assert "two runs of 12 steps" in late[REPEATS].detail or "two runs of 11 steps" in late[REPEATS].detail
    assert f"{PATIENCE} steps with gradients everywhere did not move" in plugin("forgets_biases")[MOVES].detail


def test_the_largest_entries_alone_may_move(monkeypatch):
    tried_alone(monkeypatch, MOVES, USES, FACTOR, ZERO, RESUMES)
    findings = by_name(examine(spec(target("largest_entries"))))
    assert not failed(findings, required=True)
    assert "moved within " in findings[MOVES].detail


def test_a_disguise_is_seen_at_any_rate_but_at_one_for_all_parameters():
    assert "torch.optim.SGD(lr=0.0001, momentum=0.9, nesterov=False): all" in plugin("state_beside")[KNOWN].detail
    assert "torch.optim.SGD(lr=0.001): 1 of 9 parameters (hidden)" in plugin("by_position")[KNOWN].detail
    assert "of none of torch's AdamW" in plugin("ascends")[KNOWN].detail
    for dtype in (torch.float64, torch.float32):
        halved = tried(differs_from_known_rules, "half_rate", dtype)
        assert not halved.passed
        assert "torch.optim.AdamW(lr=0.0005, betas=(0.9, 0.95), weight_decay=0.0): all parameters" in halved.detail


def test_a_decay_of_the_whole_memory_reaches_the_frozen_neighbour(monkeypatch):
    tried_alone(monkeypatch, ELSE)
    findings = by_name(examine(spec(target("whole_memory"))))
    assert ELSE in failed(findings, required=True)
    assert "a frozen parameter that was not given changed by up to" in findings[ELSE].detail


def test_noise_that_no_seed_reaches_is_not_repeated(monkeypatch):
    tried_alone(monkeypatch, REPEATS, RESUMES, GENERATORS)
    findings = by_name(examine(spec(target("unseeded_noise"))))
    assert {REPEATS, RESUMES} <= failed(findings, required=True)
    assert "generator of Python" in findings[GENERATORS].detail
    assert "no checkpoint keeps those" in findings[GENERATORS].detail


def test_state_of_a_class_is_seen_where_its_module_is_imported_once(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    tried_alone(monkeypatch, ELSE, INSTANCES, REPEATS)
    counted = by_name(examine(spec("shared_count:SharedCount")))
    assert {INSTANCES, REPEATS} <= failed(counted, required=True)
    assert "instances share state, at class level or in their module" in counted[INSTANCES].detail
    listed = by_name(examine(spec("shared_list:SharedList")))
    assert {ELSE, INSTANCES} <= failed(listed, required=True)
    assert "steps of one instance changed the parameters of another: mix" in listed[ELSE].detail


def test_averages_are_evaluated_where_the_spec_says_so(monkeypatch):
    findings = plugin("averaging", averages=True)
    assert not failed(findings, required=True)
    assert "evaluated at other weights than it trains" in findings[EVALUATED].detail
    tried_alone(monkeypatch, MOVES, RESUMES, EVALUATED)
    forgotten = by_name(examine(spec(target("averaging"))))
    assert failed(forgotten, required=True) == {EVALUATED}
    assert "set averages: true" in forgotten[EVALUATED].detail


def test_an_evaluation_has_to_give_the_weights_back(monkeypatch):
    tried_alone(monkeypatch, MOVES, REPEATS, RESUMES, EVALUATED)
    findings = by_name(examine(spec(target("loses_weights"), averages=True)))
    assert failed(findings, required=True) == {EVALUATED}
    assert "after an evaluation the weights are elsewhere by" in findings[EVALUATED].detail


def test_an_error_in_a_step_is_the_finding_of_every_property_that_steps():
    findings = plugin("matrices_only")
    words = "step 1 raised RuntimeError at matrices_only.py:15: expected a matrix, got (6,)"
    assert findings[MOVES].detail == words
    assert (
        findings[DESCENDS].detail
        == "descending a quadratic raised RuntimeError at matrices_only.py:15: expected a matrix, got (5,)"
    )
    assert findings["builds"].passed
    assert {MOVES, USES, FACTOR, RESUMES, SAM} <= failed(findings, required=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exits", "building it raised SystemExit at exits.py:11: 0; nothing else was tried"),
        (
            "fails_to_import",
            "building it raised ZeroDivisionError at fails_to_import.py:5: division by zero; nothing else was tried",
        ),
    ],
)
def test_what_does_not_build_is_one_finding(name, words, capsys):
    (found,) = examine(spec(target(name)))
    assert (found.name, found.required, found.passed, found.detail) == ("builds", True, False, words)
    assert capsys.readouterr().out == ""


def test_what_refuses_a_parameter_says_which():
    (found,) = examine(spec("torch.optim:Muon"))
    assert not found.passed
    assert "Muon only supports 2D parameters" in found.detail
