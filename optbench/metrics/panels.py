"""The columns that panels add to a record: a part of the one table in `columns`."""

from __future__ import annotations

from optbench.metrics.base import Column, Direction

_SHARPNESS: tuple[tuple[str, str, Direction, str], ...] = (
    ("hessian_top", "nats", "lower", "Largest Hessian eigenvalue of the probe batch's loss, per squared weight."),
    ("hessian_top_residual", "relative", "lower", "Norm of H v - lambda v over lambda at the eigenvalue found."),
    ("ggn_top", "nats", "lower", "Largest eigenvalue of the generalised Gauss-Newton matrix."),
    ("ggn_top_residual", "relative", "lower", "Norm of G v - lambda v over lambda at the eigenvalue found."),
    ("hessian_trace", "nats", "lower", "Trace of the Hessian, estimated."),
    ("hessian_trace_se", "nats", "lower", "Standard error of that estimate."),
    ("sam_sharpness", "nats", "lower", "L(w + rho e) - L(w) for e along the gradient."),
    ("critical_sharpness", "nats", "lower", "2 / eta for the least step along the gradient that raises the loss."),
    ("logit_share", "fraction", "neither", "Share by norm of the logit part (GGN) in the Hessian along the ascent."),
    (
        "functional_share",
        "fraction",
        "neither",
        "Share by norm of the functional part in that Hessian.",
    ),
    ("logit_projection", "fraction", "neither", "Projection of the logit part on the Hessian along the ascent."),
    ("sam_logit_share", "fraction", "neither", "Share of the logit part in what SAM adds to the gradient."),
    ("fsam_logit_share", "fraction", "neither", "Share of the logit part in what Functional-SAM adds to the gradient."),
    ("split_error", "relative", "lower", "Norm of logit part + functional part - H e, over that of H e."),
)

_SIMPLICITY: tuple[tuple[str, str, Direction, str], ...] = (
    (
        "first_learned",
        "fraction of the run",
        "lower",
        "When an example is first right, mean; never counts as 1.",
    ),
    (
        "learned",
        "fraction of the run",
        "lower",
        "When an example is learned for good, mean; never counts as 1.",
    ),
    ("never_learned", "fraction", "lower", "Examples that are not answered right at the end."),
    ("forgetting", "events", "lower", "Times that an example goes from right to wrong, mean."),
    ("late_early_gap", "nats", "lower", "Loss of later-learned less loss of early-learned examples, at the end."),
    ("late_early_gap_area", "nats", "lower", "The same gap, averaged over training."),
    (
        "learning_time_ratio",
        "ratio",
        "lower",
        "Learning time of the last source over that of the first.",
    ),
    ("learning_time_spread", "relative", "lower", "Standard deviation over mean of the learning times of the sources."),
    ("learning_uniformity", "fraction", "higher", "1 - Gini coefficient of the learning times of the examples."),
    ("loss_cv", "relative", "lower", "Standard deviation over mean of the losses of the examples at the end."),
    ("decile_loss", "nats", "lower", "Mean loss at the end by decile of difficulty for the shared probe."),
)

_THEORY: tuple[tuple[str, str, Direction, str], ...] = (
    ("last_first_ratio", "ratio", "lower", "Step at which the last eigen-direction is learned over that of the first."),
    ("delay_free_ratio", "ratio", "lower", "(t_D - t_2) / (t_2 - t_1) of the directions' learning times t."),
    ("never_learned_directions", "directions", "lower", "Eigen-directions that are not learned in the run."),
    (
        "learned_at",
        "steps",
        "lower",
        "Step from which an eigen-direction stays above half of its optimum; 1 = largest.",
    ),
    ("plateau_error", "relative", "lower", "Largest error of a plateau's loss against the closed form of its saddle."),
    ("population_loss", "", "lower", "Loss over all sequences that the task could draw, at the end."),
)

PANEL_COLUMNS: tuple[Column, ...] = (
    *(Column(*given, panel="sharpness") for given in _SHARPNESS),
    Column(
        "sharpness_cost",
        "gradients",
        "lower",
        "What the panel cost: 1 is a forward + backward pass of the probe batch.",
        counted=True,
        panel="sharpness",
    ),
    *(Column(*given, panel="simplicity") for given in _SIMPLICITY),
    *(Column(*given, panel="eigen_directions") for given in _THEORY),
)
