"""What is tuned: spaces of the suite, of rules and estimators, of plug-ins; and values that are refused beforehand."""

import math
import textwrap
from pathlib import Path

import pytest

from optbench.errors import UserError
from optbench.optim.estimators import Plain, SharpnessAware
from optbench.optim.rules import RULES
from optbench.optim.rules.torch_optimizer import TorchOptimizer
from optbench.optim.search import Choice, Range
from optbench.optim.specs import PRESETS
from optbench.suite import load_suite
from optbench.tuning.edges import edge_of, edges_of
from optbench.tuning.engine import tune
from optbench.tuning.overrides_file import overrides_of
from optbench.tuning.record import Study, Trial
from optbench.tuning.space import changes_of, paths_of, value_of, with_values
from optbench.tuning.study import studies_of

OPTIMIZERS = "optimizers: [{preset: gd, rule: {lr: 0.1}}, adamw, sam]"
SPACES = "  spaces:"


def studies(path):
    return studies_of(load_suite(path))


def refused(path):
    with pytest.raises(UserError) as error:
        studies(path)
    return str(error.value)


@pytest.mark.parametrize("spec", [RULES["gd"], RULES["adamw"], RULES["muon"], Plain, SharpnessAware])
def test_what_is_declared_beside_code_names_fields_and_holds_their_defaults(spec):
    for name, dimension in spec.SEARCH.items():
        default = spec.model_fields[name].default
        if isinstance(dimension, Range):
            assert dimension.low <= default <= dimension.high
            assert dimension.log
        else:
            assert (list(default) if isinstance(default, tuple) else default) in dimension.values


def test_presets_are_tuned_in_what_is_declared_beside_their_code(suite_file):
    presets = f"optimizers: [{', '.join(PRESETS)}]"
    path = suite_file((OPTIMIZERS, presets))
    text = path.read_text()
    path.write_text(
        text[: text.index(SPACES)].replace("linear-attention", "llama-nano").replace("test_loss", "test_nll")
    )
    path.write_text(
        path.read_text().replace("{preset: icl-regression, train: 64, validation: 16, test: 64}", "arithmetic")
    )
    found = {study.optimizer: study for study in studies(path)}
    assert {study.declared_by for study in found.values()} == {"rule"}
    assert set(found["muon"].space) == {"rule.lr", "rule.adamw_lr", "rule.momentum"}
    assert set(found["sam"].space) == {"rule.lr", "rule.betas", "rule.weight_decay", "estimator.rho"}
    assert found["sam"].incumbent["rule.betas"] == [0.9, 0.999]
    assert set(found["gd"].space) == {"rule.lr", "rule.momentum"}


