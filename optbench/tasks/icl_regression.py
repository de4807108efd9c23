"""In-context linear regression: sequences of pairs with a hidden linear map, to be continued (arXiv 2501.16265).

Legend: B sequences, D dimensions, n examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, overload

import numpy as np
from pydantic import Field, model_validator

from optbench.errors import UserError
from optbench.spec import Spec
from optbench.tasks.base import Evaluation, Example, Grade
from optbench.tasks.icl_data import Population, rotation

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.models.language_model import LanguageModel
    from optbench.oracle import Batch, Part

Eigenvalue = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class IclRegressionTask(Spec):
    """Sequences of `context` pairs (x, w^T x) and a query: w ~ N(0, I), x ~ N(0, Lambda); the loss is the squared error
    at the query.

    `spectrum` holds the eigenvalues of Lambda; left out, they are proportional to `dims`, .., 2, 1 and their sum is 1.
    The eigenvectors are drawn with the data, or with `rotation: identity` the axes. A training set of tens of thousands
    of sequences stands for the population: sampling tilts the directions and moves the losses by about 1/sqrt(train).
    """

    kind: Literal["icl_regression"] = "icl_regression"
    dims: Annotated[int, Field(ge=1, le=256)] = 4
    context: Annotated[int, Field(ge=1)] = 31
    spectrum: tuple[Eigenvalue, ...] = ()
    rotation: Literal["random", "identity"] = "random"
    train: Annotated[int, Field(ge=1)] = 65_536
    validation: Annotated[int, Field(ge=0)] = 16_384
    test: Annotated[int, Field(ge=1)] = 200_000
    data_seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_eigenvalue_per_dimension(self) -> Self:
        if self.spectrum and len(self.spectrum) != self.dims:
            raise ValueError(f"spectrum has {len(self.spectrum)} eigenvalues for dims: {self.dims}")
        if list(self.spectrum) != sorted(self.spectrum, reverse=True):
            raise ValueError("spectrum lists the eigenvalues from the largest to the smallest")
        return self

    @property
    def medium(self) -> str:
        """What a model must read: sequences of regression, in as many dimensions."""
        return f"regression in {self.dims} dimensions"

    @property
    def can_rewrite(self) -> bool:
        """Whether new examples can be written: never."""
        return False

    def population(self) -> Population:
        """All sequences of this kind."""
        given = np.array(self.spectrum) if self.spectrum else np.arange(self.dims, 0.0, -1.0)
        eigenvalues = given if self.spectrum else given / given.sum()
        axes = rotation(self.dims, self.data_seed) if self.rotation == "random" else np.eye(self.dims)
        return Population(eigenvalues, axes, self.context)

    def build(self) -> RegressionTask:
        """The task: each split drawn from a stream of its own."""
        population = self.population()
        sizes = {"train": self.train, "validation": self.validation, "test": self.test}
        drawn = {
            split: Sequences(population.draw(size, self.data_seed, f"icl regression/{split}"), split, np.arange(size))
            for split, size in sizes.items()
        }
        return RegressionTask(population=population, **drawn)

    def num_train(self) -> int:
        """The size of the training set."""
        return self.train

    def token_counts(self, tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and supervised positions of a sequence: all are alike."""
        return np.array([self.context + 1]), np.array([1])


@dataclass(frozen=True, eq=False)
class Sequences(Sequence[Example]):
    """Examples of a split, kept as numbers and only written out where one is looked at.

    `numbers` float32 [n, 2 D + 1] holds beta, x_q and y_q of each; `rows` [n] are their places in the split.
    """

    numbers: np.ndarray
    split: str
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequences: ...
    def __getitem__(self, index: int | slice) -> Example | Sequences:
        """An example with its numbers as text, or some of them."""
        if isinstance(index, slice):
            return Sequences(self.numbers[index], self.split, self.rows[index])
        *seen, target = (f"{x:.9g}" for x in self.numbers[index])
        beta, query = seen[: len(seen) // 2], seen[len(seen) // 2 :]
        question = f"beta {' '.join(beta)} query {' '.join(query)}"
        return Example(f"{self.split}-{self.rows[index]}", question, target, target, "sequences")


@dataclass(frozen=True, eq=False)
class RegressionTask:
    """Three splits of sequences from a `population`: see `tasks.base.Task`."""

    train: Sequences
    validation: Sequences
    test: Sequences
    population: Population

    def prepare(self, examples: Sequence[Example], model: LanguageModel) -> Numbers:
        """The sufficient statistics of the sequences, on the device of the model. Nine digits tell a float32 apart, so
        that those written out as text come back as they were."""
        import torch

        if isinstance(examples, Sequences):
            numbers = examples.numbers
        else:
            words = [[w for w in f"{e.question} {e.answer}".split() if w not in ("beta", "query")] for e in examples]
            width = self.train.numbers.shape[1]
            numbers = np.array(words, dtype=np.float64).astype(np.float32).reshape(len(words), width)
        return Numbers(torch.from_numpy(numbers).to(model.device), self.population.context + 1)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The squared error [B] at each query: predictions [B, 1], targets [B]."""
        return (outputs[:, 0] - targets).square()

    def answer(self, examples: Sequence[Example], model: LanguageModel) -> list[Grade]:
        """Raises UserError: a prediction is close or far, never right or wrong."""
        raise UserError("predictions of regression are not graded: look at test_loss instead")

    def evaluate(self, examples: Sequence[Example], model: LanguageModel, *, micro_batch: int) -> Evaluation:
        """The mean squared error."""
        from optbench.evaluation import example_losses

        found = example_losses(model, self, self.prepare(examples, model), micro_batch=micro_batch)
        return Evaluation({"test_loss": float(found.mean())})

    def rewrite(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """Raises UserError: which new sequence is of the same kind as another is not defined."""
        raise UserError("in-context regression writes no new sequences: upsample instead, or give it a larger `train`")


@dataclass(frozen=True, eq=False)
class Numbers:
    """Prepared sequences: beta, x_q and y_q side by side, [n, 2 D + 1], on the device."""

    rows: Tensor
    length: int
    """Inputs of a sequence: its pairs and its query."""

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def lengths(self) -> np.ndarray:
        """The same for all."""
        return np.full(len(self), self.length)

    @cached_property
    def supervised(self) -> np.ndarray:
        """The query of each."""
        return np.ones(len(self), dtype=np.int64)

    def batch(self, rows: np.ndarray, *, micro_batch: int) -> Batch:
        """The sequences at `rows`, in parts of at most `micro_batch`."""
        import torch

        from optbench.oracle import Batch

        picked = self.rows.index_select(0, torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(self.rows.device))
        parts = [self._part(piece) for piece in torch.split(picked, micro_batch)]
        return Batch(parts, num_tokens=self.length * len(rows), num_supervised=len(rows))

    def _part(self, numbers_BK: Tensor) -> Part:
        import torch

        from optbench.oracle import Part

        dims = numbers_BK.shape[1] // 2
        inputs = {"beta": numbers_BK[:, :dims], "query": numbers_BK[:, dims:-1]}
        return Part(inputs, torch.arange(len(numbers_BK), device=numbers_BK.device), numbers_BK[:, -1])
