"""The geometry of the perturbation: from a gradient, or from the rule's momentum, to a shift of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from optbench.optim.base import Damping, Rule
from optbench.plugins import one_of, with_entry_points
from optbench.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor


class Isotropic(Spec):
    """e = rho g / ||g||, the steepest ascent in the Euclidean norm over all parameters together (arXiv 2010.01412)."""

    kind: Literal["isotropic"] = "isotropic"
    needs_gradient: ClassVar[bool] = True
    needs_preconditioner: ClassVar[bool] = False
    needs_direction: ClassVar[bool] = False

    def shift(self, weights: Sequence[Tensor], rule: Rule, rho: float) -> list[Tensor]:
        """The shift; its norm is rho, or 0 where the gradient is. It takes the place of the gradients."""
        return _to_norm(rho, _gradients(weights))


class Relative(Spec):
    """e = rho T^2 g / ||T g|| with T = |w| + eta: the ascent of ASAM (arXiv 2102.11600), indifferent to a rescaling
    of the weights that leaves the function as it is. The norm of e is not rho: sizes are relative to the weights."""

    kind: Literal["relative"] = "relative"
    eta: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.01
    needs_gradient: ClassVar[bool] = True
    needs_preconditioner: ClassVar[bool] = False
    needs_direction: ClassVar[bool] = False

    def shift(self, weights: Sequence[Tensor], rule: Rule, rho: float) -> list[Tensor]:
        """The shift; || e / T || is rho. It takes the place of the gradients; T is made twice, a tensor at a time."""
        gradients = _gradients(weights)
        for w, g in zip(weights, gradients, strict=True):
            g.mul_(w.detach().abs().add_(self.eta))
        for w, scaled in zip(weights, _to_norm(rho, gradients), strict=True):
            scaled.mul_(w.detach().abs().add_(self.eta))
        return gradients


class Preconditioned(Spec):
    """e = rho P g / ||P g|| with the rule's own preconditioner P, from before this step (arXiv 2502.02407).

    For AdamW P = 1 / (sqrt(v) + damping). The paper's exact form is not known. The default damping is relative, 0.1 x
    the root mean square of sqrt(v) over the tensor, with v bias-corrected. A co-author's code reads `damping: 1e-6`,
    `relative_damping: false`, `bias_correction: false`.
    """

    kind: Literal["preconditioned"] = "preconditioned"
    damping: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.1
    relative_damping: bool = True
    bias_correction: bool = True
    needs_gradient: ClassVar[bool] = True
    needs_preconditioner: ClassVar[bool] = True
    needs_direction: ClassVar[bool] = False

    def shift(self, weights: Sequence[Tensor], rule: Rule, rho: float) -> list[Tensor]:
        """The shift; its norm is rho."""
        damping = Damping(self.damping, self.relative_damping, self.bias_correction)
        return _to_norm(rho, rule.precondition(_gradients(weights), damping))


class Momentum(Spec):
    """e = -rho m / ||m|| with the rule's momentum m, an average of past gradients (arXiv 2401.12033).

    The sign is that of the paper's code. A step along -m has just been taken and overshoots, so that going on along it
    raises the loss of the batch more often than going back does. No gradient at the weights is needed. Before the
    first step m = 0 and nothing is shifted.
    """

    kind: Literal["momentum"] = "momentum"
    needs_gradient: ClassVar[bool] = False
    needs_preconditioner: ClassVar[bool] = False
    needs_direction: ClassVar[bool] = True

    def shift(self, weights: Sequence[Tensor], rule: Rule, rho: float) -> list[Tensor]:
        """The shift; its norm is rho, or 0 before the first step."""
        return _to_norm(-rho, [m.clone() for m in rule.direction()])


ASCENTS: dict[str, type[Spec]] = with_entry_points(
    "ascents",
    {"isotropic": Isotropic, "relative": Relative, "preconditioned": Preconditioned, "momentum": Momentum},
)


def _named(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


if TYPE_CHECKING:
    AscentSpec = Any
else:
    AscentSpec = Annotated[one_of(ASCENTS), BeforeValidator(_named)]


def _gradients(weights: Sequence[Tensor]) -> list[Tensor]:
    """The gradients, to be written into: copies where two of them share memory, as those of two summands may."""
    found = [w.grad for w in weights if w.grad is not None]
    assert len(found) == len(weights), "the oracle fills every gradient"
    if len({g.untyped_storage().data_ptr() for g in found}) < len(found):
        return [g.clone() for g in found]
    return found


def _to_norm(rho: float, tensors: list[Tensor]) -> list[Tensor]:
    """The tensors scaled together to norm |rho|, in place; zeros stay zeros."""
    import torch

    norm = torch.nn.utils.get_total_norm(tensors)
    # No branch on the norm: reading it would make the host wait for the device in every step.
    scale = torch.where(norm > 0, rho / norm, torch.zeros_like(norm))
    torch._foreach_mul_(tensors, scale.to(tensors[0].dtype))
    return tensors