def test_a_suite_names_all_that_is_tuned(suite_file):
    more = "    - {optimizer: '*', space: {max_norm: {low: 0.1, high: 10}}}\n"
    more += "    - optimizer: 's?m'\n      space:\n        rule.lr: {values: [0.1, 0.2]}\n"
    more += "        training.schedule.warmup: {low: 0.0, high: 0.5, log: false}\n"
    gd, adamw, sam = studies(suite_file(more=more))
    assert set(adamw.space) == {"rule.lr", "max_norm"}, "without betas and weight decay, which are declared by the rule"
    assert adamw.declared_by == "suite"
    assert sam.space["rule.lr"] == Choice(values=[0.1, 0.2]), "the last one that names it decides"
    assert set(sam.space) == {"rule.lr", "estimator.rho", "max_norm", "training.schedule.warmup"}
    assert sam.incumbent == {"rule.lr": 0.001, "estimator.rho": 0.05, "training.schedule.warmup": 0.05}, (
        "inf is left out"
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "{space: {rule.lrr: {low: 1, high: 2}}}",
            "space.rule.lrr: gd has no such field to tune; did you mean rule.lr?",
        ),
        ("{optimizer: smm, space: {rule.lr: {low: 1, high: 2}}}", "no optimizer of this suite is named 'smm'; did you"),
        ("{optimizer: adamw, space: {estimator.rho: {low: 1, high: 2}}}", "adamw has no such field to tune; allowed: "),
        ("{space: {training.batch_size: {low: 1, high: 2}}}", "gd has no such field to tune"),
        ("{space: {rule.kind: {values: [gd, adamw]}}}", "gd has no such field to tune"),
        ("{space: {rule: {values: [gd, adamw]}}}", "gd has no such field to tune"),
        ("{space: {rule.lr: {low: 2, high: 1}}}", "space.rule.lr: low 2 is not below high 1"),
        ("{space: {rule.lr: {low: 0, high: 1}}}", "space.rule.lr: low 0: with log: true it has to be above 0"),
        ("{space: {rule.lr: {low: 1}}}", "space.rule.lr.high is missing"),
        ("{space: {rule.lr: {values: [1]}}}", "space.rule.lr.values"),
        ("{space: {rule.lr: {values: [1, .inf]}}}", "finite"),
        ("{space: {rule.lr: 3}}", "space.rule.lr must be a mapping, not 3"),
        ("{space: {}}", "space"),
    ],
)
def test_spaces_that_cannot_be_are_refused_at_their_line(suite_file, entry, message):
    path = suite_file(more=f"    - {entry}\n")
    said = refused(path)
    line = path.read_text().splitlines().index(f"    - {entry}") + 1
    assert said.startswith(f"{path}:{line}: tuning.spaces[3].")
    assert message in said


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("trials: 0", "trials must be at least 1, not 0"),
        ("score: test_los", "score is 'test_los'; did you mean test_loss?"),
        ("score: tokens", "score is 'tokens'; allowed:"),
        ("seeds: [0]", "seeds[0] has 0, which is a seed of the suite"),
        ("per: [seed]", "per[0]"),
        ("trails: 3", "tuning.trails is unknown; did you mean trials?"),
    ],
)
def test_a_block_that_cannot_be_is_refused_at_its_line(suite_file, block, message):
    path = suite_file(("  trials: 8\n  score: test_loss\n", f"  {block}\n"))
    line = path.read_text().splitlines().index(f"  {block}") + 1
    said = refused(path)
    assert f"{path}:{line}: tuning." in said
    assert message in said


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{optimizer: gd, space: {rule.momentum: {low: 0.5, high: 1.0}}}", "rule.momentum must be less than 1, not 1"),
        ("{optimizer: gd, space: {rule.nesterov: {values: [true, false]}}}", "nesterov needs a momentum above 0"),
        ("{optimizer: adamw, space: {rule.lr: {values: [0.1, fast]}}}", "rule.lr must be a number, not 'fast'"),
        ("{optimizer: adamw, space: {rule.betas: {values: [0.1, 0.2]}}}", "rule.betas must be a list, not 0.1"),
        ("{optimizer: sam, space: {estimator.refresh_every: {low: 1, high: 4.5}}}", "must be a whole number, not 4.5"),
        ("{optimizer: sam, space: {estimator.ascent: {low: 1, high: 4}}}", "no such field"),
        ("{optimizer: sam, space: {training.schedule.warmup: {low: 0.1, high: 1}}}", "must be less than 1"),
        ("{optimizer: sam, space: {estimator.ascent_fraction: {values: [0.5, 0.3]}}}", "is no number of examples"),
    ],
)
def test_corners_that_an_optimizer_refuses_are_told_before_anything_runs(suite_file, entry, message):
    path = suite_file(more=f"    - {entry}\n")
    said = refused(path)
    assert message in said
    if "no such field" not in message:
        assert said.startswith(f"{path}:5: optimizers["), said
        assert "(a corner of the space that " in said


def test_whole_numbers_stay_whole(suite_file):
    more = "    - {optimizer: sam, space: {estimator.refresh_every: {low: 1, high: 8}}}\n"
    *_, sam = studies(suite_file(more=more))
    assert sam.whole == {"estimator.refresh_every"}


def test_values_go_where_an_override_would_put_them(suite_file, tmp_path):
    values = {"rule.lr": 0.5, "estimator.rho": 0.3, "training.schedule.final": 0.1, "max_norm": 2.0}
    assert changes_of(values) == {
        "optimizer": {"rule": {"lr": 0.5}, "estimator": {"rho": 0.3}, "max_norm": 2.0},
        "training": {"schedule": {"final": 0.1}},
    }
    path = suite_file()
    arm = load_suite(path).arms[2]
    over = tmp_path / "over.yaml"
    over.write_text(
        "- where: {optimizer: sam}\n  set:\n    optimizer: {rule: {lr: 0.5}, estimator: {rho: 0.3}, max_norm: 2.0}\n"
        "    training: {schedule: {final: 0.1}}\n"
    )
    there = load_suite(path, over).arms[2]
    tried = with_values(arm, values)
    assert (tried.optimizer_spec, tried.training) == (there.optimizer_spec, there.training)
    assert {name: value_of(tried, name) for name in values} == values
    assert with_values(arm, {}) == arm


