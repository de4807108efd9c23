"""Any torch optimizer as a rule, by dotted path or from a file of one's own."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from optbench.errors import UserError, suggestion
from optbench.optim.base import Parameter, Rule
from optbench.optim.rules.foreign_flops import COUNTED
from optbench.optim.rules.foreign_source import step_of
from optbench.optim.rules.foreign_step import arguments_of_class, refusal
from optbench.optim.search import Dimension, Space
from optbench.spec import Spec, content_hash

if TYPE_CHECKING:
    import torch


class TorchOptimizer(Spec):
    """`target` is `package.module:Class` or `path/to/file.py:Class`, the path relative to the working directory.

    The class takes parameters, `lr` and the `options`; its `step` is called without a closure, after the gradient was
    taken without a graph: what needs more than the gradient (LBFGS, SophiaH) is refused, when the suite is read where
    its source says so plainly. A file enters the key of a cell by the hash of its source, an installed package by its
    version: what may change numbers makes new cells.
    `averages` is for optimizers that evaluate at averaged weights and switch by `.train()` and `.eval()`.

    What of it may be tuned the class says itself, for `lr` and the options by name, where it is one's own:
    `search_space = {"lr": {"low": 1e-4, "high": 1e-1}, "beta": {"values": [0.9, 0.99]}}`.
    """

    kind: Literal["torch"] = "torch"
    target: Annotated[str, Field(pattern=r"^[^:]+:[A-Za-z_][A-Za-z0-9_]*$")]
    lr: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    options: dict[str, Any] = {}
    averages: bool = False
    preconditions: ClassVar[bool] = False
    has_direction: ClassVar[bool] = False

    @field_validator("target", mode="before")
    @classmethod
    def _has_a_colon(cls, target: Any) -> Any:
        # The pattern would answer with itself.
        if isinstance(target, str) and ":" not in target:
            where, _, name = target.rpartition(".")
            meant = f"{target}:Class" if name == "py" or not where else f"{where}:{name}"
            raise ValueError(f"{target!r} has no colon before the class; did you mean {meant}?")
        return target

    @model_validator(mode="after")
    def _target_exists(self) -> Self:
        where, name = self.target.split(":")
        if where.endswith(".py"):
            _check_source(Path(where), name)
        elif importlib.util.find_spec(where.split(".")[0]) is None:
            raise ValueError(f"{self.target}: no package {where.split('.')[0]!r} is installed")
        refused = refusal(self.target, step_of(where, name) or {})
        if refused:
            raise ValueError(refused)
        return self

    def identity(self) -> dict[str, Any]:
        """The fields, with the source of the target in place of its path."""
        where, name = self.target.split(":")
        content = super().identity()
        if where.endswith(".py"):
            content["target"] = {"class": name, "source": content_hash(Path(where))}
        else:
            content["target"] = {"class": self.target, "version": _version(where)}
        return content

    def update_flops(self, matrices: Sequence[tuple[int, int]]) -> float:
        """Those that `foreign_flops` knows. Of any other foreign optimizer they are not known and counted as none,
        which is right for elementwise ones; its time is measured."""
        return COUNTED[self.target](self.options, matrices) if self.target in COUNTED else 0.0

    def precondition_flops(self, matrices: Sequence[tuple[int, int]]) -> float:
        """No matrix product."""
        return 0.0

    def build(self, parameters: Sequence[Parameter]) -> Rule:
        """The rule. Raises UserError where the class does not exist, refuses the options or passes over one, or needs
        more than a gradient."""
        from optbench.optim.torch_rule import TorchRule

        kind = self._optimizer_class()
        refused = refusal(self.target, arguments_of_class(kind))
        if refused:
            raise UserError(refused)
        try:
            engine = kind([p.tensor for p in parameters], lr=self.lr, **self.options)
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.target} refuses lr={self.lr}, options={self.options}: {error}") from error
        _check_options(self.target, kind, self.options, engine)
        rule = TorchRule({self.target: parameters}, [engine])
        return _Averaging(rule, engine) if self.averages else rule

    def search_space(self) -> Space:
        """What the class declares as `search_space`, by the fields of this spec: `lr`, `options.beta`; empty where it
        declares nothing. Imports the class. Raises UserError for a declaration that is none."""
        from optbench.problems import check
        from optbench.yamlfile import Place, Refused, placed

        kind = self._optimizer_class()
        found = getattr(kind, "search_space", None)
        if found is None:
            return {}
        try:
            declared = check(placed(found, Place(self.target, 0, "search_space")), dict[str, Dimension])
        except Refused as error:
            lines = [f"{self.target}: {place.label} {what}" for place, what in error.found]
            raise UserError("\n".join(lines)) from error
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.target}: search_space is not plain data: {error}") from error
        known = inspect.signature(kind).parameters
        takes_any = any(own.kind is inspect.Parameter.VAR_KEYWORD for own in known.values())
        for name in declared:
            if name not in known and not takes_any:
                allowed = suggestion(name, set(known) - {"params"})
                raise UserError(f"{self.target}: search_space: the class has no argument {name!r}; {allowed}")
        return {name if name == "lr" else f"options.{name}": dimension for name, dimension in declared.items()}

    def defaults(self) -> dict[str, Any]:
        """The values that its class takes for options that are not set: those of its signature, else those that it
        states once built; as far as they are plain data and finite. Imports the class, and builds it for a small
        matrix; of one that wants more of its parameters the signature alone is known."""
        import torch

        kind = self._optimizer_class()
        stated: dict[str, Any] = {}
        with suppress(TypeError, ValueError, RuntimeError, AssertionError):
            stated |= kind([torch.zeros(2, 2, requires_grad=True)], lr=self.lr, **self.options).defaults
        signature = {name: own.default for name, own in inspect.signature(kind).parameters.items()}
        found = stated | {name: value for name, value in signature.items() if _is_plain(value)}
        return {
            name: list(own) if isinstance(own, tuple) else own
            for name, own in found.items()
            if name not in ("lr", *self.options) and _is_plain(own)
        }

    def _optimizer_class(self) -> Callable[..., torch.optim.Optimizer]:
        import torch

        where, name = self.target.split(":")
        module = _load_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        found = getattr(module, name, None)
        if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
            classes = [
                key
                for key, value in vars(module).items()
                if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
            ]
            raise UserError(f"{where} has no torch optimizer {name!r}; {suggestion(name, classes)}")
        return found


def _is_plain(value: Any) -> bool:
    """Whether the value is a word, a truth value, a finite number, or a list of such."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, str | bool) or (isinstance(value, int | float) and math.isfinite(value))


