"""What a run was shown, worked out again without a model: its plan, the tokens of each step, and its operations.

Plans, orders and lengths follow from the cell alone. Where a strategy needs a probe or new examples, those that are
kept in the results folder are taken; where there are none, nothing is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from optbench import cost
from optbench.cell import CellSpec
from optbench.errors import UserError
from optbench.order import rows_of_batches
from optbench.spec import canonical
from optbench.strategies.base import Plan, Trajectories
from optbench.strategies.probe import ProbeRun
from optbench.tasks.arithmetic import ArithmeticTask
from optbench.tasks.base import Example
from optbench.tasks.icl_regression import IclRegressionTask
from optbench.tasks.text import TextTask
from optbench.verification.numbers import number, same


class Unavailable(Exception):
    """Something that is needed to work a plan out again is not here: the reason is its text."""


@dataclass(frozen=True)
class Sizes:
    """Of the examples of a plan, in its order: input tokens [n] and supervised positions [n]; and the plan."""

    plan: Plan
    lengths: np.ndarray
    supervised: np.ndarray
    probe_flops: float

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass
class Shown:
    """Works plans out again and remembers them: the arms of a suite share most. `root` is the results folder."""

    root: Path
    _known: dict[str, Sizes] = field(default_factory=dict)

    def wrong(
        self, content: Mapping[str, Any], curves: pd.DataFrame | None, cell: CellSpec, *, same_versions: bool
    ) -> Iterator[str]:
        """What in plan, tokens and operations is not what the cell is shown. Raises Unavailable where it cannot be
        worked out here. `same_versions`: whether the record was made with the libraries that are here."""
        sizes = self._sizes(cell)
        if canonical(dict(content["plan"])) != canonical(sizes.plan.notes):
            if not same_versions:
                raise Unavailable("a plan differs, and it was made with other versions")
            yield f"plan is not what the strategy does with this task: {_first_difference(content['plan'], sizes.plan)}"
            return
        result = content["result"]
        if "steps_done" not in result:
            raise Unavailable("the record does not say how many steps were done")
        steps, batch = int(number(result["steps_done"])), cell.training.batch_size
        order = rows_of_batches(sizes.plan.repeats, batch, seed=cell.seed)
        rows = np.concatenate([next(order) for _ in range(steps)]) if steps else np.zeros(0, dtype=int)
        tokens = sizes.lengths[rows].reshape(steps, batch).sum(axis=1)
        if curves is not None and "tokens" in curves and curves["tokens"].tolist() != tokens.tolist():
            found = curves["tokens"].tolist()
            at = next((step for step, (a, b) in enumerate(zip(found, tokens, strict=False)) if a != b), len(found))
            yield f"the tokens of its curves are not those of the examples that the cell is shown (step {at})"
        if not same(result.get("tokens"), float(tokens.sum())):
            yield f"result.tokens is {result.get('tokens')!r}, but the cell is shown {tokens.sum()}"
        work = cost.Work.of(sizes, rows)  # type: ignore[arg-type]  # Lengths and supervised positions are all it reads.
        flops = cost.training_flops(cell.model.dimensions(), cell.optimizer, work, steps=steps)
        if not same(result.get("flops"), flops):
            yield f"result.flops is {result.get('flops')!r}, but training takes {flops:.12g}"
        share = sizes.probe_flops / flops if flops else 0.0
        if not same(result.get("probe_share"), share):
            yield f"result.probe_share is {result.get('probe_share')!r}, but the probe takes {share:.12g}"

    def _sizes(self, cell: CellSpec) -> Sizes:
        # Lengths depend on the tokenizer alone, which all nano models share; a uniform plan on nothing else.
        varies = [] if cell.strategy.kind == "uniform" else [cell.model, cell.seed]
        name = canonical([cell.task, cell.strategy, cell.model.kind, *varies])
        if name not in self._known:
            if len(self._known) > 64:
                self._known.clear()
            self._known[name] = self._worked_out(cell)
        return self._known[name]

    def _worked_out(self, cell: CellSpec) -> Sizes:
        if isinstance(cell.task, IclRegressionTask) and cell.strategy.kind == "uniform":
            # All sequences are alike: they need not be drawn.
            count = cell.task.train
            plan = Plan((), np.ones(count, dtype=int))
            return Sizes(plan, np.full(count, cell.task.context + 1), np.ones(count, dtype=int), 0.0)
        task = self._task(cell)
        used: list[Trajectories] = []

        def probe() -> Trajectories:
            used.append(kept_probe(cell.strategy.probe, cell, self.root))
            return used[-1]

        def rewrite(examples: Sequence[Example], seed: int) -> list[Example]:
            if not isinstance(cell.task, ArithmeticTask):
                raise Unavailable("new examples are written by a language model")
            return task.rewrite(examples, seed)

        plan = cell.strategy.plan(task, probe, rewrite, seed=cell.seed)
        flops = used[0].flops if used and plan.charged else 0.0
        tokenizer = cell.model.tokenizer()
        encoded = [task.encode(example, tokenizer) for example in plan.examples]
        lengths = np.array([len(ids) - 1 for ids, _ in encoded])
        return Sizes(plan, lengths, lengths + 1 - np.array([prompt for _, prompt in encoded]), flops)

    @staticmethod
    def _task(cell: CellSpec) -> TextTask:
        if not isinstance(cell.task, ArithmeticTask):
            raise Unavailable(f"data of the task {cell.task.kind} is not read again")
        if cell.model.kind != "nano":
            raise Unavailable("tokenizers of pretrained models are not loaded")
        return cell.task.build()


def kept_probe(spec: Any, cell: CellSpec, root: Path) -> Trajectories:
    """The probe that a strategy or panel takes for this cell, as it is kept. Raises Unavailable where it is not."""
    training = cell.training
    run = ProbeRun(spec, cell.model, cell.task.identity(), training.precision, training.attention)
    try:
        found = run.cached(root)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"the probe {run.key} cannot be read ({error})") from error
    if found is None:
        raise Unavailable("probes are not kept here")
    return found


def is_same_plan_possible(error: UserError) -> Unavailable:
    """A task that cannot be built here, as something that cannot be checked."""
    return Unavailable(f"a task cannot be built here ({error})")


def _first_difference(recorded: Mapping[str, Any], plan: Plan) -> str:
    for name in sorted({*recorded, *plan.notes}):
        one, other = recorded.get(name), plan.notes.get(name)
        if canonical({"x": one}) != canonical({"x": other}):
            return f"{name} is {json.dumps(one)[:80]}, and should be {json.dumps(other)[:80]}"
    return "it differs"
