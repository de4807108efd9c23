"""How much memory training takes, from the sizes of the model alone: an estimate before anything is built.

A step has moments at which memory may peak. With W weights, S optimizer state, G gradients, C a kept cotangent, A
activations, H what the output layer works in, and R the weights once more (all in bytes):

    first pass    W + S + max(A + H, G + C)
    shift         W + S + C + G + R
    second pass   W + S + C + R + max(A + H, G)
    update        W + S + G + what the rule works in

The peak is the largest of those that the optimizer has. Activations and gradients are not added up: a backward pass
frees the ones while it makes the others. Activations count what autograd keeps for the backward pass of the layers in
transformers, without checkpointing, and with attention that keeps no T x T matrix of scores; the layer that is worked
on is taken to need as much again. `OVERHEAD` stands for the rest: norms and biases, rotary tables, and what allocators
leave between blocks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from optbench.models.dimensions import Dimensions
from optbench.optim.cotangent import is_kept

if TYPE_CHECKING:
    from optbench.optim.specs import OptimizerSpec
    from optbench.profiling.settings import Settings
    from optbench.profiling.shapes import Shape

FLOAT32, BFLOAT16 = 4, 2
OVERHEAD = 1.1
"""On the sum of the parts."""


@dataclass(frozen=True)
class Saved:
    """Bytes that a layer keeps for each token: so many per entry of the residual stream (`width`), of the queries, of
    the keys, and of the feed-forward layer."""

    width: int
    queries: int
    keys: int
    feed_forward: int

    def per_token(self, d: Dimensions) -> int:
        """Bytes of one layer and token."""
        queries, keys = d.heads * d.head_dim, d.kv_heads * d.head_dim
        return self.width * d.width + self.queries * queries + self.keys * keys + self.feed_forward * d.intermediate


SAVED: dict[str, dict[bool, Saved]] = {
    "phi": {False: Saved(12, 8, 8, 20), True: Saved(14, 4, 4, 10)},
    "llama": {False: Saved(24, 8, 8, 16), True: Saved(26, 4, 4, 8)},
    "qwen3": {False: Saved(24, 16, 16, 16), True: Saved(26, 10, 10, 8)},
    "gemma3": {False: Saved(40, 20, 12, 16), True: Saved(42, 14, 10, 8)},
}
"""By architecture, with products in float32 (False) and in bfloat16 by autocast (True): counted in transformers' code.
Under autocast the residual stream and the norms stay float32, and each product casts its own input."""
OTHER = {True: "qwen3", False: "phi"}
"""What another architecture is taken for: with a gated feed-forward layer, and without one."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of the parts, and `peak`, the largest sum of those that are there at once, with `OVERHEAD`, at the
    moment `at`.

    `copy` is the weights once more, for an optimizer that shifts them; `working` is what the rule's update needs.
    """

    weights: float
    gradients: float
    state: float
    copy: float
    cotangent: float
    activations: float
    output_layer: float
    working: float
    peak: float
    at: str

    def parts(self) -> dict[str, float]:
        """The parts by name, without the peak."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("peak", "at")}


def estimated(shape: Shape, spec: OptimizerSpec, settings: Settings) -> Estimate:
    """The memory of training `shape` with the optimizer of `spec`, without what the process itself takes."""
    d, estimator = shape.dimensions, spec.estimator
    ascent, functional = getattr(estimator, "ascent", None), getattr(estimator, "functional", False)
    weights = gradients = FLOAT32 * float(d.matrix_parameters)
    refreshes = ascent is not None and getattr(estimator, "refresh_every", 1) > 1
    state = state_bytes(d, spec) + (weights if refreshes else 0.0)
    activations = activation_bytes(shape, settings)
    output_layer = output_layer_bytes(d, settings)
    cotangent = cotangent_bytes(d, estimator, settings) if functional else 0.0
    copy = 0.0 if ascent is None else weights
    working = _working(d, spec)
    # A tied embedding gets two gradients, from both ends of the model, which are there together before they are added.
    twice = 0.0 if d.untied else FLOAT32 * float(d.vocabulary * d.width)
    backward = max(activations + output_layer, gradients + twice)
    always = weights + state
    moments = {"update": always + gradients + working}
    if ascent is None or ascent.needs_gradient or functional:
        moments["first pass"] = always + max(backward, gradients + cotangent)
    if getattr(estimator, "gives_diagonal", False):
        whole = output_layer_bytes(d, settings, at_once=settings.positions)
        moments["drawn targets"] = always + max(activations + whole, gradients + twice)
    if ascent is not None:
        # A preconditioned gradient is made one tensor at a time, in several steps, beside the gradient.
        several = 4 * FLOAT32 * float(d.vocabulary * d.width) if ascent.needs_preconditioner else 0.0
        moments["shift"] = always + cotangent + gradients + copy + several
        moments["second pass"] = always + copy + cotangent + backward
    at = max(moments, key=lambda name: moments[name])
    return Estimate(
        weights,
        gradients,
        state,
        copy,
        cotangent,
        activations,
        output_layer,
        working,
        peak=OVERHEAD * moments[at],
        at=at,
    )


