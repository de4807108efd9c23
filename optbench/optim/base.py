"""An optimizer is an estimator (where the gradient is taken, with which cotangent) times a rule (what is done then)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.oracle import Oracle

Role = Literal["embedding", "hidden", "head", "vector", "adapter"]
"""What a parameter is for: token embeddings; matrices inside the network; the output layer; anything with fewer than
two dimensions (norms, biases); matrices of an adapter such as LoRA. A tied head is an embedding."""


@dataclass(frozen=True)
class Parameter:
    """A trainable tensor with its name and role."""

    name: str
    tensor: Tensor
    role: Role


@dataclass(frozen=True)
class Damping:
    """What is added to sqrt(v) before dividing by it.

    relative: `amount` times the root mean square of sqrt(v) over the tensor. absolute: `amount` itself. The choice
    decides everything: with a tiny absolute damping, embedding rows that were never seen (v = 0) take nearly the whole
    shift.
    """

    amount: float
    relative: bool
    bias_correction: bool


class Rule(Protocol):
    """What is done with a gradient that lies in `p.grad`."""

    def apply(self, lr_scale: float) -> None:
        """One update, inside `torch.no_grad()`; the rate is the base rate times `lr_scale`, which does not compound."""
        ...

    def precondition(self, gradients: Sequence[Tensor], damping: Damping) -> list[Tensor]:
        """The gradients in the rule's own geometry, from its state before this step; unchanged before the first. The
        caller may write into what it gets."""
        ...

    def direction(self) -> list[Tensor]:
        """The rule's momentum, an average of past gradients; zeros before the first step."""
        ...

    def evaluating(self) -> AbstractContextManager[None]:
        """Inside, the parameters hold what is to be evaluated: the averages, for rules that average."""
        ...

    def claims(self) -> Mapping[str, Sequence[str]]:
        """Which part of the rule updates which parameters, by name."""
        ...

    def state_bytes(self) -> int:
        """Bytes of the tensors that the rule keeps between steps."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, apart from parameters and gradients."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues as the rule that gave `state` would have, bit for bit."""
        ...


class LearnsDiagonal(Protocol):
    """A rule whose spec says `wants_diagonal`: it keeps an average of the diagonal of a curvature."""

    def learn_diagonal(self, gradients: Sequence[Tensor], scale: float) -> None:
        """Takes `scale` g * g, elementwise, as a new estimate, for g of `gradients` in the order of the parameters;
        inside `torch.no_grad()`, before the update of the step."""
        ...


class RuleSpec(Protocol):
    """What every spec of a rule has. The class variables are known before anything is built, so that an impossible
    combination is refused when the suite is read."""

    kind: str
    preconditions: ClassVar[bool]
    has_direction: ClassVar[bool]

    def update_flops(self, matrices: Sequence[tuple[int, int]]) -> float:
        """Operations of the matrix products of one update, for hidden matrices of these rows and columns."""
        ...

    def precondition_flops(self, matrices: Sequence[tuple[int, int]]) -> float:
        """The same of one call of `Rule.precondition`."""
        ...

    def build(self, parameters: Sequence[Parameter]) -> Rule:
        """The rule for these parameters."""
        ...


class Elementwise:
    """A spec of a rule without products of matrices; elementwise work is not counted."""

    def update_flops(self, matrices: Sequence[tuple[int, int]]) -> float:
        """None."""
        return 0.0

    def precondition_flops(self, matrices: Sequence[tuple[int, int]]) -> float:
        """None."""
        return 0.0


@dataclass(frozen=True)
class Estimate:
    """What an estimator reports; the gradient itself lies in `p.grad`.

    `loss` is the first loss evaluated, `loss_at` says where. The notes are filled only where they were asked for.
    """

    loss: Tensor
    loss_at: Literal["weights", "shifted weights"]
    notes: Mapping[str, Any] = field(default_factory=dict)


class Estimator(Protocol):
    """Where the gradient is taken."""

    def estimate(self, oracle: Oracle, parameters: Sequence[Parameter], rule: Rule, *, observe: bool) -> Estimate:
        """Fills `p.grad`; leaves the parameters bit for bit as they were."""
        ...

    def state_bytes(self) -> int:
        """Bytes of the tensors that the estimator keeps between steps."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What the next estimate depends on, apart from its arguments."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues as the estimator that gave `state` would have, bit for bit."""
        ...


class Stateless:
    """A spec of an estimator that is the estimator, for it keeps nothing between steps."""

    def build(self: Any) -> Estimator:
        """The estimator: this spec."""
        found: Estimator = self
        return found

    def state_bytes(self) -> int:
        """None."""
        return 0

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class StepInfo:
    """What one step reports. Tensors stay on their device: reading them is the caller's choice of a moment.

    `loss` is the mean per supervised position where `loss_at` says, before the update. `gradient_norm` is the norm
    before clipping. `notes` holds what `observe` asked for: shift_norm, shift_cosine, shift_share of each role.
    """

    loss: Tensor
    loss_at: str
    gradient_norm: Tensor
    notes: Mapping[str, Any]


class Optimizer:
    """Estimator x rule, with clipping in between."""

    def __init__(
        self, estimator: Estimator, rule: Rule, parameters: Sequence[Parameter], *, max_norm: float = math.inf
    ) -> None:
        """Raises ValueError unless the rule claims every parameter exactly once."""
        self.estimator = estimator
        self.rule = rule
        self.parameters = list(parameters)
        self.max_norm = max_norm
        check_claims(self.parameters, rule.claims())

    def step(self, oracle: Oracle, lr_scale: float = 1.0, *, observe: bool = False) -> StepInfo:
        """One update from the batch behind `oracle`."""
        import torch

        estimate = self.estimator.estimate(oracle, self.parameters, self.rule, observe=observe)
        with torch.no_grad():
            gradients = [p.tensor.grad for p in self.parameters if p.tensor.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            if self.max_norm != math.inf:
                torch.nn.utils.clip_grads_with_norm_([p.tensor for p in self.parameters], self.max_norm, norm)
            self.rule.apply(lr_scale)
        return StepInfo(estimate.loss, estimate.loss_at, norm, estimate.notes)

    def state_bytes(self) -> int:
        """Bytes of the tensors that rule and estimator keep between steps."""
        return self.rule.state_bytes() + self.estimator.state_bytes()

    def state_dict(self) -> dict[str, Any]:
        """The states of rule and estimator."""
        return {"rule": self.rule.state_dict(), "estimator": self.estimator.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues as the optimizer that gave `state` would have."""
        self.rule.load_state_dict(state["rule"])
        self.estimator.load_state_dict(state["estimator"])


def check_claims(parameters: Sequence[Parameter], claims: Mapping[str, Sequence[str]]) -> None:
    """Raises ValueError unless every parameter is claimed exactly once: one left out would silently stay as it is."""
    claimed = [name for names in claims.values() for name in names]
    missing = sorted({p.name for p in parameters} - set(claimed))
    twice = sorted({name for name in claimed if claimed.count(name) > 1})
    if missing or twice:
        raise ValueError(f"parameters updated by nobody: {missing}; by more than one: {twice}")
