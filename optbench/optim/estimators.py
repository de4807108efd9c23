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
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from optbench.optim.ascents import AscentSpec, Isotropic
from optbench.optim.base import Estimate, Estimator, Parameter, Rule, Stateless
from optbench.optim.cotangent import IsKept, Keep, always
from optbench.optim.search import Range, Space
from optbench.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.oracle import Gradient, Oracle

BodyHead = tuple[float, float]
"""Operations in the blocks and in the output layer."""


class Plain(Spec, Stateless):
    """The gradient of the loss at the weights."""

    kind: Literal["plain"] = "plain"
    SEARCH: ClassVar[Space] = {}

    @property
    def passes_per_step(self) -> Fraction:
        """Forward + backward evaluations of the batch in one step."""
        return Fraction(1)

    @property
    def preconditions(self) -> bool:
        """Whether a step asks the rule for its preconditioner."""
        return False

    def flops(self, body_forward: float, head_forward: float, is_kept: IsKept = always) -> float:
        """Operations of a step, from those of one forward pass through body and head; a backward costs two forwards."""
        return 3 * (body_forward + head_forward)

    def flops_of(self, forward: BodyHead, backward: BodyHead, is_kept: IsKept = always) -> float:
        """`flops` where a backward does not cost two forwards, as under frozen weights."""
        return sum(forward) + sum(backward)

    def check_rule(self, *, preconditions: bool, has_direction: bool) -> None:
        """Any rule will do."""

    def estimate(self, oracle: Oracle, parameters: Sequence[Parameter], rule: Rule, *, observe: bool) -> Estimate:
        """One pass."""
        return Estimate(oracle.gradient().loss, "weights")


