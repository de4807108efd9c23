"""Greedy answers, many prompts at once, with a key-value cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from optbench.models.language_model import LanguageModel

BATCH = 256
"""Prompts per call at most; the number changes memory and, by rounding, almost nothing else."""
TOKENS = 16384
"""Positions (prompt and answer, padding counted) per call at most, which bounds the cache of large models."""


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
    assert model.tokenizer is not None
    longest = max(len(row) for row in ids)
    pad, eos = model.tokenizer.pad_id, model.tokenizer.eos_id
    tokens_BT = torch.tensor([[pad] * (longest - len(row)) + row for row in ids], device=model.device)
    mask_BT = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids], device=model.device)
    with model.autocast():
        out_BT = model.module.generate(  # type: ignore[operator]
            input_ids=tokens_BT, attention_mask=mask_BT, max_new_tokens=max_new_tokens, do_sample=False
        )
    new = [row[longest:] for row in out_BT.tolist()]
    return [row[: row.index(eos)] if eos in row else row for row in new]
