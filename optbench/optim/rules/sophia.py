"""Sophia (arXiv 2305.14342): momentum over an estimate of the curvature's diagonal, clipped elementwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from optbench.optim.base import Elementwise, Parameter, Rule
from optbench.optim.search import Choice, Range, Space
from optbench.spec import Spec

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class Sophia(Spec, Elementwise):
    """m <- b1 m + (1 - b1) g; w <- (1 - lr wd) w - lr clip(m / max(gamma h, eps), 1), with h <- b2 h + (1 - b2) h^
    where an estimator gives a new estimate h^ of the diagonal (algorithm 3 of the paper).

    With `gauss_newton_bartlett` this is Sophia-G, and `gamma`, `betas`, `eps` are the paper's for it. No average is
    corrected for its start at zero: while h is small, every entry is clipped and moves by lr, as under a sign. The
    rate is thus the largest step of any entry, as AdamW's about is.
    """

    kind: Literal["sophia"] = "sophia"
    lr: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e-3
    betas: tuple[Beta, Beta] = (0.96, 0.99)
    gamma: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.05
    eps: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e-12
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    preconditions: ClassVar[bool] = False
    has_direction: ClassVar[bool] = True
    wants_diagonal: ClassVar[bool] = True
    # The paper takes rates like AdamW's or a little below, and a gamma at which 10% to 50% of the entries are not
    # clipped.
    SEARCH: ClassVar[Space] = {
        "lr": Range(low=1e-5, high=3e-2),
        "gamma": Range(low=0.005, high=0.5),
        "weight_decay": Choice(values=[0.0, 0.01, 0.1]),
    }

    def build(self, parameters: Sequence[Parameter]) -> Rule:
        """Two tensors of state for each parameter: m and h."""
        from optbench.optim.clipped_newton import ClippedNewton, ClippedNewtonRule

        engine = ClippedNewton(
            [p.tensor for p in parameters],
            lr=self.lr,
            betas=self.betas,
            gamma=self.gamma,
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
        return ClippedNewtonRule(parameters, engine, name=self.kind)
