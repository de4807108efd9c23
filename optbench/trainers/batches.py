"""The micro-batches of a trainer as the parts of one batch of the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optbench.distributed.group import Group
from optbench.distributed.oracle import SharedOracle
from optbench.distributed.sharing import SharedBatch
from optbench.errors import UserError
from optbench.models.language_model import IGNORED, LanguageModel, cross_entropy
from optbench.oracle import Batch, Oracle, Part

LABELS = ("labels", "shift_labels")


def part_of(inputs: Mapping[str, Any]) -> Part:
    """A micro-batch: input_ids [B, T] and either labels [B, T], where the output at t is compared with the label at
    t + 1, or shift_labels [B, T], compared with the label at t; -100 is not supervised. The rest goes to the model.

    Raises UserError for a micro-batch without labels, or with labels of another shape.
    """
    if "input_ids" not in inputs or not any(name in inputs for name in LABELS):
        raise UserError(f"a batch needs input_ids and labels; the collator gives {sorted(inputs)}")
    if "shift_labels" in inputs:
        shifted_BT: Tensor = inputs["shift_labels"]
    else:
        shifted_BT = torch.full_like(inputs["labels"], IGNORED)
        shifted_BT[:, :-1] = inputs["labels"][:, 1:]
    if shifted_BT.shape != inputs["input_ids"].shape:
        raise UserError(
            f"labels {tuple(shifted_BT.shape)} and input_ids {tuple(inputs['input_ids'].shape)} differ in shape: only "
            "causal language models are trained here"
        )
    positions = (shifted_BT.flatten() != IGNORED).nonzero().squeeze(1)
    rest = {name: value for name, value in inputs.items() if name not in LABELS}
    return Part(rest, positions, shifted_BT.flatten()[positions])


def batch_of(parts: Sequence[Part], group: Group | None = None) -> Batch:
    """One batch of all micro-batches of a step: its loss is the mean over all their supervised positions, however they
    are spread, also over the ranks of a group. Raises UserError where there are none."""
    tokens, supervised = sum(_tokens(part.inputs) for part in parts), sum(len(part.positions) for part in parts)
    if group is not None:
        counts = torch.tensor([tokens, supervised], device=parts[0].positions.device)
        group.add_up([counts])
        tokens, supervised = counts.tolist()
    if not supervised:
        raise UserError(
            f"none of the {len(parts)} micro-batches of this step has a supervised position: every label is masked. "
            "Leave such examples out, or raise the maximal length that cuts their answers off"
        )
    if group is None:
        return Batch(parts, num_tokens=tokens, num_supervised=supervised)
    # Places and counts of single examples are what a fraction of a batch is chosen by, which ranks refuse here.
    nothing = np.zeros(0, dtype=np.int64)
    return SharedBatch(parts, num_tokens=tokens, num_supervised=supervised, places=nothing, supervised=nothing)


def oracle_of(view: LanguageModel, batch: Batch, group: Group | None) -> Oracle:
    """The oracle of a batch; of one that ranks share, its gradients and losses are sums over all."""
    if group is None:
        return Oracle(view, cross_entropy, batch)
    assert isinstance(batch, SharedBatch), "made with the same group"
    return SharedOracle(view, cross_entropy, batch, group, own_ascents=False)


def _tokens(inputs: Mapping[str, Any]) -> int:
    mask = inputs.get("attention_mask")
    return int(inputs["input_ids"].numel() if mask is None else mask.sum())


def first_row(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The first example alone, where every input has one row for each example; otherwise the inputs as they are."""
    rows = len(inputs["input_ids"])
    if all(isinstance(value, Tensor) and value.dim() >= 2 and len(value) == rows for value in inputs.values()):
        return {name: value[:1] for name, value in inputs.items()}
    return dict(inputs)
