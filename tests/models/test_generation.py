"""Greedy answers against transformers' own loop, and that answers which have ended leave the batch."""

from dataclasses import dataclass, replace

import families
import numpy as np
import pytest
import torch
from torch import nn

from optbench.models import generation
from optbench.models.generation import generate
from optbench.models.language_model import LanguageModel

EOS, PAD, VOCABULARY = 0, 49, 50


def by_transformers(model, prompts, max_new_tokens):
    """The continuation of each prompt alone: no batch, no padding, nothing to take out."""
    tokenizer, answers = model.tokenizer, []
    for prompt in prompts:
        ids = torch.tensor([tokenizer.encode_prompt(prompt)])
        new = model.module.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens)
        new = new[0, ids.shape[1] :].tolist()
        answers.append(tokenizer.decode(new[: new.index(tokenizer.eos_id)] if tokenizer.eos_id in new else new))
    return answers


def wordy(family, **fields):
    """A model with random weights whose answers differ and end: the end of the sequence is made a likely token."""
    model = families.model(family, width=32, layers=2, init_std=0.4, max_length=256, **fields)
    linear = model.module.get_output_embeddings()
    with torch.no_grad():
        linear.weight[model.tokenizer.eos_id] *= {"phi": 8.0, "gemma3": 3.0}.get(family, 4.0)
        if family == "gemma3":  # Its large embeddings, which are its output layer too, would say the last token again.
            model.module.model.embed_tokens.embed_scale.fill_(0.1)
    return model


@pytest.mark.parametrize("with_head", [True, False])
@pytest.mark.parametrize("family", families.NAMES)
def test_answers_are_those_of_transformers_one_by_one(family, with_head, monkeypatch):
    model = wordy(family)
    if not with_head:
        model = replace(model, head=None)
    rng = np.random.default_rng(0)
    prompts = ["".join(chr(33 + c) for c in rng.integers(0, 90, size=size)) for size in rng.integers(1, 30, size=16)]
    sizes = []
    original = generation._next
    monkeypatch.setattr(generation, "_next", lambda *args: sizes.append(len(args[1])) or original(*args))
    answers = generate(model, prompts, max_new_tokens=20)
    assert answers == by_transformers(model, prompts, 20)
    assert len(set(map(len, answers))) > 4
    assert sizes[0] == 16
    assert sizes[-1] <= 8


def test_a_sliding_window_that_is_full_goes_with_its_row():
    model = wordy("gemma3")
    assert model.module.config.sliding_window == 128
    rng = np.random.default_rng(1)
    prompts = ["".join(chr(33 + c) for c in rng.integers(0, 90, size=size)) for size in (100, 120, 127, 128, 150, 180)]
    answers = generate(model, prompts, max_new_tokens=40)
    assert answers == by_transformers(model, prompts, 40)
    assert len(set(map(len, answers))) > 2


@dataclass
class Seen:
    """A cache that holds every token of every row."""

    tokens_BT: torch.Tensor

    def reorder_cache(self, rows):
        self.tokens_BT = self.tokens_BT[rows]


class Countdown(nn.Module):
    """After k comes k - 1; 0 is the end. Refuses a cache, mask or position that belongs to another row."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.rows = []

    def forward(self, input_ids, attention_mask, position_ids, past_key_values, use_cache):
        last = input_ids[:, -1]
        if past_key_values is None:
            past_key_values = Seen(input_ids)
        else:
            before = past_key_values.tokens_BT
            running = before[:, -1] != EOS
            assert torch.equal(before[running, -1] - 1, last[running])
            past_key_values.tokens_BT = torch.cat([before, input_ids], dim=1)
        real = past_key_values.tokens_BT != PAD
        assert torch.equal(attention_mask.bool(), real)
        assert torch.equal(position_ids[:, -1], real.sum(1) - 1)
        self.rows.append(len(input_ids))
        logits_BTV = nn.functional.one_hot((last - 1).clamp(min=0), VOCABULARY).float()[:, None]
        return type("Output", (), {"logits": logits_BTV, "past_key_values": past_key_values})


class Numbers:
    eos_id, pad_id = EOS, PAD

    def encode_prompt(self, text):
        return [int(word) for word in text.split()]

    def decode(self, ids):
        return " ".join(map(str, ids))


def countdown(prompts, max_new_tokens):
    module = Countdown()
    return generate(LanguageModel(module, None, Numbers()), prompts, max_new_tokens=max_new_tokens), module.rows


def expected(prompt, max_new_tokens):
    start = int(prompt.split()[-1])
    return " ".join(map(str, range(start - 1, 0, -1)[:max_new_tokens]))


def test_what_has_ended_leaves_the_batch_and_every_answer_finds_its_prompt():
    rng = np.random.default_rng(0)
    prompts = [" ".join(map(str, rng.integers(1, 40, size=rng.integers(1, 6)))) for _ in range(33)]
    answers, rows = countdown(prompts, 30)
    assert answers == [expected(prompt, 30) for prompt in prompts]
    assert rows[0] == 33
    assert len(rows) == 30
    assert rows == sorted(rows, reverse=True)
    # Never more than twice what still runs: the answers that are not over before the token, the end counted.
    needed = [sum(int(p.split()[-1]) > done for p in prompts) for done in range(30)]
    assert all(ran <= max(1, 2 * running) for ran, running in zip(rows, needed, strict=True))
    assert sum(rows) < 0.75 * 33 * 30


def test_nothing_runs_after_the_last_end_and_nothing_beyond_the_limit():
    answers, rows = countdown(["3", "5", "1"], 30)
    assert answers == ["2 1", "4 3 2 1", ""]
    assert len(rows) == 5
    answers, rows = countdown(["9", "20"], 4)
    assert answers == ["8 7 6 5", "19 18 17 16"]
    assert len(rows) == 4


@pytest.mark.parametrize("mode", [True, False])
def test_the_module_is_left_in_the_mode_it_was_in(mode):
    module = Countdown()
    module.train(mode)
    generate(LanguageModel(module, None, Numbers()), ["2"], max_new_tokens=2)
    assert module.training is mode
