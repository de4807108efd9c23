"""What a foreign class asks for is read from its source, and nothing of it is run."""

from __future__ import annotations

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
    ],
)
def test_what_is_not_said_plainly_is_not_known(code: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(code)
    assert step_of(str(path), "Own") is None


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