def state_bytes(d: Dimensions, spec: OptimizerSpec) -> float:
    """What the rule keeps between steps, from the bytes per entry that it keeps for small tensors of each role."""
    outside = d.matrix_parameters - d.hidden_parameters
    return bytes_per_entry(spec, "hidden") * d.hidden_parameters + bytes_per_entry(spec, "embedding") * outside


def bytes_per_entry(spec: OptimizerSpec, role: str) -> float:
    """Bytes of state for each entry of a matrix of this role: how much more state a second such matrix makes."""
    import torch

    from optbench.optim.base import Parameter

    rows, cols = 64, 128

    def total(copies: int) -> int:
        given: list[Any] = [("hidden", 1), ("embedding", 1), (role, copies)]
        made: list[Parameter] = []
        for kind, count in given:
            for _ in range(count):
                tensor = torch.nn.Parameter(torch.zeros(rows, cols))
                tensor.grad = torch.zeros(rows, cols)
                made.append(Parameter(f"{kind}{len(made)}", tensor, kind))
        rule = spec.rule.build(made)
        with torch.no_grad():
            rule.apply(1.0)
        return int(rule.state_bytes())

    return (total(1) - total(0)) / (rows * cols)


def activation_bytes(shape: Shape, settings: Settings) -> float:
    """What autograd keeps of the layers, and under autocast the weights of their products once more in bfloat16."""
    d, low = shape.dimensions, settings.precision == "bf16"
    saved = SAVED.get(shape.model_type.removesuffix("_text"), SAVED[OTHER[d.gated]])[low]
    # Beside the layers: the embedded tokens, and the last norm with its input and result.
    outside = 3 * FLOAT32 * d.width
    cast = BFLOAT16 * d.hidden_parameters if low else 0
    return float(settings.tokens * ((d.layers + 1) * saved.per_token(d) + outside) + cast)


def output_layer_bytes(d: Dimensions, settings: Settings, *, at_once: int = 0) -> float:
    """What the output layer works in: logits (of as many positions as go through at once), their logarithmic softmax
    and its gradient; the gradient of its weight; hidden states and theirs."""
    low = settings.precision == "bf16"
    rows = at_once or min(settings.positions, _rows_at_once(d, settings))
    per_logit = 3 * FLOAT32 + (2 * BFLOAT16 if low else 0)
    per_weight = FLOAT32 + (BFLOAT16 if low else 0)
    entries = per_logit * rows * d.vocabulary + per_weight * d.vocabulary * d.width
    return float(entries + 2 * FLOAT32 * settings.positions * d.width)


def cotangent_bytes(d: Dimensions, estimator: Any, settings: Settings) -> float:
    """What Functional-SAM holds between its passes: the cotangent of the logits, or the hidden states that give it."""
    entries = float(settings.positions * d.vocabulary)
    if not is_kept(estimator.cotangent, entries=entries, parameters=d.matrix_parameters):
        return float(FLOAT32 * settings.positions * d.width)
    in_pieces = settings.positions > _rows_at_once(d, settings)
    return entries * (BFLOAT16 if in_pieces and settings.precision == "bf16" else FLOAT32)


def _rows_at_once(d: Dimensions, settings: Settings) -> int:
    import torch

    from optbench.models.functional_head import chunk_rows

    return chunk_rows(d.vocabulary, torch.device(settings.device))


def _working(d: Dimensions, spec: OptimizerSpec) -> float:
    """A rule that multiplies matrices (Newton-Schulz) makes the updates of all hidden ones in float32, and works on a
    stack of those of one shape in bfloat16: input, result, and what it is made from."""
    matrices = d.hidden_matrices()
    if not spec.rule.update_flops(matrices):
        return 0.0
    stacks = Counter(matrices)
    largest = max(rows * cols * count for (rows, cols), count in stacks.items())
    return float(FLOAT32 * d.hidden_parameters + 4 * BFLOAT16 * largest)