class _Averaging:
    """A rule whose engine holds averaged weights while it is in evaluation mode."""

    def __init__(self, rule: Rule, engine: Any) -> None:
        self._engine = engine
        self.apply = rule.apply
        self.precondition = rule.precondition
        self.direction = rule.direction
        self.claims = rule.claims
        self.state_bytes = rule.state_bytes
        self.state_dict = rule.state_dict
        self.load_state_dict = rule.load_state_dict
        engine.train()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        self._engine.eval()
        try:
            yield
        finally:
            self._engine.train()


def _check_options(
    target: str, kind: Callable[..., torch.optim.Optimizer], options: dict[str, Any], engine: torch.optim.Optimizer
) -> None:
    """Raises UserError for an option that went nowhere: a class that takes any keyword says nothing of a typing error,
    and the run would be one with the default."""
    known = inspect.signature(kind).parameters
    for name in options:
        if name not in known and name not in engine.defaults:
            raise UserError(
                f"{target} has no option {name!r}; {suggestion(name, set(known) - {'params', 'lr', 'kwargs'})}"
            )


def _check_source(path: Path, name: str) -> None:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not Python: {error}") from error
    except (RecursionError, MemoryError):
        # Nested deeper than can be read here; Python says what it thinks of it when the file is run.
        return
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    imported = [a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names]
    if name not in [*names, *imported]:
        raise ValueError(f"{path} has no class {name!r}; {suggestion(name, names)}")


def _load_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"optbench_user_{content_hash(path)[:16]}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise UserError(f"{path}: {error}") from error
    return module


def _version(module: str) -> str:
    """The version of the installed package, or the hash of a module's source that belongs to none."""
    top = module.split(".")[0]
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        owners = importlib.metadata.packages_distributions().get(top)
        if owners:
            return importlib.metadata.version(owners[0])
    found = importlib.util.find_spec(top)
    if found is None or found.origin is None:
        raise UserError(f"{module} has no source whose hash could tell its versions apart")
    origin = Path(found.origin)
    return content_hash(origin.parent if origin.name == "__init__.py" else origin)
