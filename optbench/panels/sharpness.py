"""Sharpness: curvature of the loss of a fixed batch of training examples, in float32, at the end and along training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from optbench.errors import UserError
from optbench.panels.base import Findings, Subject, looks_at
from optbench.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.cell import CellSpec
    from optbench.curvature.products import Products
    from optbench.curvature.report import Report
    from optbench.oracle import Oracle

GROUPS = 8
"""Groups of the probe examples whose squared gradients are averaged for the preconditioner."""
SAMPLE = 4
"""Examples, the longest, that are run forward to learn what a graph takes."""
GRAPH = 4.0
"""Upper bound of what a kept second-order graph takes, over what a forward pass saves for its backward."""


class Sharpness(Spec):
    """The numbers of docs/sharpness.md on one probe batch: `examples` training examples of the task, drawn with `seed`
    and nothing else, so that all arms and seeds are looked at through the same examples.

    exact: double backward through attention as plain mathematics. finite_difference: differences of gradients, through
    any attention. Each search for an eigenvalue ends at a relative residual of `tolerance`, after its number of
    products, or with its share of `budget`, the gradient-equivalents of all numbers together (half as many for finite
    differences). `probes` random vectors estimate the trace (a third where no graph is kept). `rho` is the size of
    SAM's shift. `looks` > 0 looks so often along training, too. `micro_batch` 0 means what fits: see `memory_mib`.
    """

    kind: Literal["sharpness"] = "sharpness"
    medium: ClassVar[str] = "any"
    needs_answers: ClassVar[bool] = False
    mode: Literal["exact", "finite_difference"] = "exact"
    examples: Annotated[int, Field(ge=2, le=65536)] = 64
    looks: Annotated[int, Field(ge=0, le=1000)] = 0
    rho: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.05
    budget: Annotated[float, Field(gt=0.0, le=1e6)] = 118.0
    hessian_products: Annotated[int, Field(ge=3, le=1000)] = 28
    ggn_products: Annotated[int, Field(ge=3, le=1000)] = 16
    probes: Annotated[int, Field(ge=6, le=1000)] = 18
    tolerance: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.003
    memory_mib: Annotated[int, Field(ge=0)] = 64
    """What graphs, and what a Krylov basis, may take however small training is. Beyond it no graph is kept, parts are
    a quarter of what training takes at once, and the basis is three vectors: 2.1 to 2.2 times the memory of AdamW."""
    basis: Literal["kept", "none"] = "kept"
    """none: Lanczos without a basis, for models of which three vectors are all there is room for. One run of it gives
    both ends of the Hessian's spectrum and the first sample of its trace; the probes alone give the others. Finite
    differences are then one-sided with the step that rounding allows."""
    micro_batch: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def along_training(self) -> bool:
        """Whether it looks before the end."""
        return self.looks > 0

    def start(self, subject: Subject) -> Looking:
        """Prepares the probe batch. Raises UserError where the panel does not apply, saying why."""
        return Looking(self, subject)

    def probe_run(self, cell: CellSpec) -> None:
        """It needs none."""


class Looking:
    """Sharpness at work on one run: see `optbench.panels.base.Looking`."""

    def __init__(self, spec: Sharpness, subject: Subject) -> None:
        from optbench.curvature.applies import check, evaluating
        from optbench.rng import stream

        self._spec, self._subject = spec, subject
        model = subject.model
        self._model = dataclasses.replace(model, precision="float32") if hasattr(model, "precision") else model
        available = len(subject.task.train)
        count = min(spec.examples, available)
        if count < 2:
            raise UserError(f"sharpness: the task has {available} training examples; at least 2 are needed")
        chosen = np.sort(stream(spec.seed, "sharpness/examples").choice(available, size=count, replace=False))
        self._prepared = subject.task.prepare([subject.task.train[row] for row in chosen.tolist()], self._model)
        check(self._oracle(np.arange(count), count), spec.mode)
        with evaluating(self._model.module):
            self._rows, self._kept = self._fitting()
        self._series: list[dict[str, float]] = []

    @property
    def observe_at(self) -> frozenset[int]:
        """The start and `looks` evenly spaced steps; none where it looks at the end only."""
        steps = self._subject.cell.training.steps
        return looks_at(steps, self._spec.looks, first=True) if self._spec.looks else frozenset()

    def observe(self, step: int) -> None:
        """All numbers at these weights, as a row of the table `series`."""
        report = self._look()
        self._series.append({"step": float(step), **{v.name: v.value for v in report.values}})

    def state_dict(self) -> dict[str, Any]:
        """The rows of the series so far."""
        return {"series": self._series}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on after those rows."""
        self._series = state["series"]

    def finish(self) -> Findings:
        """All numbers at the trained weights; the table `values` has error, cost and mode of each."""
        import pandas as pd

        report = self._look()
        rows = [{**dataclasses.asdict(value), "mode": self._spec.mode} for value in report.values]
        tables = {"values": pd.DataFrame(rows)}
        if self._series:
            tables["series"] = pd.DataFrame(self._series).astype({"step": int})
        result = {value.name: value.value for value in report.values if math.isfinite(value.value)}
        result["sharpness_cost"] = report.cost
        notes: dict[str, Any] = {"mode": self._spec.mode, "precision": "float32", "examples": len(self._prepared)}
        lost = [value.name for value in report.values if not math.isfinite(value.value)]
        if lost:
            notes["not_finite"] = lost
        notes |= {"micro_batch": self._rows, "graphs_kept": self._kept, **report.notes}
        return Findings(result, notes, tables)

    def _look(self) -> Report:
        from optbench.curvature.applies import evaluating
        from optbench.curvature.differences import Differences
        from optbench.curvature.exact import Exact
        from optbench.curvature.onesided import OneSided
        from optbench.curvature.report import Effort, Look

        spec, count = self._spec, len(self._prepared)
        with evaluating(self._model.module):
            oracle = self._oracle(np.arange(count), self._rows)
            products: Products
            differences = Differences if spec.basis == "kept" else OneSided
            products = Exact(oracle, keep=self._kept) if spec.mode == "exact" else differences(oracle)
            groups = [self._oracle(rows, self._rows) for rows in np.array_split(np.arange(count), min(GROUPS, count))]
            basis = max(spec.hessian_products, spec.ggn_products) * _bytes(oracle.parameters)
            effort = Effort(
                budget=spec.budget / (1 if spec.mode == "exact" else 2),
                kept=self._kept,
                hessian_products=spec.hessian_products,
                ggn_products=spec.ggn_products,
                probes=spec.probes if self._kept else spec.probes // 3,
                tolerance=spec.tolerance,
                rho=spec.rho,
                seed=spec.seed,
                frugal=spec.basis == "none" or basis > spec.memory_mib << 20,
                basis_free=spec.basis == "none",
            )
            return Look(products, groups, spec.mode, effort).take()

    def _oracle(self, rows: np.ndarray, at_once: int) -> Oracle:
        from optbench.oracle import Oracle

        return Oracle(self._model, self._subject.task.losses, self._prepared.batch(rows, micro_batch=at_once))

    def _fitting(self) -> tuple[int, bool]:
        """How many examples go through the model at once, and whether graphs are kept: by what a forward saves."""
        from optbench.curvature.memory import saved_bytes

        spec, training, count = self._spec, self._subject.cell.training, len(self._prepared)
        trained = min(training.micro_batch, training.batch_size, count)
        if spec.mode == "finite_difference":
            return spec.micro_batch or trained, False
        # Measured on examples that do not depend on the micro-batch, which must change nothing.
        longest = np.argsort(-self._prepared.lengths, kind="stable")[:SAMPLE]
        graph = GRAPH * saved_bytes(self._oracle(longest, 1)) * count / len(longest)
        kept = graph <= spec.memory_mib << 20
        return spec.micro_batch or (count if kept else max(1, trained // 4)), kept


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
