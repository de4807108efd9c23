"""Muon (Jordan 2024): momentum, orthogonalised by Newton-Schulz, for hidden matrices; AdamW for everything else.

    m <- momentum m + (1 - momentum) g;  u = (1 - momentum) g + momentum m  (nesterov)  or  m
    w <- (1 - lr wd) w - lr scale orthogonalise(u)

as in torch.optim.Muon, to which it is equal up to rounding. `scale` is sqrt(max(1, rows/cols)) for `original`, where
the unit of the rate is the spectral norm of an update, and 0.2 sqrt(max(rows, cols)) for `match_rms_adamw`, where an
entry of the update has the size that AdamW's has, and one rate fits both (arXiv 2502.16982).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from optbench.optim.base import Damping, Parameter, Role, Rule
from optbench.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
ROLES: tuple[Role, ...] = ("hidden", "adapter")


class Muon(Spec):
    """Muon for `hidden` and `adapter` matrices, AdamW (the fields `adamw_*`) for embeddings, head and vectors."""

    kind: Literal["muon"] = "muon"
    lr: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e-3
    momentum: Beta = 0.95
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    adjust: Literal["original", "match_rms_adamw"] = "match_rms_adamw"
    ns_steps: Annotated[int, Field(ge=1, le=20)] = 5
    ns_dtype: Literal["bfloat16", "float32", "float64"] = "bfloat16"
    adamw_lr: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e-3
    adamw_betas: tuple[Beta, Beta] = (0.9, 0.999)
    adamw_eps: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e-8
    preconditions: ClassVar[bool] = True
    has_direction: ClassVar[bool] = True

    def update_flops(self, matrices: Sequence[tuple[int, int]]) -> float:
        """Operations of Newton-Schulz over the hidden matrices, of these rows and columns."""
        return float(sum(newton_schulz_flops(rows, cols, self.ns_steps) for rows, cols in matrices))

    def precondition_flops(self, matrices: Sequence[tuple[int, int]]) -> float:
        """Newton-Schulz once more."""
        return self.update_flops(matrices)

    def build(self, parameters: Sequence[Parameter]) -> Rule:
        """The rule. Raises ValueError for a model without hidden matrices: that would be AdamW under another name."""
        from optbench.optim import adam

        if not any(_is_matrix(p) for p in parameters):
            raise ValueError("muon finds no hidden matrix to update in this model")
        others = [p.tensor for p in parameters if not _is_matrix(p)]
        # An empty tensor stands in where everything is a hidden matrix: torch refuses to optimize nothing.
        engine = adam.engine(
            others or [parameters[0].tensor.new_zeros(0)],
            lr=self.adamw_lr,
            betas=self.adamw_betas,
            eps=self.adamw_eps,
            weight_decay=self.weight_decay,
        )
        return _MuonRule(self, parameters, engine)


class _MuonRule:
    """Matrices of one shape are stacked: small ones cost their calls, not their arithmetic."""

    def __init__(self, spec: Muon, parameters: Sequence[Parameter], engine: Any) -> None:
        import torch

        self._spec = spec
        self._parameters = list(parameters)
        self._adam = engine
        self._dtype = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}[spec.ns_dtype]
        self._matrices = [p.tensor for p in parameters if _is_matrix(p)]
        self._others = [p.tensor for p in parameters if not _is_matrix(p)]
        self._momenta = [torch.zeros_like(p) for p in self._matrices]
        self._steps = 0
        self._shapes: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, p in enumerate(self._matrices):
            self._shapes[tuple(p.shape)].append(index)

    def apply(self, lr_scale: float) -> None:
        import torch

        spec, rate = self._spec, self._spec.lr * lr_scale
        gradients = [p.grad for p in self._matrices if p.grad is not None]
        torch._foreach_lerp_(self._momenta, gradients, 1 - spec.momentum)
        updates: Sequence[Tensor] = self._momenta
        if spec.nesterov:
            updates = torch._foreach_lerp(gradients, self._momenta, spec.momentum)
        if spec.weight_decay:
            torch._foreach_mul_(self._matrices, 1 - rate * spec.weight_decay)
        for shape, indices in self._shapes.items():
            stack = self._orthogonalise([updates[i] for i in indices])
            scale = _scale(shape, spec.adjust)
            weights = [self._matrices[i] for i in indices]
            torch._foreach_add_(weights, list(stack.to(weights[0].dtype).unbind()), alpha=-rate * scale)
        if self._others:
            self._adam.param_groups[0]["lr"] = spec.adamw_lr * lr_scale
            self._adam.step()
        self._steps += 1

    def precondition(self, gradients: Sequence[Tensor], damping: Damping) -> list[Tensor]:
        """Hidden matrices orthogonalised and rescaled to entries of root mean square 1, so that they are not drowned
        by the others, which are divided by Adam's sqrt(v) and have entries of that size."""
        from optbench.optim import adam

        if self._steps == 0:
            return [g.clone() for g in gradients]
        by_tensor = {id(p.tensor): g for p, g in zip(self._parameters, gradients, strict=True)}
        result: dict[int, Tensor] = {}
        for indices in self._shapes.values():
            stack = self._orthogonalise([by_tensor[id(self._matrices[i])] for i in indices])
            for i, matrix in zip(indices, stack.unbind(), strict=True):
                full = matrix.to(self._matrices[i].dtype)
                result[id(self._matrices[i])] = full / full.square().mean().sqrt().clamp(min=1e-12)
        rest = adam.precondition(self._adam, self._others, [by_tensor[id(p)] for p in self._others], damping)
        result.update({id(p): g for p, g in zip(self._others, rest, strict=True)})
        return [result[id(p.tensor)] for p in self._parameters]

    def direction(self) -> list[Tensor]:
        from optbench.optim import adam

        found = {id(p): m for p, m in zip(self._matrices, self._momenta, strict=True)}
        rest = adam.direction(self._adam, self._others)
        found.update({id(p): m for p, m in zip(self._others, rest, strict=True)})
        return [found[id(p.tensor)] for p in self._parameters]

    def evaluating(self) -> AbstractContextManager[None]:
        return nullcontext()

    def claims(self) -> Mapping[str, Sequence[str]]:
        return {
            "muon": [p.name for p in self._parameters if _is_matrix(p)],
            "adamw": [p.name for p in self._parameters if not _is_matrix(p)],
        }

    def state_bytes(self) -> int:
        """Momenta, and Adam's two moments; step counters are left out."""
        tensors = [*self._momenta, *(v for s in self._adam.state.values() for v in s.values() if v.dim() > 0)]
        return sum(t.numel() * t.element_size() for t in tensors)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "momenta": [m.clone() for m in self._momenta], "adamw": self._adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._steps = state["steps"]
        for m, saved in zip(self._momenta, state["momenta"], strict=True):
            m.copy_(saved)
        self._adam.load_state_dict(state["adamw"])

    def _orthogonalise(self, matrices: Sequence[Tensor]) -> Tensor:
        import torch

        from optbench.optim.newton_schulz import orthogonalise

        stack = torch.stack([m.to(self._dtype) for m in matrices])
        return orthogonalise(stack, steps=self._spec.ns_steps, dtype=self._dtype)


def newton_schulz_flops(rows: int, cols: int, steps: int) -> int:
    """Operations for one matrix, n x m with n <= m: in each step a product (n, m, n), one (n, n, n), one (n, n, m)."""
    n, m = min(rows, cols), max(rows, cols)
    return steps * (4 * n * n * m + 2 * n * n * n)


def _is_matrix(parameter: Parameter) -> bool:
    return parameter.role in ROLES and parameter.tensor.dim() == 2


def _scale(shape: tuple[int, ...], adjust: str) -> float:
    rows, cols = shape
    if adjust == "original":
        return math.sqrt(max(1.0, rows / cols))
    return 0.2 * math.sqrt(max(rows, cols))
