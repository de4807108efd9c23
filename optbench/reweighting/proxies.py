"""The model that judges the examples, from a preset, a folder or a hub id, and how it is trained unless said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from optbench.errors import UserError, suggestion
from optbench.models.checkpoints import is_local
from optbench.models.families import Nano
from optbench.models.linear_attention import LinearAttention
from optbench.models.specs import PRESETS, ModelSpec
from optbench.models.tokenizers import CharTokenizer
from optbench.tasks.text import TextTask

DEFAULT = "llama-nano"
PAPERS_LR, NANO_LR = 2e-5, 3e-3
PAPERS_EPOCHS, NANO_STEPS = 3, 300
"""A checkpoint is trained for as long as the papers' proxies; random weights first have to learn to read."""
PAPERS_LENGTH, NANO_LENGTH = 512, 1024
"""Tokens of an example. Those of nano models are characters."""
MICRO_BATCH = 8
"""Examples that go through a checkpoint at once: on a CPU more would be padded more, on a GPU memory bounds them."""


@dataclass(frozen=True)
class Proxy:
    """A model spec under the name that the user gave it, and what is usual for models of its kind."""

    name: str
    spec: Any
    lr: float
    max_length: int
    micro_batch: int
    least_steps: int

    def epochs(self, count: int, batch_size: int) -> int:
        """The epochs over `count` examples that are usual for it."""
        return max(PAPERS_EPOCHS, -(-self.least_steps // -(-count // batch_size)))


def proxy_of(name: str, *, max_length: int | None) -> Proxy:
    """The model called `name`, for examples of `max_length` tokens; by default of as many as is usual.

    Raises UserError for a name that is neither a preset, nor a folder, nor a hub id.
    """
    spec = _spec_of(name)
    if not isinstance(spec, Nano):
        return Proxy(name, spec, PAPERS_LR, PAPERS_LENGTH if max_length is None else max_length, MICRO_BATCH, 0)
    length = NANO_LENGTH if max_length is None else max_length
    if length > 8192:
        raise UserError(f"--max-length {length}: nano models read 8192 characters at most")
    spec = spec.model_copy(update={"max_length": max(spec.max_length, length)})
    return Proxy(name, spec, NANO_LR, length, 4096, NANO_STEPS)


@lru_cache(maxsize=4)
def tokenizer_of(spec: Any) -> Any:
    """The tokenizer of a model spec, loaded once."""
    return spec.tokenizer()


def readable(task: TextTask, tokenizer: Any) -> TextTask:
    """The task as a tokenizer can read it: nano models have no token for what is not printable ASCII, so that it is
    spelled out as in program text (`\\xe9`, `\\u4e2d`). The price is length; nothing else is lost."""
    if not isinstance(tokenizer, CharTokenizer):
        return task
    train = [replace(e, question=spelled(e.question), solution=spelled(e.solution)) for e in task.train]
    return replace(task, train=train)


def spelled(text: str) -> str:
    """The text in printable ASCII and newlines, every other character as its escape."""
    return "".join(c if c == "\n" or " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


def _spec_of(name: str) -> Any:
    # A folder goes before a preset of the same name only where it is written as one.
    if name in PRESETS and not name.startswith((".", "/", "~")):
        spec = TypeAdapter(ModelSpec).validate_python(PRESETS[name])
        if isinstance(spec, LinearAttention):
            raise UserError(f"--model {name}: reads no text; allowed: {', '.join(_texts())}, a folder or a hub id")
        return spec
    if is_local(name) or "/" in name:
        return TypeAdapter(ModelSpec).validate_python({"kind": "pretrained", "path": name})
    raise UserError(f"--model {name}: neither a preset nor a folder nor a hub id (owner/name); {_hint(name)}")


def _hint(name: str) -> str:
    return suggestion(name, _texts())


def _texts() -> list[str]:
    return [name for name, fields in PRESETS.items() if fields["kind"] != "linear_attention"]