def test_what_a_value_costs_is_paid_from_the_budget(suite_file):
    """A shift that is used twice saves half an ascent, so that more steps fit into a budget of passes."""
    path = suite_file(("budget: {steps: 4}", "budget: {passes: 24}"))
    arm = load_suite(path).arms[2]
    assert (arm.training.steps, with_values(arm, {"estimator.refresh_every": 2}).training.steps) == (12, 16)


PLUG_IN = """
import torch


class Mine(torch.optim.SGD):
    search_space = {SPACE}

    def __init__(self, params, lr, beta=0.5, depth=3):
        super().__init__(params, lr=lr, momentum=beta)
        self.defaults.update(depth=depth)
"""


@pytest.fixture
def plug_in(suite_file, tmp_path, monkeypatch):
    """Writes a plug-in that declares a space, and a suite with it alone."""

    def write(space, options="{beta: 0.9, depth: 3}", spaces=""):
        text = textwrap.dedent(PLUG_IN)
        text = text.replace("    search_space = {SPACE}\n", "") if space is None else text.replace("{SPACE}", space)
        Path(tmp_path / "mine.py").write_text(text)
        monkeypatch.chdir(tmp_path)
        entry = (
            f"optimizers: [{{name: mine, rule: {{kind: torch, target: 'mine.py:Mine', lr: 0.02, options: {options}}}}}]"
        )
        path = suite_file((OPTIMIZERS, entry))
        body = path.read_text()
        path.write_text(body[: body.index(SPACES)] + spaces)
        return path

    return write


def test_a_plug_in_declares_its_space(plug_in):
    (mine,) = studies(plug_in('{"lr": {"low": 1e-4, "high": 1e-1}, "beta": {"values": (0.5, 0.9)}}'))
    assert mine.declared_by == "file"
    assert mine.space == {"rule.lr": Range(low=1e-4, high=1e-1), "rule.options.beta": Choice(values=[0.5, 0.9])}
    assert mine.incumbent == {"rule.lr": 0.02, "rule.options.beta": 0.9}
    tried = with_values(mine.arms[0], {"rule.options.beta": 0.5})
    assert tried.optimizer_spec.rule.options == {"beta": 0.5, "depth": 3}


def test_a_plug_in_that_declares_nothing_is_tuned_around_its_rate(plug_in):
    (mine,) = studies(plug_in(None))
    assert mine.declared_by == "around"
    assert mine.space == {"rule.lr": Range(low=0.002, high=0.2)}


def test_a_suite_has_the_last_word_on_a_plug_in_and_options_are_whole_where_they_are(plug_in):
    spaces = "  spaces: [{space: {rule.options.depth: {low: 1, high: 4}, rule.options.new: {low: 1, high: 2}}}]\n"
    (mine,) = studies(plug_in('{"lr": {"low": 1e-4, "high": 1e-1}}', spaces=spaces))
    assert mine.declared_by == "suite"
    assert mine.whole == {"rule.options.depth"}
    assert mine.incumbent == {"rule.options.depth": 3}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ('{"lr": {"low": 1, "hihg": 2}}', "search_space.lr.hihg is unknown; did you mean high?"),
        ('{"lr": (1, 2)}', "search_space.lr must be a mapping"),
        ("3", "search_space must be a mapping, not 3"),
        ('{"rl": {"low": 1, "high": 2}}', "search_space: the class has no argument 'rl'; allowed: beta, depth, lr"),
        ('{"lr": {"low": -1, "high": 2, "log": False}}', "rule.lr must be greater than 0, not -1"),
        ('{"lr": {"low": object(), "high": 2}}', "search_space is not plain data"),
    ],
)
def test_a_plug_in_that_declares_nonsense_is_told_so(plug_in, space, message):
    assert message in refused(plug_in(space))


SPACE_OF_THREE = (
    '{"lr": {"low": 1e-4, "high": 1e-1}, "beta": {"low": 0.1, "high": 0.9}, "depth": {"values": [1, 2, 3]}}'
)


def test_the_first_trial_states_what_the_class_takes_for_options_that_are_not_set(plug_in, cells_run, tmp_path):
    path = plug_in(SPACE_OF_THREE, options="{beta: 0.4}")
    found = tune(load_suite(path), tmp_path / "r", trials=2, tell=lambda line: None)
    ((first, second),) = [study.trials for study in found.studies]
    assert first.values == {"rule.lr": 0.02, "rule.options.beta": 0.4}
    assert first.defaults == {"rule.options.depth": 3}
    assert first.used == {**first.values, "rule.options.depth": 3}
    assert not second.defaults and set(second.values) == set(first.used)
    assert cells_run[0].spec.optimizer.rule.options == {"beta": 0.4}, "the cell is another one"
    own = found.studies[0].model_copy(update={"best": 0})
    assert edges_of(own) == {"rule.options.depth": "upper"}
    (override,) = overrides_of(found.model_copy(update={"studies": [own]}))
    assert override["set"] == {"optimizer": {"rule": {"lr": 0.02, "options": {"beta": 0.4}}}}


