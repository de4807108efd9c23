"""Tokenizers: characters for small models, and the adapter to those of transformers."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

from optbench.errors import UserError


class CharTokenizer:
    """One token per character of printable ASCII and newline: what small models with random weights read."""

    pad_id = 0
    eos_id = 1

    def __init__(self) -> None:
        self._characters = ["", "", "\n", *map(chr, range(32, 127))]
        self._ids = {character: i for i, character in enumerate(self._characters) if character}

    @property
    def vocabulary(self) -> int:
        """The number of token ids."""
        return len(self._characters)

    @property
    def fingerprint(self) -> str:
        """What tells it from other tokenizers."""
        return "characters"

    def encode(self, text: str) -> list[int]:
        """One id per character. Raises UserError naming the first character that has none."""
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            unknown = error.args[0]
            raise UserError(
                f"the character {unknown!r} (U+{ord(unknown):04X}) in {text[:60]!r} has no token: "
                "nano models read printable ASCII and newlines; use a pretrained model for other text"
            ) from error

    def encode_prompt(self, text: str) -> list[int]:
        """As `encode`: these models expect nothing before a text. Raises UserError for an empty prompt."""
        if not text:
            raise UserError("an empty prompt: there is nothing from which to predict the first token")
        return self.encode(text)

    def decode(self, ids: list[int]) -> str:
        """The characters of the ids; padding and end of sequence are left out."""
        return "".join(self._characters[i] for i in ids)


class HubTokenizer:
    """A tokenizer of transformers as tasks and generation see it."""

    def __init__(self, tokenizer: Any) -> None:
        """Raises UserError where there is no end-of-sequence token: a model could never end its answer."""
        if tokenizer.eos_token_id is None:
            raise UserError(f"{tokenizer.name_or_path}: the tokenizer has no end-of-sequence token")
        self._tokenizer = tokenizer
        self.eos_id = int(tokenizer.eos_token_id)
        self.pad_id = int(self.eos_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
        # Some tokenizers also end a text with a special token, so what they put around one cannot be taken as it is.
        bos = tokenizer.bos_token_id
        starts_with_bos = bos is not None and tokenizer.encode("a")[:1] == [bos]
        self._start: list[int] = [int(bos)] if starts_with_bos else []

    @property
    def vocabulary(self) -> int:
        """The number of token ids."""
        return len(self._tokenizer)

    @property
    def with_chat_template(self) -> Any:
        """The transformers tokenizer, where it has a template that writes conversations; else None."""
        return self._tokenizer if self._tokenizer.chat_template else None

    @cached_property
    def fingerprint(self) -> str:
        """What tells it from other tokenizers: a hash of all that encoding depends on."""
        own = self._tokenizer
        if own.is_fast:
            content = own.backend_tokenizer.to_str()
        else:
            content = type(own).__name__ + json.dumps(sorted(own.get_vocab().items()))
        return hashlib.sha256(f"{content}{self.eos_id}{self._start}".encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids after the beginning-of-sequence token, where the tokenizer puts one by itself.

        Raises UserError where that is no token at all: nothing would predict the first one.
        """
        ids = [*self._start, *self.encode(text)]
        if not ids:
            raise UserError("an empty prompt: there is nothing from which to predict the first token")
        return ids

    def encode_chat(self, text: str) -> list[int]:
        """Token ids of the user's turn of a conversation, up to where the model answers; of the plain prompt, where
        the tokenizer has no chat template."""
        if not self._tokenizer.chat_template:
            return self.encode_prompt(text)
        turn = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
        )
        return self.encode(turn)

    def decode(self, ids: list[int]) -> str:
        """The text of the ids, special tokens left out."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text
