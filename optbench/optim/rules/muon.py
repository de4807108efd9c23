"""Muon (Jordan 2024): momentum, orthogonalised by Newton-Schulz, for hidden matrices; AdamW for everything else.

    m <- momentum m + (1 - momentum) g;  u = (1 - momentum) g + momentum m  (nesterov)  or  m
    w <- (1 - lr wd) w - lr scale orthogonalise(u)

as in torch.optim.Muon, to which it is equal up to rounding. `scale` is sqrt(max(1, rows/cols)) for `original`, where
the unit of the rate is the spectral norm of an update, and 0.2 sqrt(max(rows, cols)) for `match_rms_adamw`, where an
entry of the update has the size that AdamW's has, and one rate fits both (arXiv 2502.16982).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from optbench.optim.base import Damping, Parameter, Role, Rule
from optbench.optim.newton_schulz_plan import USUAL, Capabilities, Plan, Precision, capabilities, flops, plan
from optbench.optim.search import Choice, Range, Space
from optbench.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
ROLES: tuple[Role, ...] = ("hidden", "adapter")


class Muon(Spec):
    """Muon for `hidden` and `adapter` matrices, AdamW (the fields `adamw_*`) for embeddings, head and vectors.

    `ns_dtype` is the arithmetic of Newton-Schulz. The two of 16 bits are bounds on its error: a device without
    bfloat16, which would emulate it slowly, takes float32 (a GPU with float16 takes that); a GPU with both takes the
    Gram form in float16, at a third of bfloat16's error, for matrices far from square. `ns_form` asks for one
    form; the Gram form in bfloat16 is refused, for its error can be above that of the standard form.
    """

    kind: Literal["muon"] = "muon"
    lr: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e-3
    momentum: Beta = 0.95
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    adjust: Literal["original", "match_rms_adamw"] = "match_rms_adamw"
    ns_steps: Annotated[int, Field(ge=1, le=20)] = 5
    ns_dtype: Precision = "bfloat16"
    ns_form: Literal["auto", "standard", "gram"] = "auto"
    adamw_lr: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e-3
    adamw_betas: tuple[Beta, Beta] = (0.9, 0.999)
    adamw_eps: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e-8
    preconditions: ClassVar[bool] = True
    has_direction: ClassVar[bool] = True
    # The rate of the matrices has two units (`adjust`): that of AdamW, or spectral norms, where 0.02 is usual. What is
    # no matrix is AdamW's, with its rates.
    SEARCH: ClassVar[Space] = {
        "lr": Range(low=1e-5, high=1e-1),
        "adamw_lr": Range(low=1e-5, high=3e-2),
        "momentum": Choice(values=[0.9, 0.95, 0.98]),
    }

    @model_validator(mode="after")
    def _exact_enough(self) -> Muon:
        if self.ns_form == "gram" and self.ns_dtype == "bfloat16":
            raise ValueError("ns_form gram is too inexact in bfloat16; set ns_dtype to float16, float32 or float64")
        return self

    def update_flops(
        self, matrices: Sequence[tuple[int, int]], *, device: str = "cpu", can: Capabilities = USUAL
    ) -> float:
        """Operations of Newton-Schulz over the hidden matrices, of these rows and columns.

        What `ns_form: auto` chooses depends on the device. Where none is named, one with bfloat16 alone is meant, so
        that a budget in operations is the same number of steps on every machine. For the count of one device give its
        type and `newton_schulz_plan.capabilities` of it.
        """
        counts = Counter(matrices)
        return float(
            sum(
                count * flops(shape, self._plan(shape, count, device, can).form, self.ns_steps)
                for shape, count in counts.items()
            )
        )

    def precondition_flops(self, matrices: Sequence[tuple[int, int]]) -> float:
        """Newton-Schulz once more."""
        return self.update_flops(matrices)

    def _plan(self, shape: tuple[int, int], count: int, device: str, can: Capabilities) -> Plan:
        return plan(
            shape, count, device=device, precision=self.ns_dtype, form=self.ns_form, steps=self.ns_steps, can=can
        )

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


@dataclass(frozen=True)
class _Group:
    """Matrices of one shape, type and device, by index; each updated by -rate * scale * its orthogonalised momentum."""

    indices: tuple[int, ...]
    plan: Plan
    scale: float


class _MuonRule:
    """Goes through the matrices a stack at a time: what is held beside weights and momenta is one stack's work."""

    def __init__(self, spec: Muon, parameters: Sequence[Parameter], engine: Any) -> None:
        import torch

        self._spec = spec
        self._parameters = list(parameters)
        self._adam = engine
        self._matrices = [p.tensor for p in parameters if _is_matrix(p)]
        self._others = [p.tensor for p in parameters if not _is_matrix(p)]
        self._momenta = [torch.zeros_like(p) for p in self._matrices]
        self._steps = 0
        alike: dict[tuple[tuple[int, int], Any, Any], list[int]] = defaultdict(list)
        for index, p in enumerate(self._matrices):
            alike[(p.size(0), p.size(1)), p.dtype, p.device].append(index)
        self._groups = []
        for (shape, _, device), indices in alike.items():
            how = spec._plan(shape, len(indices), device.type, capabilities(device.type))
            self._groups.append(_Group(tuple(indices), how, _scale(shape, spec.adjust)))

    def apply(self, lr_scale: float) -> None:
        import torch

        spec, rate = self._spec, self._spec.lr * lr_scale
        for group in self._groups:
            # A parameter without a gradient is left alone, its momentum as well, as torch.optim does.
            live = [i for i in group.indices if self._matrices[i].grad is not None]
            for start in range(0, len(live), group.plan.stack):
                chosen = live[start : start + group.plan.stack]
                weights, momenta = [self._matrices[i] for i in chosen], [self._momenta[i] for i in chosen]
                gradients = [w.grad for w in weights if w.grad is not None]
                torch._foreach_lerp_(momenta, gradients, 1 - spec.momentum)
                updates: Sequence[Tensor] = momenta
                if spec.nesterov:
                    updates = torch._foreach_lerp(gradients, momenta, spec.momentum)
                updates = self._orthogonalise(updates, group.plan)
                if spec.weight_decay:
                    torch._foreach_mul_(weights, 1 - rate * spec.weight_decay)
                torch._foreach_add_(weights, list(updates), alpha=-rate * group.scale)
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
        for group in self._groups:
            for start in range(0, len(group.indices), group.plan.stack):
                weights = [self._matrices[i] for i in group.indices[start : start + group.plan.stack]]
                found = self._orthogonalise([by_tensor[id(w)] for w in weights], group.plan)
                for weight, matrix in zip(weights, found, strict=True):
                    full = matrix.to(weight.dtype)
                    result[id(weight)] = full / full.square().mean().sqrt().clamp(min=1e-12)
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

    def _orthogonalise(self, matrices: Sequence[Tensor], how: Plan) -> Sequence[Tensor]:
        import torch

        from optbench.optim import newton_schulz

        dtype: torch.dtype = getattr(torch, how.precision)
        return newton_schulz.orthogonalise(matrices, steps=self._spec.ns_steps, dtype=dtype, form=how.form)


def _is_matrix(parameter: Parameter) -> bool:
    return parameter.role in ROLES and parameter.tensor.dim() == 2


def _scale(shape: tuple[int, ...], adjust: str) -> float:
    rows, cols = shape
    if adjust == "original":
        return math.sqrt(max(1.0, rows / cols))
    return 0.2 * math.sqrt(max(rows, cols))
