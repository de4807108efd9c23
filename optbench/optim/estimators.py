"""Where the gradient is taken: at the weights, or at shifted weights, with the cotangent of here or of there.

    plain            g = J(w)^T       dl/df(w)
    SAM              g = J(w + e)^T   dl/df(w + e)       arXiv 2010.01412
    Functional-SAM   g = J(w + e)^T   dl/df(w)           arXiv 2502.02407

J is the Jacobian of the outputs f, e the shift of norm rho along the chosen ascent. SAM and Functional-SAM differ by
one argument: which cotangent is pulled back at the shifted weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from optbench.optim.ascents import AscentSpec, Isotropic
from optbench.optim.base import Estimate, Parameter, Rule
from optbench.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.oracle import Oracle


class Plain(Spec):
    """The gradient of the loss at the weights."""

    kind: Literal["plain"] = "plain"

    @property
    def passes_per_step(self) -> Fraction:
        """Forward + backward evaluations of the batch in one step."""
        return Fraction(1)

    @property
    def preconditions(self) -> bool:
        """Whether a step asks the rule for its preconditioner."""
        return False

    def flops(self, body_forward: float, head_forward: float) -> float:
        """Operations of a step, from those of one forward pass through body and head; a backward costs two forwards."""
        return 3 * (body_forward + head_forward)

    def check_rule(self, *, preconditions: bool, has_direction: bool) -> None:
        """Any rule will do."""

    def estimate(self, oracle: Oracle, parameters: Sequence[Parameter], rule: Rule, *, observe: bool) -> Estimate:
        """One pass."""
        return Estimate(oracle.gradient().loss, "weights")


class SharpnessAware(Spec):
    """The gradient at weights shifted by an ascent of size `rho`: SAM, and with `functional` Functional-SAM."""

    kind: Literal["sharpness_aware"] = "sharpness_aware"
    rho: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.05
    ascent: AscentSpec = Isotropic()
    functional: bool = False

    @property
    def passes_per_step(self) -> Fraction:
        """Two, or less for an ascent that needs no gradient at the weights: Functional-SAM then still runs forward."""
        if self.ascent.needs_gradient:
            return Fraction(2)
        return Fraction(4, 3) if self.functional else Fraction(1)

    @property
    def preconditions(self) -> bool:
        """Whether a step asks the rule for its preconditioner."""
        return bool(self.ascent.needs_preconditioner)

    def flops(self, body_forward: float, head_forward: float) -> float:
        """Operations of a step. The pull-back of Functional-SAM runs no forward through the head."""
        there = 3 * body_forward + (2 if self.functional else 3) * head_forward
        if self.ascent.needs_gradient:
            return 3 * (body_forward + head_forward) + there
        return there + (body_forward + head_forward if self.functional else 0.0)

    def check_rule(self, *, preconditions: bool, has_direction: bool) -> None:
        """Raises ValueError where the ascent asks for something that the rule does not declare."""
        if self.ascent.needs_preconditioner and not preconditions:
            raise ValueError("the preconditioned ascent needs a rule with a preconditioner (adamw, muon)")
        if self.ascent.needs_direction and not has_direction:
            raise ValueError("the momentum ascent needs a rule with a momentum (gd with momentum > 0, adamw, muon)")

    def estimate(self, oracle: Oracle, parameters: Sequence[Parameter], rule: Rule, *, observe: bool) -> Estimate:
        """Two passes with the shift between; the weights come back bit for bit."""
        import torch

        from optbench.oracle import shifted

        weights = [p.tensor for p in parameters]
        base = None
        if self.ascent.needs_gradient:
            base = oracle.gradient(keep=self.functional)
        elif self.functional:
            base = oracle.cotangent()
        with torch.no_grad():
            shift = self.ascent.shift(weights, rule, self.rho)
        with shifted(weights, shift) as saved:
            notes = _notes(parameters, saved, shift, oracle) if observe else {}
            shift.clear()  # As large as the model, and not needed any more.
            there = oracle.gradient(cotangent=base.cotangent if base and self.functional else None)
        if base is None:
            return Estimate(there.loss, "shifted weights", notes)
        return Estimate(base.loss, "weights", notes)


def _notes(parameters: Sequence[Parameter], saved: list[Tensor], shift: list[Tensor], oracle: Oracle) -> dict[str, Any]:
    """What the shift was: its norm, the cosine between it and what the forward pass saw of it (products round their
    arguments to the compute precision), and the share of its square that each role took.

    One tensor at a time in double precision: copies of a whole model would not fit beside it.
    """
    import torch

    squares: dict[str, Tensor] = {}
    seen_square = dot = torch.zeros((), dtype=torch.float64, device=saved[0].device)
    with torch.no_grad():
        for p, before, e in zip(parameters, saved, shift, strict=True):
            asked = e.double()
            seen = oracle.model.rounded(p.tensor, p.role).double() - oracle.model.rounded(before, p.role).double()
            squares[p.role] = squares.get(p.role, torch.zeros_like(dot)) + asked.square().sum()
            seen_square = seen_square + seen.square().sum()
            dot = dot + (asked * seen).sum()
    square = float(sum(squares.values()))
    both = (square * float(seen_square)) ** 0.5
    share = {role: float(own) / square if square else 0.0 for role, own in sorted(squares.items())}
    return {
        "shift_norm": square**0.5,
        "shift_cosine": float(dot) / both if both else float("nan"),
        "shift_share": share,
    }
