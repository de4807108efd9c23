"""Greedy answers, many prompts at once, with a key-value cache; what is answered leaves the batch.

Legend: B prompts, T tokens, V classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optbench.models.language_model import LanguageModel

BATCH = 256
"""Prompts per call at most; the number changes memory and, by rounding, almost nothing else."""
TOKENS = 16384
"""Positions (prompt and answer, padding counted) per call at most, which bounds the cache of large models."""
LOOK = 8
"""Tokens between looks at which answers have ended on a GPU, where a look makes the host wait; elsewhere every one."""


def generate(model: LanguageModel, prompts: Sequence[str], *, max_new_tokens: int) -> list[str]:
    """The greedy continuation of each prompt, up to the end-of-sequence token, in the order of the prompts.

    Prompts of similar length go together, padded on the left. The module is in evaluation mode inside and as before
    afterwards.
    """
    assert model.tokenizer is not None, "generation needs a tokenizer"
    ids = [model.tokenizer.encode_prompt(prompt) for prompt in prompts]
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
    answers = [""] * len(ids)
    was_training = model.module.training
    model.module.eval()
    try:
        for rows in _groups([len(ids[i]) for i in order], max_new_tokens):
            chosen = [order[row] for row in rows]
            for i, new in zip(chosen, _greedy(model, [ids[i] for i in chosen], max_new_tokens), strict=True):
                answers[i] = model.tokenizer.decode(new)
    finally:
        model.module.train(was_training)
    return answers


def _groups(lengths: Sequence[int], max_new_tokens: int) -> list[range]:
    groups, start = [], 0
    for end in range(1, len(lengths) + 1):
        full = end - start == BATCH or end == len(lengths)
        if full or (end - start + 1) * (lengths[end] + max_new_tokens) > TOKENS:
            groups.append(range(start, end))
            start = end
    return groups


@torch.no_grad()
def _greedy(model: LanguageModel, ids: Sequence[list[int]], max_new_tokens: int) -> list[list[int]]:
    """The likeliest token after each prompt, over and over.

    Where half of the answers have ended, their rows are taken out of the batch: answers differ in length, and the
    longest alone would otherwise cost as much as all. Rows do not see each other, so nothing changes but rounding.
    """
    assert model.tokenizer is not None
    device, longest = model.device, max(len(row) for row in ids)
    pad, eos = model.tokenizer.pad_id, model.tokenizer.eos_id
    inputs_BT = torch.tensor([[pad] * (longest - len(row)) + row for row in ids], device=device)
    mask_BT = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids], device=device)
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    # What is not written stays the end of the sequence, as it is after the first one.
    new_BT = torch.full((len(ids), max_new_tokens), eos, device=device)
    rows_B = torch.arange(len(ids), device=device)
    ended_B = torch.zeros(len(ids), dtype=torch.bool, device=device)
    every = LOOK if device.type == "cuda" else 1
    cache: Any = None
    for step in range(max_new_tokens):
        with model.autocast():
            logits_BV, cache = _next(model, inputs_BT, mask_BT, positions_BT, cache)
        tokens_B = logits_BV.float().argmax(dim=-1).masked_fill(ended_B, eos)
        new_BT[rows_B, step] = tokens_B
        ended_B = ended_B | (tokens_B == eos)
        inputs_BT, positions_BT = tokens_B[:, None], positions_BT[:, -1:] + 1
        mask_BT = torch.cat([mask_BT, torch.ones_like(inputs_BT)], dim=1)
        if (step + 1) % every == 0:
            left = (~ended_B).nonzero().squeeze(1)
            if len(left) == 0:
                break
            if 2 * len(left) <= len(ended_B):
                cache.reorder_cache(left)
                inputs_BT, mask_BT, positions_BT = inputs_BT[left], mask_BT[left], positions_BT[left]
                rows_B, ended_B = rows_B[left], ended_B[left]
    return [row[: row.index(eos)] if eos in row else row for row in new_BT.tolist()]


def _next(
    model: LanguageModel, inputs_BT: Tensor, mask_BT: Tensor, positions_BT: Tensor, cache: Any
) -> tuple[Tensor, Any]:
    """The logits [B, V] after the last token, and the cache; the output layer runs there alone where it is known."""
    given = {"attention_mask": mask_BT, "position_ids": positions_BT, "past_key_values": cache, "use_cache": True}
    if model.head is None:
        out = model.module(input_ids=inputs_BT, **given)
        return out.logits[:, -1], out.past_key_values
    out = model.head.backbone(input_ids=inputs_BT, **given)
    last_BD = out.last_hidden_state[:, -1]
    return nn.functional.linear(last_BD, model.head.weight_VD, model.head.bias_V), out.past_key_values
