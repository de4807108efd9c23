"""When linear attention learns each eigen-direction of the inputs' covariance, and where it waits in between.

From small weights attention with separate key and query passes near D + 1 saddles and learns the eigenvectors of Lambda
one at a time, the largest eigenvalue first (arXiv 2501.16265). How much later the last comes than the first measures
simplicity bias. Nothing is estimated: what the model does with any sequence is one matrix W, and the loss over all
sequences is a quadratic function of it.

Legend: D dimensions, k looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from optbench.errors import UserError
from optbench.panels.base import Findings, Subject
from optbench.spec import Spec

if TYPE_CHECKING:
    import pandas as pd

    from optbench.cell import CellSpec
    from optbench.models.regressor import Regressor
    from optbench.tasks.icl_data import Population


WINDOW = 4
"""Looks on either side over which the slope of the loss is taken: batches differ, and so does the loss after them."""

FLAT = 0.05
"""The relative change of the loss, at its slowest rate over a whole wait, below which the wait is a plateau."""


class EigenDirections(Spec):
    """Looks at W about `looks` times, evenly in the logarithm of the step.

    Direction d is learned when u_d^T W u_d reaches `threshold` of its value at the global optimum for good,
    interpolated between looks; d = 1 has the largest eigenvalue.
    """

    kind: Literal["eigen_directions"] = "eigen_directions"
    medium: ClassVar[str] = "regression"
    needs_answers: ClassVar[bool] = False
    looks: Annotated[int, Field(ge=10, le=10_000)] = 500
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5

    @property
    def along_training(self) -> bool:
        """It looks along training."""
        return True

    def probe_run(self, cell: CellSpec) -> None:
        """It needs no probe."""

    def start(self, subject: Subject) -> Directions:
        """Raises UserError for another model or task, or where eigenvalues are equal."""
        from optbench.models.regressor import Regressor
        from optbench.tasks.icl_regression import RegressionTask

        model: Any = subject.model
        if not isinstance(model, Regressor) or not isinstance(subject.task, RegressionTask):
            raise UserError("the panel eigen_directions needs a model linear_attention and a task icl_regression")
        population = subject.task.population
        if len(set(population.eigenvalues.tolist())) < len(population.eigenvalues):
            raise UserError(
                "the panel eigen_directions tells directions apart by their eigenvalues, and some of the task are equal"
            )
        return Directions(self, model, population, subject.cell.training.steps)


@dataclass
class Directions:
    """The panel at work: W at each look."""

    spec: EigenDirections
    model: Regressor
    population: Population
    total: int
    steps: list[int] = field(default_factory=list)
    matrices: list[np.ndarray] = field(default_factory=list)

    @cached_property
    def observe_at(self) -> frozenset[int]:
        """Before training and evenly in log(step); the last look is `finish`."""
        spaced = np.geomspace(1, self.total, self.spec.looks).round().astype(int)
        return frozenset([0, *spaced.tolist()]) - {self.total}

    def observe(self, step: int) -> None:
        """Keeps W."""
        self.steps.append(step)
        self.matrices.append(self.model.effective_matrix())

    def state_dict(self) -> dict[str, Any]:
        """The looks so far."""
        return {"steps": self.steps, "matrices": self.matrices}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on after those looks."""
        self.steps, self.matrices = state["steps"], state["matrices"]

    def finish(self) -> Findings:
        """The last look; learning times and plateaus."""
        self.observe(self.total)
        steps = np.array(self.steps, dtype=float)
        aligned = np.stack([self.population.aligned(matrix) for matrix in self.matrices])
        losses = np.array([self.population.loss(matrix) for matrix in self.matrices])
        times = np.array([learned_for_good(steps, own, self.spec.threshold) for own in aligned.T])
        plateaus = plateaus_of(steps, losses, times, self.population)
        flat = plateaus["plateau"].to_numpy(dtype=bool)
        result = {
            "never_learned_directions": float(np.isnan(times).sum()),
            "population_loss": float(losses[-1]),
            **{f"learned_at/{d}": float(t) for d, t in enumerate(times, start=1) if np.isfinite(t)},
        }
        if flat.any():
            result["plateau_error"] = float(plateaus["error"][flat].max())
        notes: dict[str, Any] = {
            "looks": len(steps),
            "plateaus": plateaus["learned"][flat].tolist(),
            "order": [int(d) + 1 for d in np.argsort(times) if np.isfinite(times[d])],
            "closed_form": [self.population.saddle_loss(np.arange(len(times)) < m) for m in range(len(times) + 1)],
        }
        ratio, why = last_first_ratio(times, self.total)
        if why:
            notes["last_first_ratio"] = why
        else:
            result["last_first_ratio"] = ratio
        undelayed = delay_free_ratio(times)
        if np.isfinite(undelayed):
            result["delay_free_ratio"] = undelayed
        return Findings(result, notes, {"alignments": self._table(steps, losses, aligned), "plateaus": plateaus})

    def _table(self, steps: np.ndarray, losses: np.ndarray, aligned: np.ndarray) -> pd.DataFrame:
        import pandas as pd

        columns = {f"alignment/{d}": own for d, own in enumerate(aligned.T, start=1)}
        return pd.DataFrame({"step": steps.astype(int), "population_loss": losses, **columns})


