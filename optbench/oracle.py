"""The oracle: the loss of one batch as a function of the parameters, asked as often as an optimizer likes.

The loss is the mean over all supervised positions of the batch, however the batch is cut into parts; it is
deterministic (dropout draws the same masks in every pass); and every pass is counted.

Legend: N supervised positions, K outputs per position (classes of a language model), B examples, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from optbench.errors import UserError
from optbench.optim.cotangent import Keep
from optbench.shifts import shifted as shifted


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


PartCotangent = Any
"""dloss/doutputs of one part, as the model hands it out: a tensor [N, K], or what it is rebuilt from."""


@dataclass(frozen=True)
class Evaluated:
    """The loss of a part: its share `total` in the mean of the batch, with its graph where gradients are on.

    `cotangent` gives dloss/doutputs, after the backward of `total` where there is one. A cotangent that is rebuilt may
    leave `total` at 0 in a forward without gradients; the pull-back then fills it in, in place.
    """

    total: Tensor
    cotangent: Callable[[], PartCotangent]


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

    def pullback(self, part: Part, cotangent: PartCotangent) -> Tensor:
        """A scalar whose gradient is J^T C, J the Jacobian of the outputs and C the cotangent [N, K]; its own value
        means nothing. An implementation may leave out whatever only the outputs themselves would need."""
        ...

    def evaluate(self, part: Part, losses: Losses, count: int, keep: Keep | None) -> Evaluated:
        """The sum of the losses of a part over `count`, the supervised positions of its batch; `keep` is how a
        cotangent is wanted, None if it is not. `ThroughOutputs` has it for models that know no shorter way."""
        ...


class Losses(Protocol):
    """The loss of each supervised position: outputs [N, K], targets [N] -> [N]. No position looks at another, so that
    they may be evaluated in any grouping."""

    def __call__(self, outputs: Tensor, targets: Tensor, /) -> Tensor:
        """The losses, with their graph."""
        ...


def of_outputs(outputs: Tensor, targets: Tensor, losses: Losses, count: int, keep: Keep | None) -> Evaluated:
    """The loss of a part from its outputs [N, K]; the cotangent is kept as a tensor."""
    forward_only = not torch.is_grad_enabled()
    if forward_only and keep:
        outputs = outputs.detach().requires_grad_()
    elif keep:
        outputs.retain_grad()
    with torch.set_grad_enabled(bool(keep) or not forward_only):
        total = losses(outputs, targets).sum() / count

    def kept() -> Tensor:
        found = torch.autograd.grad(total, outputs)[0] if forward_only else outputs.grad
        assert found is not None, "the cotangent is there after the backward"
        return found

    return Evaluated(total, kept)


class ThroughOutputs:
    """`Differentiable.evaluate` for models whose loss is made from their outputs."""

    def evaluate(self: Any, part: Part, losses: Losses, count: int, keep: Keep | None) -> Evaluated:
        """The loss of a part. Raises UserError for a cotangent that is to be rebuilt: there is nothing smaller here
        from which it could be."""
        if keep == "rebuilt":
            raise UserError(
                "cotangent: rebuilt needs a language model whose logits are those of its output layer, and this model "
                "has none, or scales or caps its logits. Allowed here: auto, kept"
            )
        return of_outputs(self.outputs(part), part.targets, losses, count, keep)

    @torch.no_grad()
    def by_position(self: Any, part: Part, losses: Losses) -> Tensor:
        """The losses [N] of a part, forward only."""
        return losses(self.outputs(part), part.targets)


@dataclass(frozen=True)
class Gradient:
    """The answer to `Oracle.gradient`: the numbers are in `p.grad`.

    `loss`, the sum of `totals`, is the loss of the batch where the gradient was taken, NaN where it was not evaluated
    (a pulled-back cotangent needs no loss). `cotangent` holds dloss/doutputs for each part, where it was asked for. It
    may be rebuilt from the weights, which then have to be as they were, apart from shifts that are still open.
    """

    totals: Sequence[Tensor]
    cotangent: Sequence[PartCotangent] | None = None

    @property
    def loss(self) -> Tensor:
        """The loss, as far as it is known by now: a forward that keeps what rebuilds its cotangent does not know it."""
        total = self.totals[0]
        for other in self.totals[1:]:
            total = total + other
        return total


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
        self._thirds = Fraction(0)
        self._share, self._whole = Fraction(1), cast("Oracle | None", None)
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
        return float(self._thirds / 3)

    def gradient(self, *, cotangent: Sequence[PartCotangent] | None = None, keep: Keep | bool = False) -> Gradient:
        """Fills `p.grad` with the gradient at the parameters as they are; what was there before is dropped.

        Without `cotangent` it is the gradient of the loss, J^T dloss/doutputs. With one it is J^T C: the Jacobian of
        here, the cotangent of wherever it was taken. `keep` returns dloss/doutputs of here, for later; True is `auto`.
        """
        for p in self.parameters:
            p.grad = None
        self._count(3)
        if cotangent is not None:
            with self._same_masks():
                for part, c in zip(self.batch.parts, cotangent, strict=True):
                    torch.autograd.backward(self.model.pullback(part, c))
            self._complete()
            return Gradient([torch.full((), torch.nan, device=self.parameters[0].device)])
        wanted = "auto" if keep is True else keep or None
        totals: list[Tensor] = []
        kept: list[PartCotangent] = []
        with self._same_masks():
            for part in self.batch.parts:
                found = self.model.evaluate(part, self.losses, self.batch.num_supervised, wanted)
                torch.autograd.backward(found.total)
                totals.append(found.total.detach())
                if wanted:
                    kept.append(found.cotangent())
        self._complete()
        return self._answer(totals, kept if wanted else None)

    def gradient_of_answers(self, answers: Callable[[Part, Tensor], Tensor]) -> None:
        """Fills `p.grad` with the gradient of the same mean loss for other targets, chosen by what the model says.

        `answers` maps a part and its outputs [N, K], without their graph, to targets [N]. The outputs of a part are
        held with their graph, for they are looked at before there is a loss.
        """
        for p in self.parameters:
            p.grad = None
        self._count(3)
        with self._same_masks():
            for part in self.batch.parts:
                outputs = self.model.outputs(part)
                with torch.no_grad():
                    targets = answers(part, outputs.detach())
                total = self.losses(outputs, targets).sum() / self.batch.num_supervised
                del outputs  # The graph needs no logits but those that the loss has kept.
                torch.autograd.backward(total)
        self._complete()

    def cotangent(self, keep: Keep = "auto") -> Gradient:
        """dloss/doutputs for each part, and the loss, at the parameters as they are; forward only. Where the cotangent
        is rebuilt later, the loss is filled in then."""
        self._count(1)
        totals: list[Tensor] = []
        kept: list[PartCotangent] = []
        with self._same_masks(), torch.no_grad():
            for part in self.batch.parts:
                found = self.model.evaluate(part, self.losses, self.batch.num_supervised, keep)
                totals.append(found.total.detach())
                kept.append(found.cotangent())
        return self._answer(totals, kept)

    @torch.no_grad()
    def loss(self) -> Tensor:
        """The mean loss per supervised position, nats for a language model; forward only."""
        self._count(1)
        with self._same_masks():
            parts = self.batch.parts
            totals = [self.model.evaluate(p, self.losses, self.batch.num_supervised, None).total for p in parts]
        return self._answer(totals, None).loss

    def for_ascent(self) -> Oracle:
        """The oracle that the gradient of an ascent is asked of: this one, unless each of several processes is to make
        the shift of its own share of the batch."""
        return self

    def of_fraction(self, fraction: float) -> Oracle:
        """The oracle of the mean loss over a fraction of the batch: every 1/fraction-th of its examples, rounded up.

        Its passes count here by the share of the examples. Which examples depends on the order of the parts. On a GPU
        the host waits for the device, once, to learn which positions these are.
        """
        sizes = [len(next(iter(part.inputs.values()))) for part in self.batch.parts]
        chosen = every(fraction, sum(sizes))
        wanted = len(chosen)
        parts, start = [], 0
        for part, size in zip(self.batch.parts, sizes, strict=True):
            rows = [i - start for i in chosen if start <= i < start + size]
            start += size
            if rows:
                parts.append(of_rows(part, rows, size))
        supervised = sum(len(part.positions) for part in parts)
        found = Oracle(
            self.model,
            self.losses,
            Batch(parts, num_tokens=self.batch.num_tokens * wanted // sum(sizes), num_supervised=supervised),
        )
        found._share, found._whole = Fraction(wanted, sum(sizes)), self
        return found

    def _count(self, thirds: Fraction | int) -> None:
        self._thirds += thirds
        if self._whole is not None:
            self._whole._count(thirds * self._share)

    def _answer(self, totals: Sequence[Tensor], cotangent: Sequence[PartCotangent] | None) -> Gradient:
        return Gradient(totals, cotangent)

    def _complete(self) -> None:
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
            self._random_state.update(_random_state(self.parameters))
        yield


def every(fraction: float, count: int) -> list[int]:
    """Every 1/fraction-th of `count` examples, by their places; their number is rounded up."""
    # As a decimal: 0.07 of 100 examples are 7, though 0.07 * 100 is above 7 in floating point.
    wanted = math.ceil(Fraction(repr(fraction)) * count)
    return [i * count // wanted for i in range(wanted)]


def of_rows(part: Part, rows: Sequence[int], size: int) -> Part:
    """The part with some of its examples: inputs [B, ...] by row, positions renumbered."""
    device = part.positions.device
    tokens = [value for value in part.inputs.values() if value.dim() == 2 and not value.is_floating_point()]
    length = tokens[0].shape[1] if tokens else 1  # Without tokens there is one output for each example.
    place = torch.full((size,), -1, device=device)
    place[torch.tensor(rows, device=device)] = torch.arange(len(rows), device=device)
    row = part.positions // length
    kept = (place[row] >= 0).nonzero().squeeze(1)
    positions = place[row[kept]] * length + part.positions[kept] % length
    inputs = {name: value[torch.tensor(rows, device=value.device)] for name, value in part.inputs.items()}
    return Part(inputs, positions, part.targets[kept])


def _random_state(parameters: Sequence[Tensor]) -> dict[str, Any]:
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    devices = {p.device for p in parameters if p.device.type == "cuda"}
    state["cuda"] = {device: torch.cuda.get_rng_state(device) for device in devices}
    return state


def _restore_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    for device, value in state["cuda"].items():
        torch.cuda.set_rng_state(value, device)