class SharpnessAware(Spec, Stateless):
    """The gradient at weights shifted by an ascent of size `rho`: SAM, and with `functional` Functional-SAM.

    Two ways to pay less, at the price of another shift: `ascent_fraction` takes the gradient of the ascent from that
    fraction of the batch; `refresh_every` makes a new shift at every k-th step only, and uses it, one more copy of the
    parameters, until then. `cotangent` is how Functional-SAM holds dloss/doutputs between its passes (see
    `optim/cotangent.py`); the gradient is the same.
    """

    kind: Literal["sharpness_aware"] = "sharpness_aware"
    rho: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.05
    ascent: AscentSpec = Isotropic()
    functional: bool = False
    ascent_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    refresh_every: Annotated[int, Field(ge=1)] = 1
    cotangent: Keep = "auto"
    # From where a shift changes next to nothing to where most runs fall apart; published values are 0.01 to 0.5, and
    # higher where sizes are relative to the weights.
    SEARCH: ClassVar[Space] = {"rho": Range(low=0.005, high=1.0)}

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        saves = [name for name in ("ascent_fraction", "refresh_every") if getattr(self, name) != 1]
        if saves and not self.ascent.needs_gradient:
            raise ValueError(f"{saves[0]}: the {self.ascent.kind} ascent takes no gradient that this could save")
        if self.cotangent != "auto" and not self.functional:
            raise ValueError("cotangent: only Functional-SAM (functional: true) holds one between its passes")
        return self

    @property
    def passes_per_step(self) -> Fraction:
        """Two, or less for an ascent that needs no gradient of the whole batch in every step; on average, where shifts
        are used again. Functional-SAM always runs forward at the weights."""
        ascent = self._ascents
        if not self.functional:
            return 1 + ascent
        return 1 + ascent + Fraction(1, 3) * self._forwards

    @property
    def preconditions(self) -> bool:
        """Whether a step asks the rule for its preconditioner."""
        return bool(self.ascent.needs_preconditioner)

    @property
    def _ascents(self) -> Fraction:
        """Gradients at the weights in a step, as shares of the batch, on average."""
        if not self.ascent.needs_gradient:
            return Fraction(0)
        return Fraction(repr(self.ascent_fraction)) / self.refresh_every

    @property
    def _forwards(self) -> Fraction:
        """Forward passes at the weights in a step, on average, for the cotangent alone."""
        if self._splits:
            return Fraction(1)
        return 1 - Fraction(1, self.refresh_every)

    @property
    def _splits(self) -> bool:
        """Whether the gradient of the ascent, if there is one, leaves the cotangent of the batch to be found."""
        return not self.ascent.needs_gradient or self.ascent_fraction < 1

    def flops(self, body_forward: float, head_forward: float, is_kept: IsKept = always) -> float:
        """Operations of a step, on average. The pull-back of Functional-SAM runs no forward through the head unless it
        rebuilds the cotangent; a forward for a cotangent that is rebuilt runs none either."""
        ascent = 3 * float(self._ascents) * (body_forward + head_forward)
        if not self.functional:
            return ascent + 3 * (body_forward + head_forward)
        kept = is_kept(self.cotangent)
        forwards = float(self._forwards) * (body_forward + (head_forward if kept else 0.0))
        return ascent + forwards + 3 * body_forward + (2 if kept else 3) * head_forward

    def flops_of(self, forward: BodyHead, backward: BodyHead, is_kept: IsKept = always) -> float:
        """`flops` where a backward does not cost two forwards, as under frozen weights."""
        whole = sum(forward) + sum(backward)
        ascent = float(self._ascents) * whole
        if not self.functional:
            return ascent + whole
        kept = is_kept(self.cotangent)
        body, head = forward
        forwards = float(self._forwards) * (body + (head if kept else 0.0))
        return ascent + forwards + body + sum(backward) + (0.0 if kept else head)

    def check_rule(self, *, preconditions: bool, has_direction: bool) -> None:
        """Raises ValueError where the ascent asks for something that the rule does not declare."""
        if self.ascent.needs_preconditioner and not preconditions:
            raise ValueError("the preconditioned ascent needs a rule with a preconditioner (adamw, muon)")
        if self.ascent.needs_direction and not has_direction:
            raise ValueError("the momentum ascent needs a rule with a momentum (gd with momentum > 0, adamw, muon)")

    def build(self) -> Estimator:
        """The estimator: this spec itself, or one that holds a shift between steps."""
        from optbench.optim.refreshing import Refreshing

        return self if self.refresh_every == 1 else Refreshing(self)

    def estimate(self, oracle: Oracle, parameters: Sequence[Parameter], rule: Rule, *, observe: bool) -> Estimate:
        """Two passes with the shift between; the weights come back bit for bit."""
        shift, base = self.ascend(oracle, parameters, rule)
        return self.descend(oracle, parameters, shift, base, observe=observe)

    def ascend(
        self, oracle: Oracle, parameters: Sequence[Parameter], rule: Rule
    ) -> tuple[list[Tensor], Gradient | None]:
        """A new shift, and what was found of the whole batch at the weights on the way to it, if anything was."""
        import torch

        weights = [p.tensor for p in parameters]
        base = None
        if self._splits:
            if self.ascent.needs_gradient:
                oracle.for_ascent().of_fraction(self.ascent_fraction).gradient()
        else:
            base = oracle.for_ascent().gradient(keep=self.cotangent if self.functional else False)
        with torch.no_grad():
            shift = self.ascent.shift(weights, rule, self.rho)
        for w in weights:
            w.grad = None  # The shift may live in it, and where it does not, two such copies are one too many.
        return shift, base

    def descend(
        self,
        oracle: Oracle,
        parameters: Sequence[Parameter],
        shift: list[Tensor],
        base: Gradient | None,
        *,
        observe: bool,
    ) -> Estimate:
        """The gradient at the shifted weights. The list of shifts is emptied: it is as large as the model."""
        from optbench.oracle import shifted

        weights = [p.tensor for p in parameters]
        if self.functional and base is None:
            base = oracle.cotangent(self.cotangent)
        with shifted(weights, shift) as saved:
            notes = _notes(parameters, saved, shift, oracle) if observe else {}
            shift.clear()
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
