"""How much memory a cell takes, from the sizes of its model and data: nothing is built.

The parts and their sizes are those of `profiling.memory`; here a batch is cut into parts, the trained parameters may be
an adapter's alone, and answering questions has its own peak. With W weights, S optimizer state, G gradients, C a
cotangent, A activations of the largest part, H what the output layer works in, R the trained weights once more:

    first pass    W + S + max(A + H, G)              one part: a backward frees activations while it makes gradients
                  W + S + G + A + H                  several: the gradient of those before is there as well
    shift         W + S + G + C + R
    second pass   the first with C + R
    observed      the shift with four copies of the largest tensor in double precision, at a few steps
    update        W + S + G + what the rule works in
    evaluation    W + S + G + keys and values of all questions that are answered together, twice for a layer that grows

On a CPU a process is more than its tensors: `PROCESS` bytes of interpreter and libraries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optbench.models.dimensions import Dimensions
from optbench.optim.cotangent import is_kept
from optbench.planning.devices import Device
from optbench.planning.rules import state_per_entry, working_bytes
from optbench.planning.workload import Workload
from optbench.profiling.memory import FLOAT32, OTHER, SAVED

DOUBLE = 8
PROCESS = 530e6
"""Resident bytes of a worker before it builds a model: interpreter, torch, transformers, the task. Measured here."""
CUDA_CONTEXT = 0.6e9
"""Bytes that a process takes on a GPU beside its tensors. An assumption."""
SLACK = {"cpu": 1.15, "cuda": 1.1}
"""On the tensors: norms, rotary tables, and what allocators leave between blocks. SmolLM2 on a CPU took 1.12 to
1.21 times what the tensors add up to."""
ROWS, ENTRIES = {"cpu": 256, "cuda": 1024}, {"cpu": 1 << 24, "cuda": 1 << 27}
"""As `models.functional_head` has them, which loads torch."""
QUESTIONS, POSITIONS = 256, 16384
"""Of one call of generation at most, as `models.generation` has them, which loads torch."""


@dataclass(frozen=True)
class Peak:
    """Bytes: `training` is the peak of the steps, which a record calls `peak_bytes`, `evaluation` that of the answers.
    `at` is the moment of the larger one; `parts` what is there by name."""

    training: float
    evaluation: float
    at: str
    parts: dict[str, float]

    @property
    def bytes(self) -> float:
        """What has to fit."""
        return max(self.training, self.evaluation)


@dataclass(frozen=True)
class Trained:
    """Entries of the parameters that are trained: of hidden matrices and of all others; and of those that are not, as
    the base of an adapter."""

    hidden: float
    others: float
    frozen: float

    @classmethod
    def of(cls, d: Dimensions) -> Trained:
        """From the sizes of a model."""
        hidden = float(sum(rows * cols for rows, cols in d.hidden_matrices()))
        others = max(0.0, d.trained_parameters - hidden)
        return cls(hidden, others, max(0.0, d.matrix_parameters - hidden - others))

    @property
    def entries(self) -> float:
        """All that are trained."""
        return self.hidden + self.others


def peak_of(model: Any, optimizer: Any, training: Any, work: Workload, device: Device) -> Peak:
    """The peak of a cell of these specs on a device."""
    d: Dimensions = model.dimensions()
    estimator, kind = optimizer.estimator, device.kind
    ascent, functional = _ascent(estimator)
    trained = Trained.of(d)
    weights = FLOAT32 * (trained.entries + trained.frozen)
    gradients = FLOAT32 * trained.entries
    hidden, others = state_per_entry(optimizer)
    state = hidden * trained.hidden + others * trained.others
    state += gradients if _refreshes(estimator) else 0.0
    examples = min(training.micro_batch, training.batch_size)
    several = examples < training.batch_size
    tokens, positions = examples * work.longest, examples * work.supervised
    low = training.precision == "bf16"
    activations = activation_bytes(model, d, training, tokens, work.longest, low=low)
    head = output_layer_bytes(d, kind, positions, low=low) if d.vocabulary else 0.0
    cotangent = _cotangent(d, estimator, training, work) if functional else 0.0
    copy = FLOAT32 * trained.entries if ascent is not None else 0.0
    # A tied embedding gets two gradients, from both ends of the model, which are there together before they are added.
    twice = FLOAT32 * float(d.vocabulary * d.width) if not d.untied and not trained.frozen else 0.0
    always = weights + state
    if several:
        backward = gradients + max(activations + head, 2 * twice)
    else:
        backward = max(activations + head, gradients + twice)
    moments = {"update": always + gradients + working_bytes(optimizer.rule, d.hidden_matrices())}
    if ascent is None or ascent.needs_gradient or functional:
        moments["first pass"] = always + max(backward + (cotangent if several else 0.0), gradients + cotangent)
    if getattr(estimator, "gives_diagonal", False):
        whole = output_layer_bytes(d, kind, positions, low=low, at_once=positions)
        drawn = gradients + max(activations + whole, 2 * twice)
        moments["drawn targets"] = always + (drawn if several else max(activations + whole, gradients + twice))
    if ascent is not None:
        preconditioned = 4 * twice if ascent.needs_preconditioner else 0.0
        moments["shift"] = always + cotangent + gradients + copy + preconditioned
        moments["second pass"] = always + copy + cotangent + backward
        # A few steps are looked at closely: what the shift did to the largest tensor, in double precision.
        embedding = 0.0 if trained.frozen else float(d.vocabulary * d.width)
        looked = 4 * DOUBLE * max(embedding, _largest(d))
        moments["observed shift"] = always + cotangent + gradients + copy + looked
    at = max(moments, key=lambda name: moments[name])
    process = PROCESS if kind == "cpu" else CUDA_CONTEXT
    slack = SLACK[kind]
    answering = always + gradients + answer_bytes(d, work, training.micro_batch, kind, low=low)
    parts = {
        "weights": weights,
        "gradients": gradients,
        "state": state,
        "copy": copy,
        "cotangent": cotangent,
        "activations": activations,
        "output_layer": head,
        "process": process,
    }
    training_peak, evaluation = process + slack * moments[at], process + slack * answering
    return Peak(training_peak, evaluation, at if training_peak >= evaluation else "evaluation", parts)


def activation_bytes(model: Any, d: Dimensions, training: Any, tokens: float, longest: int, *, low: bool) -> float:
    """What autograd keeps of the layers for the backward of one part. With activation checkpointing: what goes into
    each layer, and one layer in full. Attention written as matrix products keeps its scores, T x T for each head."""
    fields = {name: getattr(model, name) for name in type(model).model_fields}
    family = str(fields.get("family", ""))
    saved = SAVED.get(family, SAVED[OTHER[d.gated]])[low].per_token(d)
    if training.attention == "eager":
        saved += 2 * FLOAT32 * d.heads * longest
    outside = 3 * FLOAT32 * d.width
    checkpointing = "activation_checkpointing" in type(training).model_fields and training.activation_checkpointing
    layers = (d.layers * FLOAT32 * d.width + 2 * saved) if checkpointing else (d.layers + 1) * saved
    cast = 2.0 * d.hidden_parameters if low else 0.0
    return float(tokens * (layers + outside) + cast)


def output_layer_bytes(d: Dimensions, kind: str, positions: float, *, low: bool, at_once: float = 0.0) -> float:
    """What the output layer works in: logits of as many positions as go through at once, their logarithmic softmax and
    its gradient, the gradient of its weight, hidden states and theirs."""
    rows = at_once or min(positions, max(ROWS[kind], ENTRIES[kind] // d.vocabulary))
    per_logit = 3 * FLOAT32 + (4 if low else 0)
    per_weight = FLOAT32 + (2 if low else 0)
    return float(per_logit * rows * d.vocabulary + per_weight * d.vocabulary * d.width + 8 * positions * d.width)


def answer_bytes(d: Dimensions, work: Workload, micro_batch: int, kind: str, *, low: bool) -> float:
    """What evaluation holds: the largest group of questions with their keys and values, or one part of the loss."""
    per_value = 2 if low else FLOAT32
    logits = FLOAT32 * d.vocabulary * 2.0
    examples = min(micro_batch, QUESTIONS)
    rows = min(examples * work.supervised, max(ROWS[kind], ENTRIES[kind] // max(1, d.vocabulary)))
    loss = examples * work.longest * FLOAT32 * (4.0 * d.width + 3.0 * d.intermediate) + logits * rows
    if not len(work.prompts):
        return loss
    longest = float(work.prompts.max())
    questions = min(QUESTIONS, len(work.prompts), max(1, int(POSITIONS // (longest + work.limit))))
    cache = 2.0 * d.kv_heads * d.head_dim * per_value * questions * (longest + work.limit)
    prompt = questions * longest * FLOAT32 * (4.0 * d.width + 3.0 * d.intermediate)
    return max(loss, cache * (d.layers + 2) + max(prompt, logits * questions))


def _cotangent(d: Dimensions, estimator: Any, training: Any, work: Workload) -> float:
    """What Functional-SAM holds between its passes for the whole batch: the cotangent, or hidden states."""
    positions = training.batch_size * work.example.supervised
    entries = positions * d.vocabulary
    if is_kept(estimator.cotangent, entries=entries, parameters=d.matrix_parameters):
        return float(FLOAT32 * entries)
    return float(FLOAT32 * positions * d.width)


def _largest(d: Dimensions) -> float:
    """Entries of the largest hidden matrix."""
    return float(max((rows * cols for rows, cols in d.hidden_matrices()), default=0))


def _ascent(estimator: Any) -> tuple[Any, bool]:
    """The ascent of a sharpness-aware estimator, None for others, and whether a cotangent is kept."""
    if estimator.kind == "sharpness_aware":
        return estimator.ascent, bool(estimator.functional)
    return None, False


def _refreshes(estimator: Any) -> bool:
    return bool(estimator.kind == "sharpness_aware" and estimator.refresh_every > 1)
