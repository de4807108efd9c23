"""Any optimizer of optbench inside transformers' `Trainer`, or whatever inherits from it and trains a causal model.

A trainer accumulates micro-batches and steps. Here the micro-batches of a step are collected, and become the parts of
one batch of the oracle, which the estimator may ask as often as it likes; then the trainer goes on as always: it clips
the gradients that it finds, steps the optimizer, which is the rule, and moves its own schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from optbench.distributed.group import Group
from optbench.models.language_model import LanguageModel
from optbench.optim.build import make_optimizer
from optbench.oracle import Part
from optbench.trainers.batches import batch_of, oracle_of, part_of
from optbench.trainers.checks import check_arguments, check_devices, check_loss, trained_module
from optbench.trainers.engine import RuleOptimizer
from optbench.trainers.specs import checked_name, wanted

if TYPE_CHECKING:
    Base = Any
else:
    Base = object


class OptimizerMixin(Base):  # type: ignore[misc]
    """`class MyTrainer(OptimizerMixin, Trainer)`: the trainer, stepped by an optimizer of optbench.

    `optimizer_spec` is what `optbench.make_optimizer` takes: a preset's name, or a mapping of estimator and rule;
    `optimizer_fields` are further fields of it, such as rho. The base learning rate is the spec's where it names one,
    `args.learning_rate` otherwise, times the factor of the trainer's own scheduler. The gradient is clipped to
    `args.max_grad_norm` after it was estimated, the ascent never. `args.optim` and the options of Adam are not looked
    at. `passes` counts forward + backward evaluations of whole batches, `steps` the steps that this trainer took,
    and `tokens` their inputs without padding.
    """

    optimizer: Any
    _rule: RuleOptimizer
    _loss_at: str

    def __init__(
        self,
        *args: Any,
        optimizer_spec: str | Mapping[str, Any],
        optimizer_fields: Mapping[str, Any] = {},
        **kwargs: Any,
    ) -> None:
        """Raises UserError for a spec that does not exist, and for arguments or models that cannot be trained so."""
        checked_name(optimizer_spec)
        super().__init__(*args, **kwargs)
        check_arguments(self)
        self._wanted = wanted(optimizer_spec, optimizer_fields, learning_rate=self.args.learning_rate)
        check_devices(self, self._wanted)
        self._waiting: list[Part] = []
        self._group: Group | None = None
        self.passes, self.steps, self.tokens = 0.0, 0, 0
        self._look_at_model()

    def _look_at_model(self) -> None:
        # Before the trainer wraps its forward in autocast: how the output layer is found compares exact numbers.
        bare = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        view = LanguageModel.of(trained_module(bare))
        self._view = replace(view, precision="bf16" if self.args.bf16 else "float32")
        self._loss_is_checked = False

    def create_optimizer(self, model: Any = None) -> Any:
        """The rule as an optimizer of torch; made anew where the trainer has dropped the last one with its model."""
        self._waiting = []
        if self.args.world_size > 1 and self._group is None:
            self._group = Group()
        if self.optimizer is None:
            self._look_at_model()
            built = make_optimizer(self._wanted.content, self._view.module, **self._wanted.fields)
            self.optimizer = self._rule = RuleOptimizer(built, lr=self._wanted.lr)
        return self.optimizer

    def training_step(
        self, model: Any, inputs: Mapping[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Keeps a micro-batch; with the last one of a step, estimates the gradient of all. Returns the loss of the step
        then, before its update, and 0 otherwise: a trainer adds up what it is given in a step."""
        model.train()
        self._rule.train()
        inputs = self._prepare_inputs(inputs)
        self._waiting.append(part_of(inputs))
        if not self.accelerator.gradient_state.sync_gradients:
            return torch.zeros((), device=self.args.device)
        parts, self._waiting = self._waiting, []
        if not self._loss_is_checked:
            check_loss(self._view, inputs)
            self._loss_is_checked = True
        optimizer = self._rule.optimizer
        batch = batch_of(parts, self._group)
        oracle = oracle_of(self._view, batch, self._group)
        found = optimizer.estimator.estimate(oracle, optimizer.parameters, optimizer.rule, observe=False)
        self.passes += oracle.passes
        self.tokens += batch.num_tokens
        self.steps += 1
        self._loss_at = found.loss_at
        return found.loss.detach()

    def floating_point_ops(self, inputs: Any) -> float:
        """The trainer's own estimate for one pass, times the passes of a step so far."""
        once: float = super().floating_point_ops(inputs)
        return once * (self.passes / self.steps if self.steps else 1.0)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Says so where the loss is that of shifted weights: no other was evaluated (a momentum ascent)."""
        if "loss" in logs and self._loss_at != "weights":
            logs["loss_at_shifted_weights"] = logs["loss"]
        super().log(logs, *args, **kwargs)

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """Saves what is to be evaluated: the averages, for rules that average."""
        self._show()
        super().save_model(*args, **kwargs)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trains; afterwards the model holds what is to be evaluated."""
        found = super().train(*args, **kwargs)
        self._show()
        return found

    def _load_best_model(self) -> None:
        # What was saved are averages: they must not be taken for weights whose averages are still to be made.
        self._show()
        super()._load_best_model()

    def _show(self) -> None:
        if self.optimizer is not None:
            self._rule.eval()
