"""The secondary error of an accuracy difference: the choice of test questions, with the trained models held fixed."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet

from optbench.reports.frame import by_arm_and_seed
from optbench.reports.stats import Array
from optbench.seal import check
from optbench.store import QUESTIONS, RUN_AGAIN

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Suite


class QuestionDifferences:
    """The per-question verdicts of a suite's cells, read when asked for and once each."""

    def __init__(self, suite: Suite, store: Store, cells: pd.DataFrame) -> None:
        """Reads nothing yet."""
        arms = len(suite.arms)
        self._store = store
        self._tasks = [arm.task for arm in suite.arms]
        self._keys = by_arm_and_seed(cells, cells["key"], arms=arms, empty="")
        self._diverged = by_arm_and_seed(cells, cells["outcome"] == "diverged", arms=arms, empty=False)
        self._ids: dict[str, pyarrow.ChunkedArray] = {}
        self._verdicts: dict[tuple[int, int], Array | None] = {}

    def standard_error(self, of: Array, minus: Array, seeds: Array, *, metric: str) -> float:
        """The standard error of the mean accuracy difference over the questions, conditional on the trained models.

        `of` and `minus` are places of paired arms, `seeds` places of seeds. For each question the difference of its two
        verdicts (-1, 0 or 1) is averaged over all pairs and seeds; the standard error is that of a mean of these
        numbers. So what makes a question hard for every model is not counted as many independent draws. For one pair
        and one seed this is the error behind McNemar's test, sqrt(b + c - (b - c)^2 / N) / N up to N / (N - 1), where
        b and c questions are answered by one of the two alone. Several tasks are strata, weighted by their pairs.

        It says nothing about training anew: it is a part of the doubt, never a reason to call a difference resolved.
        NaN for another metric than accuracy, and where verdicts are missing.
        """
        if metric != "accuracy" or len(of) == 0:
            return math.nan
        totals: dict[str, tuple[int, Array]] = {}
        for first, second in zip(of, minus, strict=True):
            task = self._tasks[first]
            for seed in seeds:
                difference = self._difference((first, seed), (second, seed))
                if difference is None:
                    return math.nan
                count, total = totals.get(task, (0, np.zeros(1)))
                totals[task] = (count + 1, total + difference)
        pairs = sum(count for count, _ in totals.values())
        variances = (float(np.var(total, ddof=1)) / len(total) for _, total in totals.values() if len(total) > 1)
        return math.sqrt(sum(variances)) / pairs

    def _difference(self, of: tuple[int, int], minus: tuple[int, int]) -> Array | None:
        left, right = self._verdict(of), self._verdict(minus)
        # A diverged model answers nothing, so it is wrong about every question that the other one was asked.
        if left is None and right is not None and self._diverged[of]:
            return -right
        if right is None and left is not None and self._diverged[minus]:
            return left
        if left is None or right is None:
            return np.zeros(1) if self._diverged[of] and self._diverged[minus] else None
        return left - right

    def _verdict(self, place: tuple[int, int]) -> Array | None:
        """1 and 0 for each question; None where they are not there, or not of the questions that the task asks."""
        if place not in self._verdicts:
            path = self._store.folder(self._keys[place]) / QUESTIONS
            self._verdicts[place] = self._read(path, self._tasks[place[0]]) if path.is_file() else None
        return self._verdicts[place]

    def _read(self, path: Path, task: str) -> Array | None:
        # Two columns of eight, past pandas' reader, which takes ten times as long for a small file.
        content = path.read_bytes()
        check(path, content, RUN_AGAIN)
        with pyarrow.parquet.ParquetFile(io.BytesIO(content)) as parquet:
            table = parquet.read(columns=["id", "correct"], use_threads=False)
        if not table["id"].equals(self._ids.setdefault(task, table["id"])):
            return None
        correct: Array = table["correct"].to_numpy().astype(float)
        return correct
