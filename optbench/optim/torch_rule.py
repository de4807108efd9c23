"""A rule made of one or more torch optimizers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor

from optbench.optim.base import Damping, Parameter


def _undeclared(*_: Any) -> list[Tensor]:
    raise ValueError("this rule declares no such thing")


class TorchRule:
    """Torch optimizers behind the Rule protocol: each group's rate is its base rate times the schedule's factor."""

    def __init__(
        self,
        claims: Mapping[str, Sequence[Parameter]],
        engines: Sequence[torch.optim.Optimizer],
        *,
        precondition: Callable[[Sequence[Tensor], Damping], list[Tensor]] = _undeclared,
        direction: Callable[[], list[Tensor]] = _undeclared,
    ) -> None:
        self.engines = list(engines)
        self._claims = {name: [p.name for p in parameters] for name, parameters in claims.items()}
        self._base_rates = [[group["lr"] for group in engine.param_groups] for engine in self.engines]
        self.precondition = precondition
        self.direction = direction

    def apply(self, lr_scale: float) -> None:
        """One step of every engine."""
        for engine, rates in zip(self.engines, self._base_rates, strict=True):
            for group, rate in zip(engine.param_groups, rates, strict=True):
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate * lr_scale)
                else:
                    group["lr"] = rate * lr_scale
            engine.step()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The parameters are what is evaluated."""
        yield

    def claims(self) -> Mapping[str, Sequence[str]]:
        """See `Rule.claims`."""
        return self._claims

    def state_bytes(self) -> int:
        """See `Rule.state_bytes`; step counters are left out."""
        return sum(_bytes(state) for engine in self.engines for state in engine.state.values())

    def state_dict(self) -> dict[str, Any]:
        """The states of the engines, and what they keep beside them."""
        return {
            "engines": [engine.state_dict() for engine in self.engines],
            "attributes": [_attributes(engine) for engine in self.engines],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The engines as they were; base rates stay those of this rule's spec."""
        kept = zip(self.engines, state["engines"], state["attributes"], strict=True)
        for engine, saved, attributes in kept:
            engine.load_state_dict(saved)
            for index, p in enumerate(p for group in engine.param_groups for p in group["params"]):
                if index in saved["state"]:
                    engine.state[p] = _as_saved(engine.state[p], saved["state"][index])
            vars(engine).update(copy.deepcopy(attributes))


STATELESS = (FunctionType, BuiltinFunctionType, type, Enum, torch.dtype, torch.device)
"""What an attribute may be without being something that changes from step to step."""


def _attributes(engine: torch.optim.Optimizer) -> dict[str, Any]:
    """What an engine keeps outside the state that torch knows of; some foreign ones count their steps there."""
    known = vars(torch.optim.Optimizer([torch.zeros(1)], {}))
    return {
        name: value for name, value in vars(engine).items() if name not in known and not isinstance(value, STATELESS)
    }


def _as_saved(loaded: Any, saved: Any) -> Any:
    """Torch turns floating state into the type of its parameter; here it keeps the type that it was saved in."""
    if isinstance(saved, Tensor):
        return loaded if loaded.dtype == saved.dtype else saved.to(loaded.device)
    if isinstance(saved, dict):
        return {key: _as_saved(loaded[key], inner) for key, inner in saved.items()}
    if isinstance(saved, list | tuple):
        return type(saved)(_as_saved(own, inner) for own, inner in zip(loaded, saved, strict=True))
    return loaded


def _bytes(value: Any) -> int:
    """Bytes of the tensors in what an engine keeps, also of those in lists and mappings (SOAP's bases are)."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size() if value.dim() > 0 else 0
    if isinstance(value, Mapping):
        return sum(_bytes(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return sum(_bytes(inner) for inner in value)
    return 0