def learned_for_good(steps: np.ndarray, values: np.ndarray, threshold: float) -> float:
    """The step from which on `values` [k] stay at or above the threshold, on straight lines between looks; NaN if they
    end below. A head on its way to one direction may pass through another and leave it again."""
    below = np.flatnonzero(values < threshold)
    if not below.size:
        return float(steps[0])
    at = int(below[-1])
    if at == len(values) - 1:
        return float("nan")
    share = (threshold - values[at]) / (values[at + 1] - values[at])
    return float(steps[at] + share * (steps[at + 1] - steps[at]))


def last_first_ratio(times: np.ndarray, total: int) -> tuple[float, str]:
    """Learning time of the smallest eigenvalue over that of the largest; or what is known without one of them."""
    first, last = float(times[0]), float(times[-1])
    if first == 0:
        return float("nan"), "left out: the first direction was learned before training"
    if np.isfinite(first) and np.isfinite(last):
        return last / first, ""
    if np.isfinite(first):
        return float("nan"), f"left out: above {total / first:.3g}, the last direction was never learned"
    return float("nan"), "left out: the first direction was never learned"


def delay_free_ratio(times: np.ndarray) -> float:
    """(t_D - t_2) / (t_2 - t_1) of learning times [D]: how the later gaps compare with the first one.

    The ratio t_D / t_1 falls with anything that holds up all directions alike at the start; this one does not change.
    NaN for fewer than three directions, where one is never learned, and where the second is not later than the first.
    """
    if len(times) < 3 or not np.isfinite(times).all() or times[1] <= times[0]:
        return float("nan")
    return float((times[-1] - times[1]) / (times[1] - times[0]))


def plateaus_of(steps: np.ndarray, losses: np.ndarray, times: np.ndarray, population: Population) -> pd.DataFrame:
    """Where the loss changes slowest while the number of learned directions stays the same, beside the loss at the
    saddle where these directions are learned and no others.

    It is a plateau where going on at this slowest rate for the whole time would change the loss by less than `FLAT`;
    two directions that are learned close together have none between them. Steps, losses [k] and learning times [D],
    NaN for never. Rows: learned, step, population_loss, closed_form, error (relative), plateau.
    """
    import pandas as pd

    first, last = steps[: -2 * WINDOW], steps[2 * WINDOW :]
    slope = np.abs(losses[2 * WINDOW :] - losses[: -2 * WINDOW]) / (last - first)
    middle = steps[WINDOW:-WINDOW]
    order = [int(d) for d in np.argsort(times) if np.isfinite(times[d])]
    bounds = [0.0, *times[order].tolist(), float(steps[-1])]
    learned = np.zeros(len(times), dtype=bool)
    rows = []
    for count, (start, end) in enumerate(pairwise(bounds)):
        inside = np.flatnonzero((middle > start) & (middle < end))
        if inside.size:
            at = int(inside[np.argmin(slope[inside])])
            found, expected = float(losses[at : at + 2 * WINDOW + 1].mean()), population.saddle_loss(learned)
            flat = bool(slope[at] * (end - start) < FLAT * found)
            rows.append((count, int(middle[at]), found, expected, abs(found / expected - 1.0), flat))
        if count < len(order):
            learned[order[count]] = True
    return pd.DataFrame(rows, columns=["learned", "step", "population_loss", "closed_form", "error", "plateau"])
