"""Built-in and installed optimizers, what each property is tried on, and what an examination leaves behind."""

import json
import random
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from examined import by_name, examine, failed, plugin, preset, spec, tried_alone

from optbench.conformance import subject as subjects
from optbench.conformance import surroundings
from optbench.conformance.boundary import Raised, foreign
from optbench.conformance.costs import _Noting
from optbench.conformance.examination import CHECKS
from optbench.conformance.finding import is_fit
from optbench.conformance.problem import Network, oracle, quadratic, trainable
from optbench.conformance.rates import named_rates, with_rates
from optbench.conformance.subject import Subject, apart, differing, same_bits
from optbench.conformance.updating import claimed
from optbench.errors import UserError
from optbench.optim.base import check_claims
from optbench.optim.estimators import Plain, SharpnessAware
from optbench.optim.specs import PRESETS, OptimizerSpec


def of(name):
    return OptimizerSpec.model_validate(PRESETS[name])


def checked(name, spec):
    (check,) = [check for check in CHECKS if check.name == name]
    return check.tried(Subject(spec, torch.float64))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_fit(name):
    findings = preset(name)
    assert is_fit(list(findings.values()))
    assert list(findings)[2:] == [check.name for check in CHECKS]
    assert not [finding for finding in findings.values() if not finding.passed]


@pytest.mark.parametrize(
    ("target", "fields", "known"),
    [
        ("pytorch_optimizer:MARS", {"options": {"lr_1d": 1e-3}}, set()),
        ("pytorch_optimizer:SOAP", {}, {"does not amplify rounding"}),
        (
            "pytorch_optimizer:ScheduleFreeAdamW",
            {"averages": True},
            {"rests at a factor of zero", "leaves p.grad alone"},
        ),
    ],
)
def test_published_optimizers_are_fit(target, fields, known):
    findings = by_name(examine(spec(target, **fields)))
    assert not failed(findings, required=True)
    assert failed(findings, required=False) == known
    # What depends on a basis that rounding turns is not compared up to rounding.
    turned = "does not amplify rounding" in known
    for name in ("is the same for a batch in parts", "ignores the order of parameters"):
        assert findings[name].detail.startswith("not told: last digits alone come to 0.") is turned


def test_two_rules_under_one_name_are_both_said():
    muon = {name: finding.detail for name, finding in preset("muon").items()}
    known = muon["is no known rule in disguise"]
    assert (
        "torch.optim.AdamW(lr=0.001, betas=(0.9, 0.999), weight_decay=0.0): 5 of 9 parameters (embedding, head, vector)"
        in known
    )
    assert (
        "torch.optim.Muon(lr=0.001, weight_decay=0.0, adjust_lr_fn=match_rms_adamw): 4 of 9 parameters (hidden)"
        in known
    )
    assert "(muon: 4 hidden; adamw: 1 embedding, 1 head, 3 vector)" in muon["claims every parameter once"]
    assert "hidden (tall): its orthogonalisation" in muon["treats hidden matrices alike"]
    assert "(lr, adamw_lr)" in muon["follows the schedule's factor"]


def test_an_examination_leaves_the_generators_as_they_were(monkeypatch):
    tried_alone(monkeypatch, "moves every parameter")
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    torch.set_grad_enabled(False)
    try:
        plugin.__wrapped__("unseeded_noise")
        plugin.__wrapped__("global_noise")
        assert not torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (str(np.random.get_state()), random.getstate())


@pytest.mark.parametrize(
    ("target", "fields", "words"),
    [
        ("torch.optim:Adm", {}, "has no torch optimizer 'Adm'; did you mean Adam"),
        ("torch.optim:SGD", {"options": {"momentun": 0.9}}, "refuses lr=0.001"),
        ("pytorch_optimizer:SOAP", {"options": {"weigth_decay": 0.1}}, "no option 'weigth_decay'; did you mean"),
    ],
)
def test_a_target_that_no_run_would_take_is_bad_input(target, fields, words):
    with pytest.raises(UserError, match=words):
        examine(spec(target, **fields))


