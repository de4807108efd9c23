"""A causal language model as the harness sees it: hidden states, head, roles, tokenizer; never a mean loss.

Legend: B examples, T tokens, D width, V classes, N supervised positions.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from optbench.models.functional_head import widened
from optbench.models.head import Head
from optbench.models.packing import nothing_packed
from optbench.optim.cotangent import Keep
from optbench.oracle import Batch, Evaluated, Losses, Part, PartCotangent, ThroughOutputs

IGNORED = -100
Precision = Literal["float32", "tf32", "bf16"]


class Tokenizer(Protocol):
    """The little that tasks and generation need of a tokenizer."""

    eos_id: int
    pad_id: int

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens. Raises UserError for a text that has no encoding."""
        ...

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of the start of a sequence: with the special tokens that the model expects there (such as BOS)."""
        ...

    def decode(self, ids: list[int]) -> str:
        """The text of the ids, special tokens left out."""
        ...


def plainly(module: Any, part: Part) -> Any:
    """A forward pass. Batches of ids alone, which hold one sequence in each row, are not searched for packed ones."""
    with nothing_packed() if set(part.inputs) == {"input_ids"} else nullcontext():
        return module(**part.inputs, use_cache=False)


@dataclass(frozen=True)
class LanguageModel(ThroughOutputs):
    """A causal model of transformers with its parts exposed.

    `head` is None where head(hidden) does not equal the model's logits (models that scale or cap them): then the
    outputs are taken from the logits. The weights are float32 always; `precision` is that of products: bf16 by
    autocast, tf32 by the matrix units of a GPU. `run` makes a forward pass of a part through the module, or through the
    network below its head.
    """

    module: nn.Module
    head: Head | None
    tokenizer: Tokenizer | None = None
    precision: Precision = "float32"
    run: Callable[[nn.Module, Part], Any] = plainly

    @classmethod
    def of(cls, module: nn.Module) -> LanguageModel:
        """The view of a bare module; found once per module and remembered as long as the module lives."""
        known = _views.get(module)
        # An output layer that was resized or replaced since is another one.
        if known is None or (known[0] is not None and known[0].linear is not module.get_output_embeddings()):  # type: ignore[operator]
            known = _views[module] = (Head.of(module),)
        return cls(module=module, head=known[0])

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next(self.module.parameters()).device

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of forward passes."""
        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def rounded(self, weight: Tensor, role: str) -> Tensor:
        """The weight as products see it. Embeddings are looked up and vectors multiplied elementwise, in float32."""
        if self.precision == "float32" or role in ("embedding", "vector"):
            return weight
        if self.precision == "bf16":
            return weight.bfloat16()
        # tf32 keeps 10 of the 23 bits of the mantissa: to nearest by adding half of what is cut off.
        bits = weight.detach().float().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)

    def outputs(self, part: Part) -> Tensor:
        """The logits [N, V] at the supervised positions, float32 at least."""
        with self.autocast():
            if self.head is None:
                logits_BTV = self.run(self.module, part).logits
                return widened(logits_BTV.flatten(0, 1)[part.positions])
            return self.head.outputs(self._hidden(part))

    def evaluate(self, part: Part, losses: Losses, count: int, keep: Keep | None) -> Evaluated:
        """The loss of a part, by the output layer in pieces where there is one: see `Head.evaluate`."""
        if self.head is None:
            return super().evaluate(part, losses, count, keep)
        with self.autocast():
            return self.head.evaluate(self._hidden(part), part.targets, losses, count, keep)

    @torch.no_grad()
    def by_position(self, part: Part, losses: Losses) -> Tensor:
        """The losses [N] at the supervised positions, forward only; logits are never there all at once."""
        if self.head is None:
            return super().by_position(part, losses)
        with self.autocast():
            return self.head.by_position(self._hidden(part), part.targets, losses)

    def pullback(self, part: Part, cotangent: PartCotangent) -> Tensor:
        """A scalar whose gradient is J^T C. With a head, the logits are never computed: see `Head.pullback`."""
        with self.autocast():
            if self.head is None:
                inner: Tensor = (self.outputs(part) * cotangent).sum()
                return inner
            return self.head.pullback(self._hidden(part), cotangent)

    def _hidden(self, part: Part) -> Tensor:
        assert self.head is not None
        hidden_BTD = self.run(self.head.backbone, part).last_hidden_state
        hidden_ND: Tensor = hidden_BTD.flatten(0, 1).index_select(0, part.positions)
        return hidden_ND


_views: weakref.WeakKeyDictionary[nn.Module, tuple[Head | None]] = weakref.WeakKeyDictionary()
"""Which output path fits a module costs two forward passes to find out, too much for every batch."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Negative log likelihood of each position in nats: logits [N, V], targets [N] -> [N]."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def batch_of_labels(batch: Mapping[str, Tensor]) -> Batch:
    """The batch of transformers' own form: see `Oracle.from_batch`.

    Raises ValueError where input_ids or labels are missing or of different shape.
    """
    if "input_ids" not in batch or "labels" not in batch:
        raise ValueError(f"a batch needs input_ids and labels; given: {sorted(batch)}")
    labels_BT, ids_BT = batch["labels"], batch["input_ids"]
    if labels_BT.shape != ids_BT.shape:
        raise ValueError(f"labels {tuple(labels_BT.shape)} and input_ids {tuple(ids_BT.shape)} differ in shape")
    shifted_BT = torch.full_like(labels_BT, IGNORED)
    shifted_BT[:, :-1] = labels_BT[:, 1:]
    positions = (shifted_BT.flatten() != IGNORED).nonzero().squeeze(1)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    mask = batch.get("attention_mask")
    num_tokens = ids_BT.numel() if mask is None else int(mask.sum())
    part = Part(inputs, positions, shifted_BT.flatten()[positions])
    return Batch([part], num_tokens=num_tokens, num_supervised=len(positions))
