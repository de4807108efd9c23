"""The gradient, and now and then an estimate of the diagonal of the Gauss-Newton matrix for the rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from optbench.optim.base import Estimate, Estimator, LearnsDiagonal, Parameter, Rule
from optbench.optim.cotangent import IsKept, always
from optbench.optim.search import Space
from optbench.spec import Spec

if TYPE_CHECKING:
    from optbench.optim.estimators import BodyHead
    from optbench.oracle import Oracle


class GaussNewtonBartlett(Spec):
    """The gradient at the weights, and at every `refresh_every`-th step an estimate of the curvature's diagonal.

    At the first step and every so many after it the rule gets

        N g^ * g^,    g^ = grad of the mean loss for targets that are drawn from the model itself

    with N the supervised positions of the batch, elementwise. Over the draws its mean is the diagonal of the
    Gauss-Newton matrix J^T (d2l/df2) J of the mean loss: targets from the model itself make the gradients of the
    positions independent and of mean zero, and the mean of their squares is its Fisher information, which for a
    cross-entropy is that matrix (Bartlett). It is never negative. Liu et al., Sophia, arXiv 2305.14342, algorithm 2.

    The draws depend on the seed of torch's generator at the first step (of which nothing is drawn), the step and each
    example alone (see `answers`). So equal examples in one batch draw alike, and k copies count k times too much. The
    pass holds the logits of a part with their graph. For language models; a suite with another task is refused.
    """

    kind: Literal["gauss_newton_bartlett"] = "gauss_newton_bartlett"
    refresh_every: Annotated[int, Field(ge=1)] = 10
    SEARCH: ClassVar[Space] = {}
    gives_diagonal: ClassVar[bool] = True
    medium: ClassVar[str] = "text"

    @property
    def passes_per_step(self) -> Fraction:
        """One, and the pass for drawn targets, on average."""
        return 1 + Fraction(1, self.refresh_every)

    def passes_after(self, steps: int) -> Fraction:
        """Passes of the first `steps` steps."""
        return Fraction(steps + -(-steps // self.refresh_every))

    @property
    def preconditions(self) -> bool:
        """Whether a step asks the rule for its preconditioner."""
        return False

    def flops(self, body_forward: float, head_forward: float, is_kept: IsKept = always) -> float:
        """Operations of a step on average, from those of one forward pass through body and head."""
        return 3 * float(self.passes_per_step) * (body_forward + head_forward)

    def flops_of(self, forward: BodyHead, backward: BodyHead, is_kept: IsKept = always) -> float:
        """`flops` where a backward does not cost two forwards, as under frozen weights."""
        return float(self.passes_per_step) * (sum(forward) + sum(backward))

    def check_rule(self, *, preconditions: bool, has_direction: bool) -> None:
        """Any rule that takes a diagonal will do."""

    def build(self) -> Estimator:
        """The estimator, at its first step."""
        return _Counting(self.refresh_every)


class _Counting:
    """The estimator: it knows which step it is."""

    def __init__(self, every: int) -> None:
        self._every, self._steps = every, 0
        self._seed: int | None = None

    def estimate(self, oracle: Oracle, parameters: Sequence[Parameter], rule: Rule, *, observe: bool) -> Estimate:
        """One pass, and at every so many steps the other one before it."""
        import torch

        from optbench.optim.answers import drawn

        if self._steps % self._every == 0:
            if self._seed is None:
                self._seed = torch.initial_seed()
            oracle.gradient_of_answers(partial(drawn, step=self._steps, seed=self._seed))
            with torch.no_grad():
                gradients = [p.tensor.grad for p in parameters if p.tensor.grad is not None]
                cast(LearnsDiagonal, rule).learn_diagonal(gradients, oracle.batch.num_supervised)
        self._steps += 1
        return Estimate(oracle.gradient().loss, "weights")

    def state_bytes(self) -> int:
        """None."""
        return 0

    def state_dict(self) -> dict[str, Any]:
        """The number of steps and the seed, on which draws depend."""
        return {"steps": self._steps, "seed": self._seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues with the step and the seed of then."""
        self._steps, self._seed = int(state["steps"]), state["seed"]
