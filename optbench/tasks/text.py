"""A task over text: prompts and worked solutions for a causal language model, graded by what it writes.

Legend: B examples of a part, T tokens of its longest example, N supervised positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from optbench.errors import UserError
from optbench.tasks.base import Evaluation, Example, Grade

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from optbench.models.language_model import LanguageModel, Tokenizer
    from optbench.oracle import Batch, Part

TooLong = Literal["error", "truncate"]
"""What happens to an example above `max_length` tokens. Leaving it out is no choice: rows are examples everywhere."""
Template = Annotated[str, Field(pattern=r"\{question\}")]
"""A prompt in which `{question}` stands for the question."""
Rewrite = Callable[[Sequence[Example], int], list[Example]]
SAMPLE = 4096
"""Examples that are encoded at most to learn how long they are."""


@dataclass(frozen=True)
class TextTask:
    """Three splits of examples, how a question becomes a prompt, and how a text is graded: see `tasks.base.Task`.

    `prompt` holds `{question}`. `max_length` bounds the input tokens of an example. `notes` states in numbers what was
    done to the data (problems repeated, duplicates left out).
    """

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    prompt: str
    grade: Callable[[str, Example], Grade]
    rewriter: Rewrite
    max_new_tokens: int
    max_length: int
    too_long: TooLong
    notes: Mapping[str, Any] = field(default_factory=dict)

    def prepare(self, examples: Sequence[Example], model: LanguageModel) -> Encoded:
        """The examples encoded once by the model's tokenizer. Raises UserError for one longer than `max_length`."""
        assert model.tokenizer is not None, "a text task needs a tokenizer"
        return Encoded.of([self.encode(example, model.tokenizer) for example in examples], model)

    def encode(self, example: Example, tokenizer: Tokenizer) -> tuple[list[int], int]:
        """The token ids of prompt, solution and end of sequence, and how many of them are the prompt."""
        prompt = tokenizer.encode_prompt(self.prompt_of(example))
        ids = [*prompt, *tokenizer.encode(example.solution), tokenizer.eos_id]
        excess = len(ids) - 1 - self.max_length
        if excess <= 0:
            return ids, len(prompt)
        if self.too_long == "error":
            raise UserError(
                f"example {example.id!r} has {len(ids) - 1} tokens, more than max_length ({self.max_length}): "
                "raise max_length, or set too_long: truncate"
            )
        # The end of the solution goes first; where the prompt fills everything, its start, so that a token is learned.
        cut = max(0, len(prompt) - self.max_length)
        return ids[cut : cut + self.max_length + 1], len(prompt) - cut

    def prompt_of(self, example: Example) -> str:
        """What the model reads before it answers."""
        return self.prompt.replace("{question}", example.question)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The cross entropy [N] in nats of each supervised token: logits [N, V], targets [N]."""
        from optbench.models.language_model import cross_entropy

        return cross_entropy(outputs, targets)

    def answer(self, examples: Sequence[Example], model: LanguageModel) -> list[Grade]:
        """Greedy answers, graded, in the order of the examples."""
        from optbench.models.generation import generate

        prompts = [self.prompt_of(example) for example in examples]
        texts = generate(model, prompts, max_new_tokens=self.max_new_tokens)
        return [self.grade(text, example) for text, example in zip(texts, examples, strict=True)]

    def evaluate(self, examples: Sequence[Example], model: LanguageModel, *, micro_batch: int) -> Evaluation:
        """Likelihood of the reference solutions, and accuracy; a model without a finite loss is asked nothing."""
        from optbench.metrics import accuracy

        nll = accuracy.solution_nll(model, self, examples, micro_batch=micro_batch)
        if not np.isfinite(nll):
            return Evaluation({"test_nll": nll})
        answered, questions = accuracy.answers(model, self, examples)
        return Evaluation({"test_nll": nll, **answered}, questions)

    def rewrite(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """For each example a verified one of the same kind. Raises UserError where the task has no means to."""
        return self.rewriter(examples, seed)


@dataclass(frozen=True)
class Encoded:
    """Token ids of examples, end to end in one array, and the batches made of them: see `tasks.base.Prepared`.

    Everything is cut and counted in numpy and then sent to the device without waiting for it.
    """

    ids: np.ndarray
    """The inputs and targets of all examples: row r lies at `starts[r]` and has `lengths[r] + 1` tokens."""
    starts: np.ndarray
    lengths: np.ndarray
    supervised: np.ndarray
    pad_id: int
    device: torch.device

    @classmethod
    def of(cls, rows: Sequence[tuple[list[int], int]], model: LanguageModel) -> Encoded:
        """From the token ids of each example and the number of them that are its prompt."""
        assert model.tokenizer is not None
        sizes = np.array([len(ids) for ids, _ in rows], dtype=np.int64)
        prompts = np.array([prompt for _, prompt in rows], dtype=np.int64)
        assert (prompts >= 1).all(), "the first token of a sequence cannot be supervised: nothing predicts it"
        flat = np.array([token for ids, _ in rows for token in ids], dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
        return cls(flat, starts, sizes - 1, sizes - prompts, model.tokenizer.pad_id, model.device)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        """Input tokens of all examples together."""
        return int(self.lengths.sum())

    def batch(self, rows: Sequence[int] | np.ndarray, *, micro_batch: int) -> Batch:
        """The examples at `rows`, in that order, in parts of at most `micro_batch` examples."""
        from optbench.oracle import Batch

        chosen = np.asarray(rows, dtype=np.int64)
        parts = [self._part(chosen[start : start + micro_batch]) for start in range(0, len(chosen), micro_batch)]
        return Batch(parts, int(self.lengths[chosen].sum()), int(self.supervised[chosen].sum()))

    def _part(self, rows: np.ndarray) -> Part:
        from optbench.oracle import Part

        lengths, supervised, starts = self.lengths[rows], self.supervised[rows], self.starts[rows]
        longest = int(lengths.max())
        # The last token is never an input: nothing follows it that could be predicted.
        columns = np.arange(longest)
        inside_BT = columns < lengths[:, None]
        tokens_BT = np.where(inside_BT, self.ids[np.where(inside_BT, starts[:, None] + columns, 0)], self.pad_id)
        # Supervised tokens end each example, and the output before a token predicts it. For row r the k-th is output
        # lengths[r] - supervised[r] + k, and its target the token after that.
        ends = np.cumsum(supervised)
        within = np.arange(ends[-1]) + np.repeat(lengths - ends, supervised)
        positions = np.repeat(np.arange(len(rows)) * longest, supervised) + within
        targets = self.ids[np.repeat(starts, supervised) + within + 1]
        # No attention mask: padding stands on the right, and in a causal model nothing to the left of it sees it. The
        # outputs at the padding are never looked at, so the numbers are exact, and the fastest attention kernels run.
        return Part({"input_ids": self._send(tokens_BT)}, self._send(positions), self._send(targets))

    def _send(self, array: np.ndarray) -> Tensor:
        import torch

        tensor = torch.from_numpy(array)
        # From ordinary memory the copy to a GPU is not asynchronous, whatever `non_blocking` says.
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


def token_counts(task: TextTask, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Input tokens and supervised positions of training examples, int [n] each: what a token budget is counted in.

    Of a set above 4096 examples, 4096 evenly spaced ones stand for all.
    """
    count = len(task.train)
    rows = np.linspace(0, count - 1, min(count, SAMPLE)).round().astype(int)
    encoded = [task.encode(task.train[row], tokenizer) for row in rows.tolist()]
    lengths = np.array([len(ids) - 1 for ids, _ in encoded])
    return lengths, lengths + 1 - np.array([prompt for _, prompt in encoded])


def refuse_rewriting(reason: str) -> Rewrite:
    """A rewriter for tasks that have none: raises UserError with the reason and the remedy."""

    def refuse(examples: Sequence[Example], seed: int) -> list[Example]:
        raise UserError(reason)

    return refuse
