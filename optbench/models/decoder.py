"""A decoder of any size with random weights and a tokenizer of one's choice: what is pretrained from nothing."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from optbench.errors import UserError
from optbench.models.checkpoints import load_tokenizer_alone, tokenizer_identity
from optbench.models.families import FamilyName, Nano
from optbench.models.tokenizers import CharTokenizer

if TYPE_CHECKING:
    from optbench.models.tokenizers import HubTokenizer

KEPT = 10_000_000
"""Matrix entries up to which final weights are kept with the record: 40 MB."""


class Decoder(Nano):
    """The architecture of a family at any width, with random weights: `layers` blocks of 12 width^2 entries each.

    `tokenizer_path` is a folder with a tokenizer, or a hub id; left out, the model reads characters. `vocabulary` is
    the number of rows of the embedding, at least as many as the tokenizer has tokens; 0 means as many. Where it is
    given, sizes and costs are known before the tokenizer is fetched.
    """

    kind: Literal["decoder"] = "decoder"  # type: ignore[assignment]
    family: FamilyName = "llama"
    layers: Annotated[int, Field(ge=1, le=128)] = 6
    heads: Annotated[int, Field(ge=1, le=128)] = 8
    kv_heads: Annotated[int, Field(ge=1, le=128)] = 8
    width: Annotated[int, Field(ge=8, le=16384)] = 512
    max_length: Annotated[int, Field(ge=16, le=131_072)] = 512
    init_std: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    tokenizer_path: str = ""
    tokenizer_revision: str = "main"
    vocabulary: Annotated[int, Field(ge=0, le=1 << 24)] = 0

    @property
    def is_small(self) -> bool:
        """Whether final weights are kept with the record."""
        return self.lora is not None or self.dimensions().matrix_parameters <= KEPT

    def identity(self) -> dict[str, Any]:
        """The fields, with the tokenizer by its content or commit."""
        content = super().identity()
        content.pop("tokenizer_revision", None)
        if self.tokenizer_path:
            content["tokenizer_path"] = tokenizer_identity(self.tokenizer_path, self.tokenizer_revision)
        return content

    def tokenizer(self) -> Any:
        """The tokenizer; nothing is fetched before it is used."""
        return LateTokenizer(self) if self.tokenizer_path else CharTokenizer()

    def _vocabulary(self) -> int:
        return self.vocabulary or int(self.tokenizer().vocabulary)


class LateTokenizer:
    """The tokenizer of a decoder, read when it is first used: see `models.language_model.Tokenizer`."""

    def __init__(self, spec: Decoder) -> None:
        self._spec = spec

    @cached_property
    def _own(self) -> HubTokenizer:
        spec = self._spec
        found = load_tokenizer_alone(spec.tokenizer_path, spec.tokenizer_revision)
        if spec.vocabulary and found.vocabulary > spec.vocabulary:
            raise UserError(
                f"{spec.tokenizer_path}: the tokenizer has {found.vocabulary} tokens, and the model's vocabulary is "
                f"{spec.vocabulary}: raise it, or leave it out"
            )
        return found

    @property
    def eos_id(self) -> int:
        """The end of a sequence."""
        return self._own.eos_id

    @property
    def pad_id(self) -> int:
        """What fills a row."""
        return self._own.pad_id

    @property
    def vocabulary(self) -> int:
        """The number of token ids."""
        return self._own.vocabulary

    @property
    def fingerprint(self) -> str:
        """What tells it from other tokenizers."""
        return self._own.fingerprint

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        return self._own.encode(text)

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of the start of a sequence."""
        return self._own.encode_prompt(text)

    def decode(self, ids: list[int]) -> str:
        """The text of the ids."""
        return self._own.decode(ids)
