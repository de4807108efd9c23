"""What a foreign class asks for is read from its source, and nothing of it is run."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import pytorch_optimizer
import torch
from pydantic import ValidationError

from optbench.errors import UserError
from optbench.optim.base import Parameter
from optbench.optim.rules.foreign_source import step_of
from optbench.optim.rules.foreign_step import arguments_of_class
from optbench.optim.rules.torch_optimizer import TorchOptimizer

ASKS = "def step(self, closure): pass"
KNOWN = {"self": True, "closure": True}


def classes(module: object) -> list[str]:
    found = vars(module).items()
    return [name for name, own in found if isinstance(own, type) and issubclass(own, torch.optim.Optimizer)]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that must not be imported; what is in `asking.py` can be reached in every way that modules have."""
    folder = tmp_path / "unimportable"
    (folder / "inner").mkdir(parents=True)
    dies = "raise SystemExit('it was run')\n"
    (folder / "asking.py").write_text(f"{dies}class Asks:\n    {ASKS}\nclass Heir(Asks):\n    pass\n")
    (folder / "inner" / "__init__.py").write_text(dies + "from ..asking import Asks as Renamed\n")
    (folder / "__init__.py").write_text(
        dies
        + "from .inner import *\n"
        + "from unimportable.asking import Heir\n"
        + "from . import asking\n"
        + "import unimportable.asking as there\n"
        + "class Dotted(asking.Heir): pass\n"
        + "class Called(there.Asks): pass\n"
        + "class Whole(unimportable.asking.Asks): pass\n"
        + "import unimportable.inner\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("module", [torch.optim, pytorch_optimizer])
def test_the_source_says_of_every_class_what_the_class_says(module) -> None:
    names = classes(module)
    assert len(names) > 10
    for name in names:
        assert step_of(module.__name__, name) == arguments_of_class(getattr(module, name)), name


@pytest.mark.parametrize("name", ["Renamed", "Heir", "Dotted", "Called", "Whole"])
def test_imports_and_bases_are_followed_without_importing(name: str, package: Path) -> None:
    assert step_of("unimportable", name) == KNOWN
    with pytest.raises(ValidationError, match=f"unimportable:{name} needs a closure that evaluates the loss again"):
        TorchOptimizer(target=f"unimportable:{name}", lr=0.1)
    assert "unimportable" not in sys.modules


@pytest.mark.parametrize("where", ["unimportable.asking", "unimportable.inner"])
def test_a_module_of_a_package_is_found(where: str, package: Path) -> None:
    assert step_of(where, "Renamed" if where.endswith("inner") else "Asks") == KNOWN


@pytest.mark.parametrize(
    "code",
    [
        f"@changed\nclass Own:\n    {ASKS}\n",
        f"if True:\n    class Own:\n        {ASKS}\n",
        f"class Own:\n    {ASKS}\nOwn = made(Own)\n",
        f"class Own:\n    {ASKS}\n    step = other\n",
        f"class A:\n    {ASKS}\nclass B: pass\nclass Own(A, B): pass\n",
        f"class A:\n    {ASKS}\nclass Own(made(A)): pass\n",
        "class Own(Own): pass\n",
        "from .nowhere import Own\n",
        "from nowhere.at_all import Own\n",
        "from sys import Own\n",
        "from nowhere import *\n",
        "not Python",
        f"class Own:\n    @optional\n    {ASKS}\n",
        f"class Own:\n    @optional()\n    {ASKS}\n",
        f"class Own:\n    @staticmethod\n    {ASKS}\n",
        f"def no_grad(f): return optional(f)\nclass Own:\n    @no_grad\n    {ASKS}\n",
        f"import torch\nclass Own:\n    @torch.no_grad()\n    @optional\n    {ASKS}\n",
        f"class A:\n    @optional\n    {ASKS}\nclass Own(A): pass\n",
        f"class Own:\n    {ASKS}\nOwn.step = other\n",
        f"class Own:\n    {ASKS}\nif True:\n    setattr(Own, 'step', other)\n",
        f"class Own:\n    {ASKS}\ndef change(name):\n    setattr(Own, name, other)\n",
        f"class Own:\n    {ASKS}\nfor kind in [Own]:\n    kind.step = other\n",
        f"class Own:\n    {ASKS}\nglobals()['Own'].step = other\n",
        f"class Own:\n    def __init__(self): self.step = other\n    {ASKS}\n",
        f"class A:\n    {ASKS}\nclass Own(A): pass\nA.step = other\n",
        f"class Own:\n    def __init_subclass__(cls): pass\n    {ASKS}\n",
        f"class A:\n    def __init_subclass__(cls): change(cls)\nclass B: pass\nclass Own(B, A):\n    {ASKS}\n",
        f"class A(metaclass=Meta): pass\nclass B(A): pass\nclass Own(B):\n    {ASKS}\n",
        f"class Own(metaclass=Meta):\n    {ASKS}\n",
        f"class Own(made()):\n    {ASKS}\n",
        f"@changed\nclass A: pass\nclass Own(A):\n    {ASKS}\n",
    ],
)
def test_what_is_not_said_plainly_is_not_known(code: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(code)
    assert step_of(str(path), "Own") is None


@pytest.mark.parametrize(
    "code",
    [
        f"import torch\nclass Own(torch.optim.SGD):\n    @torch.no_grad()\n    {ASKS}\n",
        f"import torch as t\nclass Own:\n    @t.enable_grad\n    {ASKS}\n",
        f"from torch import no_grad as frozen\nclass Own:\n    @frozen()\n    {ASKS}\n",
        f"from torch.optim.optimizer import _use_grad_for_differentiable as g\nclass Own:\n    @g\n    {ASKS}\n",
        f"from abc import ABC, ABCMeta\nclass A(object, metaclass=ABCMeta): pass\nclass Own(A, ABC):\n    {ASKS}\n",
        f"def f(own):\n    own.step = other\nnames = [own for own in []]\nclass Own:\n    {ASKS}\n",
        f"class Own:\n    {ASKS}\n    def count(self, state):\n        state.step = 1\n        setattr(self, 'n', 1)\n",
    ],
)
def test_what_changes_no_arguments_does_not_hide_them(code: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(code)
    assert step_of(str(path), "Own") == KNOWN


def test_a_step_that_is_made_optional_when_it_runs_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "import torch\n"
        "def optional(f):\n    def step(self, closure=None):\n        return f(self, closure)\n    return step\n"
        f"class Own(torch.optim.SGD):\n    @optional\n    def step(self, closure): super().step()\n"
        f"class Sh(torch.optim.SGD):\n    {ASKS}\nSh.step = torch.optim.SGD.step\n"
    )
    for name in ("Own", "Sh"):
        weight = torch.nn.Parameter(torch.ones(2, 2))
        weight.grad = torch.ones(2, 2)
        TorchOptimizer(target=f"{path}:{name}", lr=0.5).build([Parameter("w", weight, "hidden")]).apply(1.0)
        assert torch.equal(weight.detach(), torch.full((2, 2), 0.5)), name


def test_what_is_nested_too_deep_to_be_read_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(f"class Own:\n    {ASKS}\nx = {'-' * 20000}1\n")
    with pytest.raises((RecursionError, MemoryError)):
        ast.parse(path.read_text())
    assert step_of(str(path), "Own") is None
    TorchOptimizer(target=f"{path}:Own", lr=0.1)


@pytest.mark.parametrize("error", [RecursionError, MemoryError])
def test_what_cannot_be_parsed_for_its_size_is_not_known(error, tmp_path: Path, monkeypatch) -> None:
    def fails(text: str) -> None:
        raise error

    path = tmp_path / "own.py"
    path.write_text(f"class Own:\n    {ASKS}\n")
    monkeypatch.setattr(ast, "parse", fails)
    assert step_of(str(path), "Own") is None
    TorchOptimizer(target=f"{path}:Own", lr=0.1)


def test_a_file_that_was_edited_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(f"class Own:\n    {ASKS}\n")
    assert step_of(str(path), "Own") == KNOWN
    path.write_text("class Own:\n    def step(self, closure=None, *, hessian): pass\n")
    assert step_of(str(path), "Own") == {"self": True, "closure": False, "hessian": True}


def test_a_class_whose_source_does_not_say_is_refused_once_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(f"import torch\nclass A(torch.optim.SGD):\n    {ASKS}\nclass B: pass\nclass Own(A, B): pass\n")
    spec = TorchOptimizer(target=f"{path}:Own", lr=0.1)
    with pytest.raises(UserError, match="own.py:Own needs a closure"):
        spec.build([Parameter("w", torch.nn.Parameter(torch.ones(2, 2)), "hidden")])
