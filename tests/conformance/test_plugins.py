"""Every trap is seen, by the property that it breaks and no other; what is right passes."""

import pytest
from examined import PLUGINS, by_name, examine, failed, plugin, spec, target

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
    "adamw_by_hand": (set(), {KNOWN}, "same numbers as torch.optim.AdamW(betas=(0.9, 0.95), eps=1e-08, weight_decay="),
    "sign_descent": (set(), set(), ""),
    "one_norm": (set(), set(), ""),
    "own_noise": (set(), {ORDER, MEMORY}, "numbers are drawn for one after the other"),
    "float32_only": (set(), set(), ""),
    "state_beside": ({RESUMES}, {MEMORY}, "what the next step needs is not all in its state"),
    "state_in_object": ({RESUMES}, {MEMORY}, "cannot be saved without pickle: rule.engines[0].state.0.momentum is a"),
    "rate_read_once": ({FACTOR, ZERO}, {DESCENDS, KNOWN}, "1, 0.5, 1, 0.25 and a constant factor of 1 give the same"),
    "first_factor": ({FACTOR, ZERO}, {KNOWN}, "a constant factor of 1 give the same mix, mix_bias, tall"),
    "compounding": ({FACTOR}, {DESCENDS, KNOWN}, "the factor is not applied to the base rate, or it compounds"),
    "undamped_decay": ({ZERO}, set(), "a factor of 0 at step 1 moves mix, mix_bias"),
    "global_noise": (set(), {GENERATORS, ORDER}, "from the global generator of torch: dropout then draws other masks"),
    "buffer_overwritten": (set(), {ARITHMETIC}, "norm 1 under bfloat16 weights and 7."),
    "first_parameter_only": ({MOVES, USES}, {ALIKE, ORDER, DESCENDS}, "did not move mix_bias, tall, wide, square,"),
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


def test_a_decay_of_the_whole_memory_reaches_the_frozen_neighbour():
    findings = plugin("whole_memory")
    assert ELSE in failed(findings, required=True)
    assert "a frozen parameter that was not given changed by up to" in findings[ELSE].detail


def test_noise_that_no_seed_reaches_is_not_repeated():
    findings = plugin("unseeded_noise")
    assert {REPEATS, RESUMES} <= failed(findings, required=True)
    assert "generator of Python" in findings[GENERATORS].detail
    assert "no checkpoint keeps those" in findings[GENERATORS].detail


def test_state_of_a_class_is_seen_where_its_module_is_imported_once(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    counted = by_name(examine(spec("shared_count:SharedCount")))
    assert {INSTANCES, REPEATS} <= failed(counted, required=True)
    assert "instances share state, at class level or in their module" in counted[INSTANCES].detail
    listed = by_name(examine(spec("shared_list:SharedList")))
    assert {ELSE, INSTANCES} <= failed(listed, required=True)
    assert "steps of one instance changed the parameters of another: mix" in listed[ELSE].detail


def test_averages_are_evaluated_where_the_spec_says_so():
    findings = plugin("averaging", averages=True)
    assert not failed(findings, required=True)
    assert "evaluated at other weights than it trains" in findings[EVALUATED].detail
    forgotten = plugin("averaging")
    assert failed(forgotten, required=True) == {EVALUATED}
    assert "set averages: true" in forgotten[EVALUATED].detail


def test_an_evaluation_has_to_give_the_weights_back():
    findings = plugin("loses_weights", averages=True)
    assert failed(findings, required=True) == {EVALUATED}
    assert "after an evaluation the weights are elsewhere by" in findings[EVALUATED].detail


def test_an_error_in_a_step_is_the_finding_of_every_property_that_steps():
    findings = plugin("matrices_only")
    words = "step 1 raised RuntimeError: expected a matrix, got (6,)"
    assert findings[MOVES].detail == words
    assert findings[DESCENDS].detail == "descending a quadratic raised RuntimeError: expected a matrix, got (5,)"
    assert findings["builds"].passed
    assert {MOVES, USES, FACTOR, RESUMES, SAM} <= failed(findings, required=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exits", "building it raised SystemExit: 0; nothing else was tried"),
        ("fails_to_import", "building it raised ZeroDivisionError: division by zero; nothing else was tried"),
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