def test_the_problem_has_every_role_and_gradients_everywhere():
    for tied in (False, True):
        network = Network(torch.float64, tied=tied)
        found = trainable(network)
        assert {p.role for p in found} == {"embedding", "hidden", "vector"} | (set() if tied else {"head"})
        assert "frozen" not in [p.name for p in found]
        for step in range(8):
            oracle(network, step).gradient()
            assert all(bool((p.tensor.grad != 0).all()) for p in found)
    assert network.frozen.untyped_storage().data_ptr() == network.mix.untyped_storage().data_ptr()


def test_the_quadratic_has_condition_number_ten_and_starts_away_from_its_minimum():
    parameters, curvatures, minima = quadratic(torch.float64)
    every = torch.cat([h.flatten() for h in curvatures])
    assert float(every.max() / every.min()) == pytest.approx(10.0)
    assert all(float((p.tensor.detach() - m).norm()) > 1 for p, m in zip(parameters, minima, strict=True))


def test_distances_are_over_the_movement_and_leave_rounding_out():
    start = {"a": torch.zeros(4, dtype=torch.float64), "b": torch.ones(4, dtype=torch.float64)}
    there = {name: value + 1.0 for name, value in start.items()}
    assert apart(there, there, start) == (0.0, "a")
    other = {**there, "b": there["b"] + 0.01}
    distance, where = apart(other, there, start)
    assert where == "b"
    assert distance == pytest.approx(0.01, rel=1e-6)
    assert apart({**there, "b": there["b"] * (1 + 1e-15)}, there, start)[0] == 0.0
    assert apart({**start, "b": there["b"]}, start, start)[0] == float("inf")
    assert apart({**there, "a": start["a"] * float("nan")}, there, start)[0] == float("inf")


def test_bits_tell_zeros_and_types_apart_and_take_nan_for_itself():
    one = torch.tensor([0.0, float("nan"), 2.0])
    assert same_bits(one, one.clone())
    assert not same_bits(one, torch.tensor([-0.0, float("nan"), 2.0]))
    assert not same_bits(one, one.double())
    assert differing({"a": one, "b": one}, {"a": one, "b": one + 1}) == ["b"]


def test_claims_that_leave_out_double_or_invent_are_named():
    parameters = trainable(Network(torch.float32))
    names = [p.name for p in parameters]
    assert claimed([("x", names[:4]), ("y", names[4:])], parameters).passed
    for claims, words in [
        ([("x", names[1:])], "claimed by nobody: mix"),
        ([("x", names), ("y", names[:2])], "claimed twice: mix, mix_bias"),
        ([("x", [*names, "ghost"])], "claimed without being there: ghost"),
    ]:
        outcome = claimed(claims, parameters)
        assert not outcome.passed
        assert words in outcome.detail
    check_claims(parameters, {"x": names})


def test_claims_are_judged_before_anything_is_trained(monkeypatch):
    from optbench.optim.torch_rule import TorchRule

    monkeypatch.setattr(TorchRule, "claims", lambda self: {"adamw": self._claims["adamw"][1:]})
    findings = examine(of("adamw"))
    assert [(found.name, found.passed) for found in findings] == [
        ("builds", True),
        ("claims every parameter once", False),
    ]


def test_rates_are_found_by_name_and_all_raised_together():
    muon = of("muon")
    assert named_rates(muon) == {"lr": 1e-3, "adamw_lr": 1e-3}
    mars = spec("pytorch_optimizer:MARS", options={"lr_1d": 0.01, "betas": [0.9, 0.99], "optimize_1d": True})
    assert named_rates(mars) == {"lr": 1e-3, "options.lr_1d": 0.01}
    raised = with_rates(mars, {"lr": 2e-3, "options.lr_1d": 0.02})
    assert (raised.rule.lr, raised.rule.options["lr_1d"]) == (2e-3, 0.02)
    assert raised.rule.options["betas"] == [0.9, 0.99]


