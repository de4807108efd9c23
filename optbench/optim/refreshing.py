"""A shift that is used for several steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optbench.optim.base import Estimate, Parameter, Rule

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.optim.estimators import SharpnessAware
    from optbench.oracle import Oracle


class Refreshing:
    """SAM and Functional-SAM whose shift is made anew at every k-th step, and is the same in between.

    The gradient at the weights is saved in the other steps (of LookSAM, arXiv 2203.02714, this is the half that saves
    passes; its decomposition of the gradient is another matter). The price is one more copy of the parameters.
    """

    def __init__(self, spec: SharpnessAware) -> None:
        self._spec = spec
        self._steps = 0
        self._shift: list[Tensor] = []

    def estimate(self, oracle: Oracle, parameters: Sequence[Parameter], rule: Rule, *, observe: bool) -> Estimate:
        """One pass, and one more (or its forward, for Functional-SAM) at every k-th step."""
        base = None
        if self._steps % self._spec.refresh_every == 0:
            self._shift, base = self._spec.ascend(oracle, parameters, rule)
        self._shift = [e.to(p.tensor.device) for e, p in zip(self._shift, parameters, strict=True)]
        self._steps += 1
        return self._spec.descend(oracle, parameters, list(self._shift), base, observe=observe)

    def state_bytes(self) -> int:
        """Bytes of the shift."""
        return sum(e.numel() * e.element_size() for e in self._shift)

    def state_dict(self) -> dict[str, Any]:
        """The shift and its age."""
        return {"steps": self._steps, "shift": [e.clone() for e in self._shift]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues with the shift of then."""
        self._steps = state["steps"]
        self._shift = [e.clone() for e in state["shift"]]
