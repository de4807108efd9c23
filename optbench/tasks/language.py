"""Language modelling: running text in sequences of a fixed length, every position of which is predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, overload

import numpy as np
from pydantic import Field, field_validator, model_validator

from optbench.errors import UserError
from optbench.spec import LocalPath, Spec
from optbench.tasks.base import Evaluation, Example, Grade
from optbench.tasks.corpus import EMBEDDED_SHA256, as_ascii, read_corpus, split
from optbench.tasks.text import SAMPLE, Encoded

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.models.language_model import LanguageModel, Tokenizer

Characters = Annotated[int, Field(ge=1)]


class LanguageTask(Spec):
    """Next-token prediction on a corpus: pretraining, scored by the loss on text that was held out.

    `path` is a UTF-8 text file, which enters a key by its content; left out, the corpus is the novel that the package
    carries (tasks/corpora). The text is cut into sequences of `length` characters, whatever the tokenizer makes of
    them, so that all models read the same text and their bits per byte compare. The last `test_characters` are the test
    split, those before them validation, and up to `train_characters` from the start are learned; what is left over at
    the end of a part is not used. `characters: ascii` writes the text in printable ASCII, which is all that nano models
    read; `kept` leaves it as it is, and a character that a model has no token for is an error.
    """

    kind: Literal["language"] = "language"
    path: LocalPath = ""
    length: Annotated[int, Field(ge=2, le=65_536)] = 128
    train_characters: Characters = 10_000_000
    validation_characters: Characters = 32_768
    test_characters: Characters = 65_536
    characters: Literal["kept", "ascii"] = "kept"

    @field_validator("path")
    @classmethod
    def _is_a_file(cls, path: str) -> str:
        if path and not Path(path).is_file():
            raise ValueError(f"there is no file {path!r} (looked from {Path.cwd()})")
        return path

    @model_validator(mode="after")
    def _one_sequence_each(self) -> Self:
        for name in ("train_characters", "validation_characters", "test_characters"):
            if getattr(self, name) < self.length:
                raise ValueError(f"{name} ({getattr(self, name)}) is less than one sequence (length: {self.length})")
        return self

    @property
    def can_rewrite(self) -> bool:
        """Whether new examples can be written: never."""
        return False

    @property
    def asks_questions(self) -> bool:
        """Whether there are answers that can be right or wrong: none."""
        return False

    def identity(self) -> dict[str, Any]:
        """The fields; the embedded corpus enters like a file, by its content."""
        return {**super().identity(), **({} if self.path else {"path": EMBEDDED_SHA256})}

    def build(self) -> LanguageModelling:
        """The task. Raises UserError for a file that is not UTF-8 or too short."""
        text = read_corpus(self.path)
        parts = split(
            as_ascii(text) if self.characters == "ascii" else text,
            train=self.train_characters,
            validation=self.validation_characters,
            test=self.test_characters,
            length=self.length,
            name=self.path or "the embedded corpus",
        )
        train, validation, test = (
            Pieces(text, name, self.length, range(len(text) // self.length)) for name, text in vars(parts).items()
        )
        return LanguageModelling(train, validation, test)

    def num_train(self) -> int:
        """The number of training sequences."""
        return len(self.build().train)

    def token_counts(self, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
        """Input tokens and supervised positions of training sequences, int [n] each: they are the same. Of a set above
        4096 sequences, 4096 evenly spaced ones stand for all."""
        train = self.build().train
        rows = np.linspace(0, len(train) - 1, min(len(train), SAMPLE)).round().astype(int)
        counts = np.array([len(encoded(train[row], tokenizer)) - 1 for row in rows.tolist()])
        return counts, counts


@dataclass(frozen=True)
class Pieces(Sequence[Example]):
    """The sequences of one part of the corpus, cut out where they are looked at.

    Piece r is the `length` characters from `r * length` on; `rows` are the pieces that are here.
    """

    text: str
    split: str
    length: int
    rows: range

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Pieces: ...
    def __getitem__(self, index: int | slice) -> Example | Pieces:
        """A sequence as an example without a question, or some of them."""
        if isinstance(index, slice):
            return Pieces(self.text, self.split, self.length, self.rows[index])
        row = self.rows[index]
        piece = self.text[row * self.length : (row + 1) * self.length]
        return Example(f"{self.split}-{row}", "", piece, piece, "text")


@dataclass(frozen=True)
class LanguageModelling:
    """Three splits of sequences that share no character: see `tasks.base.Task`."""

    train: Pieces
    validation: Pieces
    test: Pieces

    def prepare(self, examples: Sequence[Example], model: LanguageModel) -> Encoded:
        """The sequences encoded once. Raises UserError where a character has no token, or a sequence has more tokens
        than the model has positions."""
        assert model.tokenizer is not None, "language modelling needs a tokenizer"
        config: dict[str, Any] = model.module.config.get_text_config().to_dict()  # type: ignore[operator, union-attr]
        found = Encoded.of([(encoded(example, model.tokenizer), 1) for example in examples], model)
        longest, positions = int(found.lengths.max()), config.get("max_position_embeddings", math.inf)
        if longest > positions:
            raise UserError(
                f"a sequence of the corpus has {longest} tokens, and the model has positions for {positions}: lower "
                "`length` of the task, or raise `max_length` of a nano model"
            )
        return found

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The cross entropy [N] in nats of each token: logits [N, V], targets [N]."""
        from optbench.models.language_model import cross_entropy

        return cross_entropy(outputs, targets)

    def answer(self, examples: Sequence[Example], model: LanguageModel) -> list[Grade]:
        """Raises UserError: running text asks nothing that could be answered right or wrong."""
        raise UserError("language modelling asks no questions that could be graded: look at test_nll instead")

    def evaluate(self, examples: Sequence[Example], model: LanguageModel, *, micro_batch: int) -> Evaluation:
        """The loss in nats per token, and in bits per byte of the text, which tokenizers do not change."""
        from optbench.evaluation import example_losses

        prepared = self.prepare(examples, model)
        losses = example_losses(model, self, prepared, micro_batch=micro_batch)
        nats = float((losses * prepared.supervised).sum())
        size = sum(len(example.solution.encode()) for example in examples)
        return Evaluation(
            {"test_nll": nats / int(prepared.supervised.sum()), "bits_per_byte": nats / math.log(2) / size}
        )

    def rewrite(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """Raises UserError: which other text says the same is not known."""
        raise UserError("language modelling writes no new text: upsample instead, or give it a longer corpus")


def encoded(example: Example, tokenizer: Tokenizer) -> list[int]:
    """The token ids of a sequence after one token that starts it, so that its first character is predicted, too: what
    the tokenizer puts before a text, or else the end of the sequence before. Nothing of another sequence is seen.

    Raises UserError for a text that has no tokens.
    """
    try:
        ids = tokenizer.encode(example.solution)
    except UserError as error:
        raise UserError(f"{error}; or write the corpus in ASCII with `characters: ascii`") from error
    if not ids:
        raise UserError(f"the tokenizer has no token for the sequence {example.id}: {example.solution[:60]!r}")
    before = tokenizer.encode_prompt(example.solution)
    return [before[0] if len(before) > len(ids) else tokenizer.eos_id, *ids]
