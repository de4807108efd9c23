"""All columns: the only place where a number's unit, direction and meaning are written down."""

from __future__ import annotations

import math

from optbench.metrics.base import Column
from optbench.metrics.panels import PANEL_COLUMNS

BEFORE = "_before"
"""What the name of a column ends in that says what a pretrained model scored before it was trained."""

_TABLE = (
    Column("accuracy", "fraction", "higher", "Test questions whose final answer is exactly right."),
    Column("accuracy_before", "fraction", "neither", "The same, before training, for pretrained models.", exact=True),
    Column("test_nll_before", "nats", "neither", "test_nll before training, for pretrained models.", exact=True),
    Column(
        "bits_per_byte_before",
        "bits/byte",
        "neither",
        "bits_per_byte before training, for pretrained models.",
        exact=True,
    ),
    Column("questions", "questions", "neither", "Test questions asked.", counted=True),
    Column("format_error", "fraction", "lower", "Test questions answered in a form without a final answer; all wrong."),
    Column(
        "accuracy_strict",
        "fraction",
        "higher",
        "Test questions right by lm-eval's strict extraction for GSM8K: the number after the first `#### `.",
    ),
    Column(
        "accuracy_flexible",
        "fraction",
        "higher",
        "Test questions right by lm-eval's flexible extraction for GSM8K: the last number of the text.",
    ),
    Column("by_program", "fraction", "neither", "Test questions answered by what a program of the model printed."),
    Column("test_nll", "nats", "lower", "Mean negative log likelihood per supervised position of the test solutions."),
    Column(
        "bits_per_byte",
        "bits/byte",
        "lower",
        "Loss of the test text per byte; compares tokenizers that keep every byte.",
    ),
    Column("test_loss", "", "lower", "Mean loss of the test examples, for tasks whose loss is no likelihood."),
    Column(
        "final_loss",
        "nats",
        "lower",
        "Mean of the last ten training losses, each taken before its update; at the shifted weights where an optimizer "
        "never looks at the others (SAM with a momentum ascent or a fraction of the batch).",
    ),
    Column(
        "steps_done",
        "steps",
        "neither",
        "Optimizer steps taken; fewer than planned where the run diverged.",
        counted=True,
    ),
    Column("diverged_at", "steps", "higher", "The step at which the loss was no longer a finite number."),
    Column("tokens", "tokens", "neither", "Non-padding input tokens of training, counted once a step.", exact=True),
    Column(
        "passes",
        "passes",
        "lower",
        "Forward + backward evaluations of a batch; a forward alone counts 1/3.",
        counted=True,
    ),
    Column(
        "flops",
        "FLOPs",
        "lower",
        "Floating-point operations of training, analytic, the optimizer's own included.",
        exact=True,
    ),
    Column("state_bytes", "bytes", "lower", "What the optimizer keeps between two steps.", counted=True),
    Column(
        "probe_share",
        "fraction",
        "lower",
        "FLOPs of the strategy's probe as a share of the FLOPs of training.",
        exact=True,
    ),
    Column("shift_cosine", "cosine", "higher", "Worst cosine seen between the shift asked for and made."),
    Column("step_seconds", "s", "lower", "Median time of one optimizer step.", measured=True),
    Column("step_seconds_p95", "s", "lower", "95th percentile of the time of one optimizer step.", measured=True),
    Column("tokens_per_second", "tokens/s", "higher", "Non-padding input tokens, counted once a step.", measured=True),
    Column("peak_bytes", "bytes", "lower", "Peak memory of the run.", measured=True),
    Column("train_seconds", "s", "lower", "Median time of a step, times the number of steps.", measured=True),
    Column("probe_seconds", "s", "lower", "Time of the strategy's probe.", measured=True),
    Column("resumed", "", "neither", "How often the run went on from a checkpoint; none where it never did."),
    Column("total_seconds", "s", "lower", "Time of the cell: probe, training, evaluation and panels.", measured=True),
)

COLUMNS: dict[str, Column] = {column.name: column for column in (*_TABLE, *PANEL_COLUMNS)}

SETS = ("gsm8k", "math", "numglue", "svamp", "mathematics", "simuleq")
"""The published sets of questions whose accuracies stand side by side in reports, as parts of `accuracy`."""

WORST: dict[str, float] = {
    "accuracy": 0.0,
    "accuracy_strict": 0.0,
    "accuracy_flexible": 0.0,
    "format_error": 1.0,
    "test_nll": math.inf,
    "bits_per_byte": math.inf,
    "test_loss": math.inf,
    "final_loss": math.inf,
}
"""What a diverged cell counts as: the worst value there is, so that failing is never better than finishing."""


def column(name: str) -> Column:
    """The column called `name`; `accuracy/sums` has unit and direction of `accuracy`.

    A number that is not in the table, for instance a plug-in's own, has no unit and no direction.
    """
    base, slash, part = name.partition("/")
    if base not in COLUMNS:
        return Column(name, "", "neither", "Not described.")
    known = COLUMNS[base]
    doc = f"{known.doc} Only {part}." if slash else known.doc
    return Column(name, known.unit, known.direction, doc, known.measured, known.counted, known.panel, known.exact)


def worst(name: str) -> float:
    """What a diverged cell counts as in the column `name`; NaN where divergence says nothing about it (costs)."""
    return WORST.get(name.partition("/")[0], math.nan)
