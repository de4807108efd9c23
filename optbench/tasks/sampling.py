"""Sampling from an instruct model, with its own stream of random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optbench.rng import stream

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.models.language_model import LanguageModel
    from optbench.tasks.rewriter import Rewriter


def sample(model: LanguageModel, prompts: Sequence[str], *, rewriter: Rewriter, seed: int) -> list[str]:
    """One sampled answer to each prompt, given as the user's turn of a conversation; a function of `seed`.

    The module is left in evaluation mode.
    """
    tokenizer: Any = model.tokenizer
    ids = [tokenizer.encode_chat(prompt) for prompt in prompts]
    # Prompts of one length class together: less padding.
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
    rng = stream(seed, "sampling")
    texts = [""] * len(ids)
    model.module.eval()
    for start in range(0, len(order), rewriter.batch_size):
        rows = order[start : start + rewriter.batch_size]
        for row, new in zip(rows, _continue(model, [ids[i] for i in rows], rewriter, rng), strict=True):
            texts[row] = tokenizer.decode(new)
    return texts


def _continue(
    model: LanguageModel, ids: Sequence[list[int]], rewriter: Rewriter, rng: np.random.Generator
) -> list[list[int]]:
    import torch

    tokenizer: Any = model.tokenizer
    longest = max(map(len, ids))
    rows_BT = [[tokenizer.pad_id] * (longest - len(row)) + row for row in ids]
    mask_BT = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids], device=model.device)
    inputs_BT = torch.tensor(rows_BT, device=model.device)
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    ended_B1 = torch.zeros((len(ids), 1), dtype=torch.bool, device=model.device)
    cache: Any = None
    columns: list[Tensor] = []
    with torch.no_grad():
        while len(columns) < rewriter.max_new_tokens and not bool(ended_B1.all()):
            where = {"attention_mask": mask_BT, "position_ids": positions_BT, "past_key_values": cache}
            out = model.module(input_ids=inputs_BT, **where, use_cache=True)
            cache = out.past_key_values
            inputs_BT = _draw(out.logits[:, -1].float() / rewriter.temperature, rng)
            inputs_BT[ended_B1] = tokenizer.eos_id
            columns.append(inputs_BT)
            ended_B1 = ended_B1 | (inputs_BT == tokenizer.eos_id)
            mask_BT = torch.cat([mask_BT, torch.ones_like(inputs_BT)], dim=1)
            positions_BT = positions_BT[:, -1:] + 1
    new = torch.cat(columns, dim=1).tolist()
    return [row[: row.index(tokenizer.eos_id)] if tokenizer.eos_id in row else row for row in new]


def _draw(logits_BV: Tensor, rng: np.random.Generator) -> Tensor:
    """One token id [B, 1] for each row, where a uniform number falls in the cumulated probabilities."""
    import torch

    cumulated_BV = torch.softmax(logits_BV, dim=-1).cumsum(-1)
    uniform_B1 = torch.from_numpy(rng.random((len(logits_BV), 1), dtype=np.float32)).to(logits_BV.device)
    drawn = torch.searchsorted(cumulated_BV, uniform_B1 * cumulated_BV[:, -1:], right=True)
    return drawn.clamp(max=logits_BV.shape[1] - 1)
