"""What a task is: data in three splits, a loss on outputs, and grading of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

    from optbench.models.language_model import LanguageModel
    from optbench.oracle import Batch


@dataclass(frozen=True, slots=True)
class Example:
    """One problem with a worked solution.

    `id` is unique within its task and stable over runs. `solution` is the worked text that is learned; it ends in, or
    equals, the `answer` that is graded. `source` names the kind of problem.
    """

    id: str
    question: str
    solution: str
    answer: str
    source: str


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one generated text. `answer` is what was extracted: None exactly where `format_error` is True."""

    text: str
    answer: str | None
    correct: bool
    format_error: bool


@dataclass(frozen=True)
class Evaluation:
    """How a model does on held-out examples: columns, and for tasks that ask questions a row for each of them (see
    `metrics.accuracy.questions_table`). A number that is not finite says that the model has diverged."""

    result: Mapping[str, float]
    questions: pd.DataFrame | None = None


class Prepared(Protocol):
    """Examples made ready for one model: encoded once, sliced into batches as often as needed."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray, *, micro_batch: int) -> Batch:
        """The examples at `rows`, in that order, cut into parts of at most `micro_batch` examples."""
        ...

    @property
    def lengths(self) -> np.ndarray:
        """Non-padding input tokens of each example, int [n]."""
        ...

    @property
    def supervised(self) -> np.ndarray:
        """Supervised positions of each example, int [n]; in a part they follow one another in the order of the rows."""
        ...


class Task(Protocol):
    """What `TaskSpec.build()` returns. The splits share no problem and do not depend on the seed of a cell."""

    @property
    def train(self) -> Sequence[Example]:
        """What is learned."""
        ...

    @property
    def validation(self) -> Sequence[Example]:
        """What choices are made on; may be empty."""
        ...

    @property
    def test(self) -> Sequence[Example]:
        """What is reported."""
        ...

    def prepare(self, examples: Sequence[Example], model: LanguageModel) -> Prepared:
        """The examples as the model takes them, in their order."""
        ...

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss [N] of each supervised position: outputs [N, K], targets [N]. Training minimises their mean."""
        ...

    def answer(self, examples: Sequence[Example], model: LanguageModel) -> list[Grade]:
        """Greedy answers of the model to the questions, graded, in the order of the examples."""
        ...

    def evaluate(self, examples: Sequence[Example], model: LanguageModel, *, micro_batch: int) -> Evaluation:
        """How the model does on `examples` of a split; `micro_batch` of them go through the model at once."""
        ...

    def rewrite(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """For each example a new, verified example of the same kind, for augmentation.

        None of them equals an example of the test or validation split. Raises UserError where the task cannot.
        """
        ...