@pytest.mark.parametrize(
    ("name", "declared", "passed"), [("plain", 1, True), ("plain", 2, False), ("plain", Fraction(1, 2), False)]
)
def test_passes_are_counted(name, declared, passed, monkeypatch):
    monkeypatch.setattr(Plain, "passes_per_step", declared)
    outcome = checked("counts the passes it declares", of("adamw"))
    assert outcome.passed is passed
    assert outcome.detail == f"1 passes over the batch per step, {float(declared):.3g} declared"


@pytest.mark.parametrize(
    "estimator",
    [{"refresh_every": 3}, {"ascent_fraction": 0.25}, {"functional": True, "refresh_every": 2}, {"functional": True}],
)
def test_passes_of_shifts_that_are_used_again_or_of_a_part_are_averages(estimator):
    built = OptimizerSpec.model_validate(
        {"estimator": {"kind": "sharpness_aware", **estimator}, "rule": {"kind": "gd"}}
    )
    outcome = checked("counts the passes it declares", built)
    assert outcome.passed, outcome.detail


def test_a_batch_in_parts_that_is_another_batch_is_seen(monkeypatch):
    monkeypatch.setattr(subjects, "oracle", lambda module, step, sizes: oracle(module, step + len(sizes) - 1, sizes))
    assert not checked("is the same for a batch in parts", of("adamw")).passed


def test_a_shift_under_radius_zero_is_seen(monkeypatch):
    monkeypatch.setattr(surroundings, "SharpnessAware", lambda rho: SharpnessAware(rho=0.1))
    assert not checked("is itself under SAM with rho 0", of("adamw")).passed


def test_a_preconditioner_that_breaks_the_shift_is_seen(monkeypatch):
    from optbench.optim import adam

    monkeypatch.setattr(adam, "precondition", lambda engine, tensors, given, damping: [g / 0 for g in given])
    outcome = checked("runs under every estimator", of("adamw"))
    assert not outcome.passed
    assert "under SAM (preconditioned)" in outcome.detail


def test_what_is_lent_has_the_shapes_of_the_parameters_and_moves_nothing(monkeypatch):
    from optbench.optim import adam

    monkeypatch.setattr(adam, "direction", lambda engine, tensors: [t[:1] for t in tensors])
    assert "its momentum has not the shapes" in checked("lends what it declares", of("adamw")).detail
    monkeypatch.setattr(adam, "direction", lambda engine, tensors: [t.detach().mul_(1.5) for t in tensors])
    outcome = checked("lends what it declares", of("adamw"))
    assert not outcome.passed
    assert "asking for what it lends moved" in outcome.detail


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (lambda t: float(t.sum()), "reads a number"),
        (lambda t: t.nonzero(), "asks which entries are not zero"),
        (lambda t: t[t > 0], "indexes by a mask"),
        (lambda t: torch.equal(t, t), "compares tensors on the host"),
    ],
)
def test_what_makes_the_host_wait_is_noted(does, words):
    noting = _Noting()
    noting.step = 7
    with noting:
        does(torch.rand(5))
        assert float(torch.tensor(7.0)) == 7.0
    assert list(noting.found) == [words]


def test_foreign_code_may_raise_anything_but_an_interruption(capsys):
    with pytest.raises(Raised, match=r"step 3 raised KeyError at test_examination.py:\d+: 'a'"), foreign("step 3"):
        {}["a"]
    with pytest.raises(Raised, match=r"step 1 raised ValueError at \S+: without a message"), foreign("step 1"):
        raise ValueError
    with pytest.raises(Raised) as caught, foreign("step 1"):
        raise RuntimeError("\n first\nsecond" + "x" * 1000)
    assert re.fullmatch(r"step 1 raised RuntimeError at \S+: first", str(caught.value))
    with pytest.raises(Raised) as caught, foreign("step 1"):
        raise RuntimeError("x" * 1000)
    assert len(str(caught.value)) < 320
    with pytest.raises(Raised, match=r"step 2 raised TypeError at test_examination.py:\d+: "), foreign("step 2"):
        json.loads(3)  # The line that is told is not the library's.
    with pytest.raises(KeyboardInterrupt), foreign("step 1"):
        raise KeyboardInterrupt
    with foreign("step 1"):
        print("what a plug-in says")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "what a plug-in says\n")
