"""Pretraining on a large text: documents of the hub or of local files, packed into sequences of tokens."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, overload

import numpy as np
from pydantic import Field

from optbench.errors import UserError
from optbench.spec import NotIdentity, Spec, key_of
from optbench.store import write_whole
from optbench.tasks.base import Evaluation, Example, Grade
from optbench.tasks.corpus import as_ascii
from optbench.tasks.documents import documents
from optbench.tasks.hub import data_identity, is_local
from optbench.tasks.packed import Packed, pack, start_of
from optbench.tasks.text import Encoded

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.models.language_model import LanguageModel, Tokenizer
    from optbench.tasks.base import Prepared

Documents = Annotated[int, Field(ge=1)]
HELD_OUT = "held_out.jsonl"


class PretrainingTask(Spec):
    """Next-token prediction on documents: pretraining with a real tokenizer, scored by the loss on held-out documents.

    `path` is a text file, JSON lines or parquet, a folder of such files, or a data set of the hub (C4 by default, with
    its `configuration`), which is streamed. The first `test_documents` are the test split, the next
    `validation_documents` validation, and what follows is learned: `train_sequences` of `length` tokens each, packed
    end to end. With `held_out_split` the held-out documents of a hub's data set are the first of that split. A document
    that equals a held-out one is not learned.

    The packed tokens are written once for each tokenizer to `cache` (by default the user's cache folder) and read from
    there batch by batch: two bytes a token, four for vocabularies above 65,536. `characters: ascii` writes the text in
    printable ASCII, which is all that a model that reads characters has tokens for.
    """

    kind: Literal["pretraining"] = "pretraining"
    path: str = "allenai/c4"
    configuration: str = "en"
    hub_revision: str = "1588ec454efa1a09f29cd18ddd04fe05fc8653a2"
    held_out_split: str = ""
    field: Annotated[str, Field(min_length=1)] = "text"
    length: Annotated[int, Field(ge=2, le=131_072)] = 512
    train_sequences: Annotated[int, Field(ge=1)] = 1_000_000
    validation_documents: Documents = 256
    test_documents: Documents = 1024
    characters: Literal["kept", "ascii"] = "kept"
    cache: Annotated[str, NotIdentity()] = ""

    def identity(self) -> dict[str, Any]:
        """The fields, with the data by its content or commit."""
        content = super().identity()
        content.pop("hub_revision", None)
        if is_local(self.path):
            content.pop("configuration", None)
        return {**content, "path": data_identity(self.path, self.hub_revision)}

    @property
    def can_rewrite(self) -> bool:
        """Whether new examples can be written: never."""
        return False

    @property
    def asks_questions(self) -> bool:
        """Whether there are answers that can be right or wrong: none."""
        return False

    def build(self) -> Pretraining:
        """The task; reads the held-out documents, and keeps them beside the packed text. Raises UserError where the
        data is not to be had or has too few documents."""
        folder = self._folder("held-out", self._held_out_content())

        def fill(target: Path) -> None:
            lines = (json.dumps(text) + "\n" for text in self._read_held_out())
            (target / HELD_OUT).write_text("".join(lines), encoding="utf-8")

        if not (folder / HELD_OUT).is_file():
            write_whole(folder, fill)
        # Not `splitlines`: a text may hold other characters that end a line.
        texts = [json.loads(line) for line in (folder / HELD_OUT).read_text(encoding="utf-8").split("\n") if line]
        return Pretraining(self, texts[: self.test_documents], texts[self.test_documents :])

    def num_train(self) -> int:
        """The number of training sequences."""
        return self.train_sequences

    def token_counts(self, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
        """Input tokens and supervised positions of training sequences: `length` for each, so that one stands for all
        and neither data nor tokenizer is read."""
        return np.array([self.length]), np.array([self.length])

    def packed(self, held_out: Sequence[str], tokenizer: Any, vocabulary: int) -> Path:
        """The folder of the packed training text for a tokenizer; made where it is not there yet."""
        folder = self._folder("packed", {"data": self.identity(), "tokenizer": tokenizer.fingerprint})
        return pack(
            folder,
            self._learned({_hash(text) for text in held_out}),
            tokenizer,
            vocabulary=vocabulary,
            length=self.length,
            sequences=self.train_sequences,
            name=self.path,
        )

    def _learned(self, held_out: set[bytes]) -> Iterator[str]:
        # Held-out documents at the start of the same stream are left out by this as well.
        yield from (text for text in self._documents("train") if _hash(text) not in held_out)

    def _read_held_out(self) -> list[str]:
        texts = self._documents(self.held_out_split if self._apart else "train")
        found = list(itertools.islice(texts, self._held_out_count))
        if len(found) < self._held_out_count:
            raise UserError(
                f"{self.path}: has {len(found)} documents, and {self._held_out_count} are to be held out: lower "
                "test_documents and validation_documents"
            )
        return found

    @property
    def _apart(self) -> bool:
        """Whether held-out documents come from a split of their own."""
        return bool(self.held_out_split) and not is_local(self.path)

    @property
    def _held_out_count(self) -> int:
        return self.test_documents + self.validation_documents

    def _held_out_content(self) -> dict[str, Any]:
        # The training side has no part in it: suites that differ in that share their held-out documents.
        own = {name: value for name, value in self.identity().items() if name not in ("train_sequences", "length")}
        return {"held_out": own}

    def _documents(self, split: str) -> Iterator[str]:
        found = documents(
            self.path, name=self.configuration, split=split, hub_revision=self.hub_revision, field=self.field
        )
        return map(as_ascii, found) if self.characters == "ascii" else found

    def _folder(self, what: str, content: dict[str, Any]) -> Path:
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        root = Path(self.cache) if self.cache else Path(home) / "optbench"
        return root.expanduser() / what / key_of(content)


@dataclass(frozen=True)
class Sequences(Sequence[Example]):
    """The training sequences by number; their text lies packed on disk, and which it is depends on the tokenizer."""

    rows: range

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequences: ...
    def __getitem__(self, index: int | slice) -> Example | Sequences:
        """A sequence as an example that is nothing but its number, or some of them."""
        if isinstance(index, slice):
            return Sequences(self.rows[index])
        return Example(f"train-{self.rows[index]}", "", "", "", "text")


@dataclass(frozen=True)
class Pretraining:
    """Packed sequences to learn, documents to be judged by: see `tasks.base.Task`."""

    spec: PretrainingTask
    test_texts: Sequence[str]
    validation_texts: Sequence[str]

    @property
    def train(self) -> Sequences:
        """The training sequences."""
        return Sequences(range(self.spec.train_sequences))

    @property
    def validation(self) -> list[Example]:
        """The documents that choices are made on."""
        return _examples(self.validation_texts, "validation")

    @property
    def test(self) -> list[Example]:
        """The documents that are reported."""
        return _examples(self.test_texts, "test")

    def prepare(self, examples: Sequence[Example], model: LanguageModel) -> Prepared:
        """Training sequences, packed on disk, or held-out documents, encoded. Raises UserError where a sequence has
        more tokens than the model has positions."""
        assert model.tokenizer is not None, "pretraining needs a tokenizer"
        config: dict[str, Any] = model.module.config.get_text_config().to_dict()  # type: ignore[operator, union-attr]
        positions = config.get("max_position_embeddings", math.inf)
        if self.spec.length > positions:
            raise UserError(
                f"sequences have {self.spec.length} tokens, and the model has positions for {positions}: lower "
                "`length` of the task, or raise `max_length` of the model"
            )
        if isinstance(examples, Sequences):
            rows = np.array(examples.rows, dtype=np.int64)
        elif all(example.id.startswith("train-") for example in examples):
            rows = np.array([int(example.id.removeprefix("train-")) for example in examples], dtype=np.int64)
        else:
            return Encoded.of([(ids, 1) for example in examples for ids in self._pieces(example, model)], model)
        folder = self.spec.packed([*self.test_texts, *self.validation_texts], model.tokenizer, config["vocab_size"])
        return Packed.of(folder, rows, length=self.spec.length, model=model)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The cross entropy [N] in nats of each token: logits [N, V], targets [N]."""
        from optbench.models.language_model import cross_entropy

        return cross_entropy(outputs, targets)

    def answer(self, examples: Sequence[Example], model: LanguageModel) -> list[Grade]:
        """Raises UserError: running text asks nothing that could be answered right or wrong."""
        raise UserError("pretraining asks no questions that could be graded: look at test_nll instead")

    def evaluate(self, examples: Sequence[Example], model: LanguageModel, *, micro_batch: int) -> Evaluation:
        """The loss of documents in nats per token, and in bits per byte of the text as it stands: comparable between
        tokenizers that keep every byte.

        Each document is read by itself, in pieces of `length` tokens; its end is predicted, too.
        """
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
        raise UserError("pretraining writes no new text: upsample instead, or give it a longer corpus")

    def _pieces(self, example: Example, model: LanguageModel) -> list[list[int]]:
        tokenizer, length = model.tokenizer, self.spec.length
        assert tokenizer is not None
        before = start_of(tokenizer) or [tokenizer.eos_id]
        ids = [*before, *tokenizer.encode(example.solution), tokenizer.eos_id]
        # Each token but the first is predicted once; a piece starts with the last token of the one before.
        return [ids[start : start + length + 1] for start in range(0, len(ids) - 1, length)]


def _examples(texts: Sequence[str], split: str) -> list[Example]:
    return [Example(f"{split}-{index}", "", text, text, "text") for index, text in enumerate(texts)]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