def test_defaults_are_those_of_the_signature_else_those_that_the_class_states(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("two.py").write_text(
        "import torch\n\n\nclass Open(torch.optim.Optimizer):\n"
        "    def __init__(self, params, lr, pair=(0.9, 0.99), gamma=None, far=float('inf'), **more):\n"
        "        stated = {'lr': lr, 'pair': 'other', 'gamma': gamma or 0.3, 'far': far, 'hidden': 2, **more}\n"
        "        super().__init__(params, stated)\n\n\n"
        "class Strict(Open):\n"
        "    def __init__(self, params, lr, beta=0.5):\n"
        "        if len(list(params)) < 5:\n            raise ValueError('five are needed')\n"
    )
    open_ = TorchOptimizer(target="two.py:Open", lr=0.1, options={"wide": 4})
    assert open_.defaults() == {"pair": [0.9, 0.99], "gamma": 0.3, "hidden": 2}
    assert TorchOptimizer(target="two.py:Strict", lr=0.1).defaults() == {"beta": 0.5}
    assert "beta" not in TorchOptimizer(target="two.py:Strict", lr=0.1, options={"beta": 0.7}).defaults()


def test_reading_a_suite_imports_no_plug_in(plug_in):
    path = plug_in('{"lr": {"low": 1e-4, "high": 1e-1}}')
    Path("mine.py").write_text("class Mine: pass\nraise SystemExit('was imported')\n")
    assert load_suite(path).arms


def study(low, high, value, log=True):
    trial = Trial(values={"rule.lr": value}, sampler="tpe", score=1.0, outcomes={}, keys=[], seconds=0.0)
    space = {"rule.lr": Range(low=low, high=high, log=log), "rule.betas": Choice(values=[1, 2])}
    return Study(optimizer="x", where={}, arms=["x"], space=space, declared_by="suite", trials=[trial], best=0)


@pytest.mark.parametrize(
    ("value", "log", "expected"),
    [
        (1e-3, True, "lower"),
        (1e-3 * 10**0.14, True, "lower"),
        (1e-3 * 10**0.16, True, None),
        (10**-0.16, True, None),
        (10**-0.14, True, "upper"),
        (5.0, True, "upper"),
        (1e-9, True, "lower"),
        (0.04, False, "lower"),
        (0.06, False, None),
        (0.96, False, "upper"),
    ],
)
def test_a_value_within_a_twentieth_of_the_end_of_its_range_lies_at_the_edge(value, log, expected):
    assert edges_of(study(1e-3, 1.0, value, log)) == ({} if expected is None else {"rule.lr": expected})


@pytest.mark.parametrize(
    ("dimension", "value", "expected"),
    [
        (Range(low=0.0, high=1.0, log=False), 0.0, ""),
        (Range(low=0.0, high=1.0, log=False), 0.01, ""),
        (Range(low=0.0, high=1.0, log=False), 0.99, "upper"),
        (Range(low=-1.0, high=1.0, log=False), -1.0, "lower"),
        (Range(low=-1.0, high=0.0, log=False), 0.0, "upper"),
        (Range(low=1e-3, high=1.0, log=True), 0.0, ""),
        (Choice(values=[0.0, 0.01, 0.1]), 0.0, ""),
        (Choice(values=[0.0, 0.01, 0.1]), 0.1, "upper"),
        (Choice(values=[0.01, 0.1, 1.0]), 0.01, "lower"),
    ],
)
def test_nothing_is_to_be_searched_below_0(dimension, value, expected):
    assert edge_of(dimension, value) == expected


def test_all_fields_can_be_tuned_but_kinds(suite_file):
    sam = load_suite(suite_file()).arms[2].optimizer_spec
    paths = paths_of(sam)
    assert not any(path.endswith("kind") for path in paths)
    assert {"max_norm", "rule.lr", "estimator.rho", "training.schedule.warmup"} <= set(paths)
    assert math.isinf(value_of(load_suite(suite_file()).arms[2], "max_norm"))
