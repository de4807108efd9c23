"""Before anything is run, foreign optimizers take a step in a process of its own: what dies there costs no cell."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from optbench.cli import main
from optbench.commands.run import check_ready
from optbench.errors import UserError
from optbench.executors import first_step
from optbench.executors.first_step import OVERRIDE, Trial, check_first_steps
from optbench.executors.local import execute
from optbench.models.adapters import Lora
from optbench.models.families import Nano
from optbench.models.roles import parameters_of
from optbench.optim.rules.torch_optimizer import TorchOptimizer
from optbench.suite import load_suite

CODE = """
import os, signal, sys, time, torch
class Good(torch.optim.SGD):
    def step(self, closure=None):
        os.write(1, b"said by an optimizer\\n")
        return super().step(closure)
class Raises(torch.optim.SGD):
    def step(self, closure=None):
        raise RuntimeError("on purpose")
class Dies(torch.optim.SGD):
    def step(self, closure=None):
        os.kill(os.getpid(), signal.SIGKILL)
class Hangs(torch.optim.SGD):
    def step(self, closure=None):
        while True:
            time.sleep(0.01)
class Leaves(torch.optim.SGD):
    def __init__(self, params, lr):
        sys.exit(3)
class WantsGraph(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                torch.autograd.grad(p.grad.sum(), p)
class Averages(torch.optim.SGD):
    def train(self): pass
class Vectors(torch.optim.SGD):
    def __init__(self, params, lr):
        params = list(params)
        if all(p.ndim > 1 for p in params):
            raise ValueError("no vectors")
        super().__init__(params, lr)
class Wide(torch.optim.SGD):
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            if min(p.shape) < 64:
                raise ValueError("no 64 directions")
class DiesOfTwo(torch.optim.SGD):
    def step(self, closure=None):
        if len(self.param_groups[0]["params"]) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
class Pairs(torch.optim.SGD):
    def step(self, closure=None):
        first, second, *_ = self.param_groups[0]["params"]
        assert first.shape[0] == second.shape[1] == 5, f"{tuple(first.shape)} and {tuple(second.shape)}"
"""


STEP = "its first step, on two small matrices,"


def arms(path):
    return [cell.arm for cell in load_suite(path).cells()]


def refusals(path, patience=300):
    with pytest.raises(UserError) as refused:
        check_first_steps(arms(path), patience=patience)
    *lines, last = str(refused.value).splitlines()
    assert last == OVERRIDE and last.startswith("--no-step-check ")
    return lines


def adapted(found, rank):
    """The arms with adapters of this rank on their models."""
    return [replace(arm, model_spec=SimpleNamespace(lora=Lora(r=rank))) for arm in found]


def entry(target, more=""):
    return f"{{name: {target.rpartition(':')[2]}, rule: {{kind: torch, target: '{target}', lr: 0.1{more}}}}}"


def test_what_dies_at_its_first_step_is_told_at_its_line(suite, own):
    path = suite(own(CODE, "Raises", "Good", "Dies", "WantsGraph", "Leaves", "Averages"))
    path.write_text(path.read_text().replace("own.py:Averages', lr: 0.1", "own.py:Averages', lr: 0.1, averages: true"))
    first = next(number for number, line in enumerate(path.read_text().splitlines(), 1) if "own.py:Raises" in line)
    said = refusals(path)
    found = {line.split("own.py:")[1].split(":")[0]: line for line in said}
    assert list(found) == ["Raises", "Dies", "WantsGraph", "Leaves", "Averages"]
    assert found["Raises"].startswith(f"{path}:{first}: optimizers[")
    assert found["Raises"].endswith(f"own.py:Raises: {STEP} raised RuntimeError at own.py:9: on purpose")
    assert f"own.py:Dies: at {STEP} the worker process died (exit code -9" in found["Dies"]
    assert found["Dies"].startswith(f"{path}:{first + 2}: optimizers[")
    assert "does not require grad" in found["WantsGraph"]
    assert "building it raised SystemExit at own.py:19: 3" in found["Leaves"]
    assert "'Averages' object has no attribute 'eval'" in found["Averages"]


def test_a_step_that_does_not_end_is_waited_for_once(suite, own, monkeypatch):
    started = []
    asked = first_step._asked
    monkeypatch.setattr(first_step, "_asked", lambda *given: started.append(1) or asked(*given))
    (said,) = refusals(suite(own(CODE, "Hangs")), patience=2)
    assert len(started) == 1
    assert said.endswith(f"own.py:Hangs: {STEP} did not end within 2 seconds")


def test_only_what_fails_on_all_parameters_is_refused(suite, own):
    named = ["Vectors", "Raises", "Wide", "DiesOfTwo", "Good"]
    (said,) = refusals(suite(own(CODE, *named)))
    assert f"own.py:Raises: {STEP} raised RuntimeError" in said


def test_adapters_are_tried_where_they_are_trained(suite, own):
    path = suite([*own(CODE, "Pairs"), entry("pytorch_optimizer:LoRARite")])
    found = arms(path)
    check_first_steps(adapted(found, 5))
    pairs, rite = refusals(path)
    assert f"own.py:Pairs: {STEP} raised AssertionError" in pairs and f"LoRARite: {STEP} raised" in rite
    # Of an optimizer that fails with weights of both kinds the first is told.
    with pytest.raises(UserError) as refused:
        check_first_steps(arm for one in found if one.optimizer == "Pairs" for arm in (*adapted([one], 4), one))
    said, _ = str(refused.value).splitlines()
    assert "Pairs: its first step, on the matrices of two adapters, raised AssertionError" in said
    assert said.endswith("(4, 32) and (64, 4)")


def test_adapters_that_are_tried_are_in_the_order_of_peft():
    pytest.importorskip("peft")
    model = Nano(family="llama", lora={"r": 4}).build(seed=0, device="cpu", precision="float32", attention="sdpa")
    rule = TorchOptimizer(target="torch.optim:SGD", lr=0.1)
    for shapes in ([p.tensor.shape for p in parameters_of(model.module)], Trial(rule, 4).sets[0].shapes):
        assert len(shapes) >= 4
        assert all(first[0] == 4 == second[1] for first, second in zip(shapes[::2], shapes[1::2], strict=True))


def test_what_the_rule_refuses_is_told_before_the_first_cell(suite):
    path = suite(
        [
            entry("torch.optim:Adm"),
            entry("torch.optim:SGD", ", options: {momentun: 0.9}"),
            entry("pytorch_optimizer:SOAP", ", options: {weigth_decay: 0.1}"),
            entry("torch.nothing_here:Thing"),
        ]
    )
    said = refusals(path)
    assert [line.count("torch.optim:SGD") for line in said] == [0, 1, 0, 0]
    words = ["did you mean Adam?", "refuses lr=0.1", "no option 'weigth_decay'", "raised ModuleNotFoundError"]
    assert all(word in line for word, line in zip(words, said, strict=True)), said


def test_good_ones_pass_and_ours_need_no_process(suite, own, capfd, monkeypatch):
    named = [entry(f"pytorch_optimizer:{name}") for name in ("SOAP", "Prodigy", "Lion", "MARS", "AdEMAMix")]
    path = suite([*own(CODE, "Good"), *named, entry("torch.optim:AdamW")])
    check_first_steps(arms(path))
    said = capfd.readouterr()
    assert said.out == "" and "said by an optimizer" in said.err
    monkeypatch.setattr("optbench.executors.first_step._asked", None)
    check_first_steps(arm for arm in arms(path) if arm.optimizer_spec.rule.kind != "torch")
    with pytest.raises(TypeError):
        check_first_steps(arms(path))


@pytest.mark.parametrize("verb", [["run"], ["run", "--until-resolved", "0.02", "--max-hours", "1"], ["tune"]])
def test_no_cell_is_spent_and_nothing_is_written(verb, suite, own, tmp_path, monkeypatch, capfd):
    path = suite(own(CODE, "Raises"), more="contrasts: [{of: {optimizer: Raises}, minus: {optimizer: gd}}]\n")
    monkeypatch.setattr(sys, "argv", ["optbench", *verb, str(path), "--results", str(tmp_path / "r")])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capfd.readouterr()
    assert ended.value.code == 2
    assert f"own.py:Raises: {STEP} raised RuntimeError" in said.err
    assert "Traceback" not in said.err
    assert sorted(found.name for found in tmp_path.iterdir()) == ["own.py", "suite.yaml"]


def test_cells_that_run_elsewhere_or_are_done_are_not_tried(suite, own, tmp_path):
    path = suite(own(CODE, "Good"))
    loaded, results = load_suite(path), tmp_path / "r"
    assert execute(loaded.cells(), results, workers=1, threads=1).complete
    tried = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("optbench.commands.run.check_first_steps", lambda arms: tried.append([arm.name for arm in arms]))
        check_ready(loaded, results, workers=1)
        check_ready(loaded, tmp_path / "none", workers=1)
        check_ready(loaded, tmp_path / "none", workers=1, step_check=False)
        check_ready(loaded, tmp_path / "none", workers=1, ranks=SimpleNamespace(size=2, check=lambda cell: None))
    assert [len(names) for names in tried] == [0, 2]


@pytest.mark.parametrize(
    ("verb", "begins"),
    [
        (["run"], "optbench.commands.run.execute"),
        (["run", "--until-resolved", "0.02", "--max-hours", "1"], "optbench.commands.until_resolved.pursue"),
        (["tune"], "optbench.commands.tune.tune"),
    ],
)
def test_the_check_can_be_turned_off(verb, begins, suite, own, tmp_path, monkeypatch):
    def begin(*given, **named):
        began.append(given)
        raise KeyboardInterrupt

    began = []
    monkeypatch.setattr(begins, begin)
    path = suite(own(CODE, "Raises"), more="contrasts: [{of: {optimizer: Raises}, minus: {optimizer: gd}}]\n")
    command = ["optbench", *verb, str(path), "--results", str(tmp_path / "r"), "--no-step-check"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130 and len(began) == 1
