"""The oracle: the loss of one batch as a function of the parameters, asked as often as an optimizer likes.

The loss is the mean over all supervised positions of the batch, however the batch is cut into parts; it is
deterministic (dropout draws the same masks in every pass); and every pass is counted.

Legend: N supervised positions, K outputs per position (classes of a language model), B examples, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """A piece of a batch that goes through the model at once.

    `inputs` are the model's arguments. `positions` [N] index the flattened [B * T] outputs that are supervised;
    `targets` [N] are what they should say.
    """

    inputs: Mapping[str, Tensor]
    positions: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Batch:
    """The examples of one step. `num_tokens` counts non-padding inputs, `num_supervised` supervised positions."""

    parts: Sequence[Part]
    num_tokens: int
    num_supervised: int


class Differentiable(Protocol):
    """What the oracle needs of a model: its outputs, and the pull-back of a cotangent through them."""

    @property
    def module(self) -> nn.Module:
        """What holds the parameters."""
        ...

    def rounded(self, weight: Tensor, role: str) -> Tensor:
        """The weight as products see it: rounded to the compute precision where its role takes part in products."""
        ...

    def outputs(self, part: Part) -> Tensor:
        """The outputs [N, K] at the supervised positions, with their graph."""
        ...

    def pullback(self, part: Part, cotangent: Tensor) -> Tensor:
        """A scalar whose gradient is J^T C, J the Jacobian of the outputs and C the cotangent [N, K]; its own value
        means nothing. An implementation may leave out whatever only the outputs themselves would need."""
        ...


class Losses(Protocol):
    """The loss of each supervised position: outputs [N, K], targets [N] -> [N]."""

    def __call__(self, outputs: Tensor, targets: Tensor, /) -> Tensor:
        """The losses, with their graph."""
        ...


@dataclass(frozen=True)
class Gradient:
    """The answer to `Oracle.gradient`: the numbers are in `p.grad`.

    `loss` is the loss of the batch where the gradient was taken, NaN where it was not evaluated (a pulled-back
    cotangent needs no loss). `cotangent` holds dloss/doutputs [N, K] for each part, where it was asked to be kept.
    """

    loss: Tensor
    cotangent: Sequence[Tensor] | None = None


class Oracle:
    """The loss of `batch` under `model` as a function of its trainable parameters."""

    def __init__(self, model: Differentiable, losses: Losses, batch: Batch) -> None:
        """Raises ValueError where nothing is supervised: the mean over no positions means nothing."""
        if batch.num_supervised < 1:
            raise ValueError("the batch has no supervised position: every label is masked")
        self.model = model
        self.batch = batch
        self.parameters = [p for p in model.module.parameters() if p.requires_grad]
        self.losses = losses
        self._thirds = 0
        self._random_state: dict[str, Any] = {}

    @classmethod
    def from_batch(cls, model: nn.Module, batch: Mapping[str, Tensor]) -> Oracle:
        """The oracle of any causal language model of transformers.

        `batch` holds input_ids [B, T], labels [B, T] with -100 where a token is not supervised, and usually
        attention_mask [B, T]; anything else is passed to the model. As in transformers, the output at position t is
        compared with the label at t + 1.
        """
        from optbench.models.language_model import LanguageModel, batch_of_labels, cross_entropy

        return cls(LanguageModel.of(model), cross_entropy, batch_of_labels(batch))

    @property
    def passes(self) -> float:
        """Forward + backward evaluations of the whole batch so far; a forward alone counts 1/3."""
        return self._thirds / 3

    def gradient(self, *, cotangent: Sequence[Tensor] | None = None, keep: bool = False) -> Gradient:
        """Fills `p.grad` with the gradient at the parameters as they are; what was there before is dropped.

        Without `cotangent` it is the gradient of the loss, J^T dloss/doutputs. With one it is J^T C: the Jacobian of
        here, the cotangent of wherever it was taken. `keep` returns dloss/doutputs of here, for later.
        """
        for p in self.parameters:
            p.grad = None
        self._thirds += 3
        if cotangent is not None:
            with self._same_masks():
                for part, c in zip(self.batch.parts, cotangent, strict=True):
                    torch.autograd.backward(self.model.pullback(part, c))
            self._fill_missing()
            return Gradient(torch.full((), torch.nan, device=self.parameters[0].device))
        total: Tensor | None = None
        kept: list[Tensor] = []
        with self._same_masks():
            for part in self.batch.parts:
                outputs = self.model.outputs(part)
                if keep:
                    outputs.retain_grad()
                loss = self.losses(outputs, part.targets).sum() / self.batch.num_supervised
                torch.autograd.backward(loss)
                total = loss.detach() if total is None else total + loss.detach()
                if keep:
                    assert outputs.grad is not None
                    kept.append(outputs.grad)
        self._fill_missing()
        assert total is not None
        return Gradient(total, kept if keep else None)

    def cotangent(self) -> Gradient:
        """dloss/doutputs [N, K] for each part, and the loss, at the parameters as they are; forward only."""
        self._thirds += 1
        kept: list[Tensor] = []
        total: Tensor | None = None
        with self._same_masks():
            for part in self.batch.parts:
                with torch.no_grad():
                    outputs = self.model.outputs(part)
                leaf = outputs.detach().requires_grad_()
                with torch.enable_grad():
                    loss = self.losses(leaf, part.targets).sum() / self.batch.num_supervised
                kept.append(torch.autograd.grad(loss, leaf)[0])
                total = loss.detach() if total is None else total + loss.detach()
        assert total is not None
        return Gradient(total, kept)

    @torch.no_grad()
    def loss(self) -> Tensor:
        """The mean loss per supervised position, nats for a language model; forward only."""
        self._thirds += 1
        total: Tensor | None = None
        with self._same_masks():
            for part in self.batch.parts:
                loss = self.losses(self.model.outputs(part), part.targets).sum() / self.batch.num_supervised
                total = loss if total is None else total + loss
        assert total is not None
        return total

    def _fill_missing(self) -> None:
        # A parameter that no example touches (an expert, an unused head) has gradient zero, not no gradient.
        for p in self.parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)

    @contextmanager
    def _same_masks(self) -> Iterator[None]:
        # Every pass starts from the random state of the first, so that dropout draws the same masks; an oracle that is
        # used for more than one step would freeze them.
        if self._random_state:
            _restore_random_state(self._random_state)
        else:
            self._random_state = _random_state(self.parameters)
        yield


@contextmanager
def shifted(params: Sequence[Tensor], by: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Adds `by` to `params` inside the block, in place; yields the unshifted values.

    Afterwards the parameters hold the very same bits as before, also after an error: w + e - e is not w in floating
    point, so the values are saved and copied back. Raises ValueError for parameters below float32, whose spacing is of
    the size of the shift (at rho = 0.05 and 0.5 billion bfloat16 parameters, 2.6% of the entries move at all).
    """
    for p in params:
        if p.dtype in (torch.bfloat16, torch.float16):
            raise ValueError(f"a shift of {p.dtype} parameters is mostly lost to rounding: keep float32 weights")
    with torch.no_grad():
        saved = [p.detach().clone() for p in params]
        try:
            torch._foreach_add_(list(params), list(by))
            del by
            with torch.enable_grad():
                yield saved
        finally:
            torch._foreach_copy_(list(params), saved)


def _random_state(parameters: Sequence[Tensor]) -> dict[str, Any]:
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    devices = {p.device for p in parameters if p.device.type == "cuda"}
    state["cuda"] = {device: torch.cuda.get_rng_state(device) for device in devices}
    return state


def _restore_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    for device, value in state["cuda"].items():
        torch.cuda.set_rng_state(value, device)
