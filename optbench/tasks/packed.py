"""Documents packed into sequences of so many tokens, kept on disk and read where a batch needs them.

The tokens of all documents stand end to end, each document closed by the end of a sequence. Sequence r has the tokens
from r L to (r + 1) L as inputs and those one further as targets, so that every token but the first is predicted once.

Legend: B sequences of a part, L tokens of each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from optbench.errors import UserError
from optbench.store import write_whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from optbench.models.language_model import LanguageModel, Tokenizer
    from optbench.oracle import Batch, Part

TOKENS, ABOUT = "tokens.npy", "about.json"
CHUNK = 1 << 20
"""Tokens that are collected before they are written."""


def start_of(tokenizer: Tokenizer) -> list[int]:
    """What the tokenizer puts before a text: one token, or none."""
    before, plain = tokenizer.encode_prompt("a"), tokenizer.encode("a")
    return before[: len(before) - len(plain)]


def tokens_of(texts: Iterator[str], tokenizer: Tokenizer) -> Iterator[list[int]]:
    """The tokens of each document: what the tokenizer puts before a text, the text, the end of a sequence."""
    start, end = start_of(tokenizer), tokenizer.eos_id
    for text in texts:
        yield [*start, *tokenizer.encode(text), end]


def pack(
    folder: Path, texts: Iterator[str], tokenizer: Tokenizer, *, vocabulary: int, length: int, sequences: int, name: str
) -> Path:
    """The packed sequences in `folder`, written whole, unless they are there already; no more of `texts` is read than
    they take. Two bytes a token, four for a vocabulary above 65,536.

    Raises UserError where the texts end before `sequences` sequences of `length` tokens are full.
    """
    if (folder / TOKENS).is_file():
        return folder
    wanted = sequences * length + 1
    dtype = np.uint16 if vocabulary <= 1 << 16 else np.uint32

    def fill(target: Path) -> None:
        array = np.lib.format.open_memmap(target / TOKENS, mode="w+", dtype=dtype, shape=(wanted,))
        # The first document follows an end, as all others do.
        waiting: list[int] = [] if start_of(tokenizer) else [tokenizer.eos_id]
        done = read = 0
        for ids in tokens_of(texts, tokenizer):
            waiting += ids
            read += 1
            if len(waiting) >= CHUNK or done + len(waiting) >= wanted:
                taken = waiting[: wanted - done]
                array[done : done + len(taken)] = taken
                done, waiting = done + len(taken), []
                if done == wanted:
                    break
        if done + len(waiting) < wanted:
            there = max(0, done + len(waiting) - 1) // length
            raise UserError(
                f"{name}: {read:,} documents make {there:,} sequences of {length} tokens, and {sequences:,} are asked "
                "for: lower train_sequences"
            )
        array.flush()
        about = {"documents": read, "sequences": sequences, "length": length}
        (target / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    try:
        return write_whole(folder, fill)
    except OSError as error:
        size = wanted * np.dtype(dtype).itemsize / 1e9
        raise UserError(f"{folder}: the packed text ({size:.1f} GB) cannot be written ({error})") from error


@dataclass(frozen=True)
class Packed:
    """Sequences of equal length out of a packed file, some or all of them: see `tasks.base.Prepared`."""

    tokens: np.ndarray
    rows: np.ndarray
    length: int
    device: torch.device

    @classmethod
    def of(cls, folder: Path, rows: np.ndarray, *, length: int, model: LanguageModel) -> Packed:
        """The sequences at `rows` of the file in `folder`, which stays on disk."""
        return cls(np.load(folder / TOKENS, mmap_mode="r", allow_pickle=False), rows, length, model.device)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """Input tokens of each sequence."""
        return np.full(len(self.rows), self.length, dtype=np.int64)

    @property
    def supervised(self) -> np.ndarray:
        """Supervised positions of each sequence: all."""
        return self.lengths

    def batch(self, rows: np.ndarray, *, micro_batch: int) -> Batch:
        """The sequences at `rows`, in that order, in parts of at most `micro_batch`."""
        from optbench.oracle import Batch

        chosen = np.asarray(rows, dtype=np.int64)
        parts = [self._part(chosen[start : start + micro_batch]) for start in range(0, len(chosen), micro_batch)]
        return Batch(parts, len(chosen) * self.length, len(chosen) * self.length)

    def _part(self, rows: np.ndarray) -> Part:
        from optbench.oracle import Part

        starts = self.rows[rows] * self.length
        tokens_BL = self.tokens[starts[:, None] + np.arange(self.length + 1)].astype(np.int64)
        inputs_BL, targets = np.ascontiguousarray(tokens_BL[:, :-1]), np.ascontiguousarray(tokens_BL[:, 1:]).ravel()
        positions = np.arange(len(targets))
        return Part({"input_ids": self._send(inputs_BL)}, self._send(positions), self._send(targets))

    def _send(self, array: np.ndarray) -> Tensor:
        import torch

        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)
