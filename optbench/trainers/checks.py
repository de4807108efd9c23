"""What a trainer may be asked for that the oracle would not do as asked: refused, with what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from optbench.errors import UserError
from optbench.models.language_model import LanguageModel, cross_entropy
from optbench.oracle import Oracle
from optbench.trainers.batches import LABELS, batch_of, first_row, part_of
from optbench.trainers.specs import Wanted

KNOWN_LOSSES = ("transformers.trainer", "trl.trainer.sft_trainer")
"""Whose `compute_loss` is the mean cross entropy over supervised positions, with the arguments that are not refused."""


def check_arguments(trainer: Any) -> None:
    """Raises UserError for training arguments that would not mean here what they mean there."""
    args = trainer.args
    options = args.to_dict()
    refused = {
        "fp16": (args.fp16, "a scaled loss would shift the weights by a scaled gradient; use bf16=True"),
        "label_smoothing_factor": (args.label_smoothing_factor != 0, "the oracle's loss is the plain cross entropy"),
        "loss_type": (options.get("loss_type", "nll") != "nll", "the oracle's loss is the plain cross entropy"),
        "compute_loss_func": (trainer.compute_loss_func is not None, "it would not be asked"),
        "weight_decay": (
            args.weight_decay != 0,
            "it leaves out biases and norms, and a rule decays all that it updates; set weight_decay in the spec of "
            "the rule, and 0 here",
        ),
        "torch_compile": (args.torch_compile, "the passes would not run through the compiled model"),
        "activation_offloading": (options.get("activation_offloading", False), "it would not be done"),
        "optimizers": (
            trainer.optimizer is not None or trainer.optimizer_cls_and_kwargs is not None,
            "optimizer_spec says which optimizer trains",
        ),
    }
    for name, (given, reason) in refused.items():
        if given:
            raise UserError(f"{name}: not with an optimizer of optbench: {reason}")
    home = next(kind for kind in type(trainer).__mro__ if "compute_loss" in vars(kind))
    if home.__module__ not in KNOWN_LOSSES:
        raise UserError(
            f"{home.__name__}.compute_loss would not be asked: the loss is the mean cross entropy over supervised "
            "positions, of which the oracle has to know more than its value"
        )


def check_devices(trainer: Any, spec: Wanted) -> None:
    """Raises UserError where several devices share the work in another way than each having its own examples."""
    accelerator = trainer.accelerator
    sharded = {
        "DeepSpeed": trainer.is_deepspeed_enabled,
        "FSDP": trainer.is_fsdp_enabled,
        "a model that is spread over devices": trainer.is_distributed_loading_by_transformers,
        "a parallelism_config": accelerator.parallelism_config is not None,
    }
    for name, given in sharded.items():
        if given:
            raise UserError(
                f"{name}: a step of optbench shifts whole weights by whole gradients, and these would be pieces. Whole "
                "models on each device can be trained: torchrun --nproc-per-node N SCRIPT"
            )
    if trainer.args.n_gpu > 1:
        raise UserError(
            f"{trainer.args.n_gpu} GPUs in one process (DataParallel): make one visible (CUDA_VISIBLE_DEVICES=0), or "
            "start a process for each: torchrun --nproc-per-node N SCRIPT"
        )
    estimator = {**spec.content.get("estimator", {}), **spec.fields}
    if trainer.args.world_size > 1 and estimator.get("ascent_fraction", 1) != 1:
        raise UserError(
            "ascent_fraction: which examples are taken is not agreed on between the processes of a trainer; take it "
            "out, or run the same training as a suite: torchrun --nproc-per-node N -m optbench run SUITE"
        )


def trained_module(model: nn.Module) -> nn.Module:
    """The causal language model whose passes are run: of a model with adapters, the one that they sit in.

    Raises UserError for adapters that are not inside it, for encoder-decoders, and for weights below float32.
    """
    from accelerate.utils import is_peft_model

    module: Any = model
    if is_peft_model(module):
        if module.active_peft_config.is_prompt_learning:
            raise UserError("prompts that are learned are not inside the model: use an adapter such as LoRA")
        module = module.get_base_model()
    if module.config.is_encoder_decoder:
        raise UserError(f"{type(module).__name__} is an encoder-decoder; only causal language models are trained here")
    small = sorted({str(p.dtype) for p in module.parameters() if p.requires_grad and p.dtype.itemsize < 4})
    if small:
        raise UserError(
            f"the trainable weights are {', '.join(small)}, and most of a shift or of an update is lost to their "
            "rounding: load the model with dtype=torch.float32, and set bf16=True for fast products"
        )
    found: nn.Module = module
    return found


def check_loss(view: LanguageModel, inputs: Mapping[str, Any]) -> None:
    """One example, forward only, without dropout: the loss that the model itself reports has to be the oracle's.

    Raises UserError where it is not: a model that adds something (a router's balance), or weighs its positions.
    """
    row = first_row(inputs)
    part = part_of(row)
    if not len(part.positions):
        row, part = dict(inputs), part_of(inputs)
    if not len(part.positions):
        return
    module: Any = view.module
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            ours = float(Oracle(view, cross_entropy, batch_of([part])).loss())
            labels = {name: row[name] for name in LABELS if name in row}
            theirs: Tensor | None = module(**part.inputs, **labels, use_cache=False).loss
    finally:
        module.train(was_training)
    if theirs is None or abs(float(theirs) - ours) > (0.02 if view.precision == "bf16" else 1e-3) * max(1.0, ours):
        said = "no loss" if theirs is None else f"a loss of {float(theirs):.6f}"
        raise UserError(
            f"{type(module).__name__} reports {said} for an example whose mean cross entropy is {ours:.6f}: it adds or "
            "weighs something that would not be trained here"
        )
